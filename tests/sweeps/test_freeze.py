"""A frozen point depends on no folder, machine or YAML any more."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from lcm.corpus import CorpusConfig
from lcm.errors import LcmError
from slurm.cluster import load_cluster
from sweeps.config import Config, read_config, to_dict
from sweeps.identity import key
from sweeps.sweep.freeze import by_root, freeze, points, write_frozen

NODES, HERE = load_cluster("2x48gb"), load_cluster("local")


def test_paths_become_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SPEECH", "/data/speech")
    (tmp_path / "teacher.safetensors").touch()
    config = Config(root="runs/a b", corpus=CorpusConfig(source="folder", root="$SPEECH", test_root="~/held out"))
    config.teacher.checkpoint, config.codec.folder = "teacher.safetensors", "weights"
    frozen = freeze(config, HERE)
    assert frozen.root == str(tmp_path / "runs/a b")
    assert (frozen.corpus.root, frozen.corpus.test_root) == ("/data/speech", str(Path.home() / "held out"))
    assert (frozen.teacher.checkpoint, frozen.codec.folder) == (str(tmp_path / "teacher.safetensors"), str(tmp_path / "weights"))


def test_the_shipped_teacher_stays_the_shipped_one():
    assert freeze(Config(), HERE).teacher.checkpoint == "shipped"


@pytest.mark.parametrize(
    ("words", "asked", "precision"),
    [
        ([], "auto", "16-mixed"),  # Turing, as the profile says
        (["precision="], "auto", "auto"),  # found out on the node
        (["precision=", "gpus_per_task=0"], "auto", "32-true"),
        ([], "32-true", "32-true"),
    ],
)
def test_the_precision_is_that_of_the_profiles_gpus(words, asked, precision):
    config = Config()
    config.train.precision = asked
    assert freeze(config, load_cluster("2x48gb", words)).train.precision == precision


def test_a_teacher_that_is_not_there_is_refused_before_jobs_wait_for_it(tmp_path):
    config = Config()
    config.teacher.checkpoint = str(tmp_path / "none.safetensors")
    with pytest.raises(LcmError, match=r"none.safetensors does not exist"):
        freeze(config, HERE)
    config.objective.name = "token_ce"  # it starts from scratch
    assert freeze(config, HERE)


def test_what_cannot_be_trained_is_refused_before_it_is_submitted():
    config = Config()
    config.train.batch, config.train.accumulate = 3, 2
    with pytest.raises(LcmError, match=r"train\.batch=3"):
        freeze(config, NODES)


def test_a_frozen_config_is_read_as_it_was(tmp_path):
    config = freeze(Config(seed=3, root="ein Ort"), NODES)
    config.losses.auto = {"mr_stft": 0.3}
    write_frozen(tmp_path / "point.yaml", config)
    assert to_dict(read_config(tmp_path / "point.yaml")) == to_dict(config)


@pytest.mark.parametrize("content", ["train: {stepps: 3}", "a: [", "train: {steps: many}"])
def test_a_frozen_config_that_was_changed_by_hand_is_refused_by_name(tmp_path, content):
    (tmp_path / "point.yaml").write_text(content)
    with pytest.raises(LcmError, match=r"point\.yaml"):
        read_config(tmp_path / "point.yaml")


def test_points_are_named_by_what_they_do_not_share():
    words = [["+ablation=x", "root=r", "seed=0", "+losses.auto={}"], ["+ablation=x", "root=r", "seed=1", "+losses.auto={}"]]
    found = points([Config(), Config(seed=1)], words)
    assert [point.name for point in found] == ["seed=0", "seed=1"]
    alone = Config()
    alone.objective.stages = 5
    assert points([alone], [["+preset=x", "root=a b", "objective.stages=5"]])[0].name == "objective.stages=5"
    assert points([Config()], [["root=a b"]])[0].name == "default"


def test_the_key_is_of_what_is_trained_and_evaluated_not_of_where():
    config = Config()
    moved = replace(config, root="elsewhere", jobs=3, scratch=os.sep)
    assert key(moved) == key(config)
    assert key(replace(config, seed=1)) != key(config)
    assert key(replace(config, evaluate=replace(config.evaluate, steps=[1]))) != key(config)
    assert key(replace(config, corpus=CorpusConfig(demo_voices=3))) != key(config)


def test_a_sweep_over_roots_is_divided_by_them():
    assert by_root([Config(root="a"), Config(root="b"), Config(root="a")]) == {"a": [0, 2], "b": [1]}

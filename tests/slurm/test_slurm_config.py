"""Words of the command line: what they mean, what is kept, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from lcm.errors import LcmError
from lcm.teachers import TeacherConfig
from slurm.config import ConfigError, GenerateConfig, configure, keep, key, store_and_rest


def test_the_store_is_taken_out_of_the_words(tmp_path: Path):
    assert store_and_rest(["corpus=demo", f"store={tmp_path}", "shards=2"]) == (tmp_path, ["corpus=demo", "shards=2"])


def test_the_sweeps_name_of_the_folder_is_taken_too(tmp_path: Path):
    assert store_and_rest([f"root={tmp_path}"])[0] == tmp_path


@pytest.mark.parametrize("words", [[], ["store="], ["store=a", "root=b"]])
def test_a_missing_or_second_store_is_refused(words: list[str]):
    with pytest.raises(ConfigError, match="store=FOLDER"):
        store_and_rest(words)


def test_a_group_named_alone_means_its_kind(tmp_path: Path):
    config = configure(tmp_path, ["corpus=libritts", "teacher=original", "codec=encodec_24khz"])
    assert (config.corpus.source, config.teacher.name, config.codec.name) == ("libritts", "original", "encodec_24khz")


def test_lists_and_numbers_are_read_as_they_look(tmp_path: Path):
    config = configure(tmp_path, ["corpus.subsets=[a,b]", "train=[train.steps=20,train.batch=4]", "gpu_hours=1.5", "latents=true"])
    assert list(config.corpus.subsets) == ["a", "b"]
    assert (config.train, config.gpu_hours, config.latents) == (["train.steps=20", "train.batch=4"], 1.5, True)


def test_what_was_asked_before_is_kept_and_words_change_it(tmp_path: Path):
    keep(tmp_path, configure(tmp_path, ["shards=7", "teacher.steps=3", "cluster=2x48gb", "cluster.partition=a", "cluster.mem_gb=8"]))
    config = configure(tmp_path, ["teacher.steps=4", "cluster.partition=b"])
    assert (config.shards, config.teacher.steps) == (7, 4)
    assert (config.profile().name, config.profile().partition, config.profile().mem_gb) == ("2x48gb", "b", 8)


def test_another_profile_drops_the_changes_of_the_one_before(tmp_path: Path):
    keep(tmp_path, configure(tmp_path, ["cluster=2x48gb", "cluster.partition=a"]))
    assert configure(tmp_path, ["cluster=local"]).cluster == ["local"]


def test_relative_paths_become_absolute_as_jobs_run_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    words = ["corpus=folder", "corpus.root=speech", "corpus.test_root=test", "teacher.checkpoint=a/b", "codec.folder=w"]
    config = configure(tmp_path, words)
    assert (config.corpus.root, config.corpus.test_root) == (str(tmp_path / "speech"), str(tmp_path / "test"))
    assert (config.teacher.checkpoint, config.codec.folder) == (str(tmp_path / "a/b"), str(tmp_path / "w"))
    assert configure(tmp_path, []).teacher.checkpoint == "shipped"


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("shard=3", r"no setting 'shard'. Did you mean shards\? Valid keys: corpus, .*cluster.KEY"),
        ("teacher.stepz=3", r"no setting 'teacher.stepz'. Did you mean steps\? Valid keys in teacher: name, checkpoint, steps, seed"),
        ("shards=many", r"shards=many does not fit: .*many"),
        ("shards=0", "shards=0 makes no sense: at least 1"),
        ("attempts=-1", "attempts=-1 makes no sense"),
        ("corpus", "'corpus' is no setting: write key=value"),
        ("cluster=nowhere", "No cluster profile 'nowhere'"),
        ("cluster.partitoin=x", "partition"),
        ("corpus.valid_fraction=2", "valid_fraction = 2"),
    ],
)
def test_a_wrong_word_is_refused_with_what_would_be_right(tmp_path: Path, word: str, said: str):
    with pytest.raises(LcmError, match=said):
        configure(tmp_path, [word])


def test_a_damaged_file_of_settings_is_named(tmp_path: Path):
    (tmp_path / "generate.yaml").write_text("shards: many\n")
    with pytest.raises(ConfigError, match=r"generate\.yaml.*many"):
        configure(tmp_path, [])


def test_multibanddiffusion_takes_audiocrafts_number_of_calls_where_none_is_asked(tmp_path: Path):
    assert configure(tmp_path, ["teacher=mbd"]).teacher.steps == 20
    assert configure(tmp_path, ["teacher.steps=5", "teacher=mbd"]).teacher.steps == 5
    assert configure(tmp_path, ["teacher=latent"]).teacher.steps == 18


def test_a_root_keeps_its_keys_when_teachers_get_new_settings():
    latent, fewer = GenerateConfig(), GenerateConfig(teacher=TeacherConfig(steps=4, seed=3))
    assert [key(latent, "codes"), key(latent, "overlay"), key(fewer, "overlay")] == ["6996c5dfc60f", "4a6288a9c65d", "ac17672ed7ea"]


def test_each_new_setting_of_a_teacher_is_in_the_key_of_what_it_makes():
    others = [
        {"bw": 6.0},
        {"codebooks": 8},
        {"step_list": [9, 0]},
        {"precision": "bf16"},
        {"folder": "w"},
        {"weights": "random"},
        {"hidden": 8},
    ]
    keys = {key(GenerateConfig(teacher=TeacherConfig(name="mbd", **other)), "overlay") for other in [{}, *others]}
    assert len(keys) == len(others) + 1

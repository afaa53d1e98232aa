"""The optional extras: the Optuna sweeper (`lcm-superres[optuna]`) and W&B (`lcm-superres[wandb]`)."""

import json
import sys
import time
from dataclasses import replace
from importlib.util import find_spec

import pytest
import torch

from lcm.errors import TrainingError
from lcm.paths import Run
from lcm.training.scalars import Scalars
from sweeps import foreground
from sweeps.config import to_yaml
from sweeps.demo import quote
from sweeps.point import run_point
from sweeps.run import main

SILENT = ["hydra/job_logging=disabled", "hydra/hydra_logging=disabled"]
TINY = ["corpus.demo_voices=3", "corpus.demo_utterances=2", "shards=2", "network.width=32", "network.depth=1", "network.heads=2"]
SHORT = ["train.steps=2", "train.batch=2", "train.checkpoint_every=1", "evaluate.steps=[1]", "evaluate.max_utterances=1", "init=none"]

needs_optuna = pytest.mark.skipif(find_spec("hydra_plugins.hydra_optuna_sweeper") is None, reason="needs lcm-superres[optuna]")
needs_wandb = pytest.mark.skipif(find_spec("wandb") is None, reason="needs lcm-superres[wandb]")


def run(monkeypatch, *words):
    """Run the command in this process; returns its exit code."""
    monkeypatch.setattr(foreground, "_begun", [])
    monkeypatch.setattr(foreground, "_failed", {})
    monkeypatch.setattr(sys, "argv", ["lcm-sweep", *SILENT, *words])
    with pytest.raises(SystemExit) as end:
        main()
    return end.value.code


# Optuna


@pytest.fixture
def study(monkeypatch, tmp_path):
    """A study of four trials, kept in a database: the value of a point is the distance of its loss weight from 0.3."""
    import optuna

    asked = []

    def point(config):
        asked.append(config.losses.hf_log_magnitude)
        if asked[-1] < 0:
            raise TrainingError("a negative weight")
        return Run(tmp_path)

    monkeypatch.setattr("sweeps.point.run_point", point)
    monkeypatch.setattr("sweeps.point.headline", lambda run: abs(asked[-1] - 0.3))
    storage = f"sqlite:///{tmp_path}/study.db"
    words = ["hydra/sweeper=optuna", "hydra.sweeper.n_trials=4", "hydra.sweeper.n_jobs=2", "hydra.sweeper.study_name=weights"]

    def command(*more):
        code = run(monkeypatch, "-m", f"root={tmp_path}", *words, f"hydra.sweeper.storage={storage}", *more)
        return code, optuna.load_study(study_name="weights", storage=storage)

    return command


@needs_optuna
def test_optuna_minimises_the_headline_over_an_interval_and_keeps_its_study_in_a_database(study):
    code, done = study("losses.hf_log_magnitude=interval(0.0,1.0)")
    assert code == 0
    assert len(done.trials) == 4
    assert done.best_value == pytest.approx(min(abs(trial.params["losses.hf_log_magnitude"] - 0.3) for trial in done.trials))


@needs_optuna
def test_optuna_searches_the_values_of_an_axis(study):
    code, done = study("+ablation=loss_weights")
    assert code == 0
    assert {float(trial.params["losses.hf_log_magnitude"]) for trial in done.trials} <= {0.0, 0.1, 0.3, 1.0, 3.0}


@needs_optuna
def test_optuna_counts_a_failed_point_as_failed_and_fails_the_command_unless_it_may_fail(study):
    some_fail = ["losses.hf_log_magnitude=interval(-1.0,1.0)", "hydra.sweeper.sampler.seed=1"]
    code, done = study(*some_fail)
    assert code == 1
    assert "FAIL" in {trial.state.name for trial in done.trials}
    code, done = study(*some_fail, "hydra.sweeper.max_failure_rate=1.0")
    assert code == 0
    assert done.best_value < 1.3


@needs_optuna
@pytest.mark.slow
def test_optuna_runs_two_trials_of_a_tiny_point(monkeypatch, tmp_path):
    words = ["hydra/sweeper=optuna", "hydra.sweeper.n_trials=2", "hydra.sweeper.n_jobs=1", "hydra.sweeper.sampler.seed=1"]
    axis = ["losses.hf_log_magnitude=0", "losses.si_sdr=0", "train.rate=tag(log,interval(1e-5,1e-2))"]
    assert run(monkeypatch, "-m", f"root={quote(str(tmp_path))}", *words, *TINY, *SHORT, *axis) == 0
    states = [json.loads(path.read_text()) for path in tmp_path.glob("points/*/status.json")]
    assert [status["state"] for status in states] == ["done", "done"]
    (results,) = tmp_path.glob("hydra/*/optimization_results.yaml")
    assert f"best_value: {min(status['headline']['lsd_hf'] for status in states)}" in results.read_text()


# W&B


@pytest.fixture
def folder(tmp_path, monkeypatch, tiny):
    """A run folder with its config, on a machine without network."""
    monkeypatch.setenv("WANDB_MODE", "offline")
    tmp_path.joinpath("config.yaml").write_text(to_yaml(tiny))
    return Run(tmp_path)


def keeps(run, *words):
    """Whether W&B keeps words in a run folder until it is synchronised; its own process writes them, soon."""
    end = time.monotonic() + 20
    while time.monotonic() < end:
        kept = b"".join(path.read_bytes() for path in run.folder.glob("wandb/offline-run-*/*.wandb"))
        if all(word.encode() in kept for word in words):
            return True
        time.sleep(0.1)
    return False


@needs_wandb
def test_wandb_gets_scalars_audio_and_the_points_config(folder):
    scalars = Scalars(folder, 0, "superres")
    scalars.write(0, {"total": 0.5, "gradient_norm": 1.0})
    scalars.write_audio(0, "clip7", torch.zeros(2400), torch.zeros(2400))
    scalars.close()
    assert keeps(folder, "superres", "gradient_norm", "clip7/estimate", "demo_voices")
    assert list(folder.folder.glob("wandb/offline-run-*/files/media/audio/clip7/*.wav"))
    assert "0,gradient_norm,1" in folder.scalars.read_text()


@needs_wandb
def test_a_resumed_training_goes_on_in_the_same_wandb_run(folder):
    for first in (0, 1):
        scalars = Scalars(folder, first, "superres")
        scalars.write(first, {"total": 0.5})
        scalars.close()
    assert len({path.name for path in folder.folder.glob("wandb/offline-run-*/run-*.wandb")}) == 1


@needs_wandb
def test_training_goes_on_where_wandb_fails(folder, monkeypatch):
    import wandb

    def refuse(**_):
        raise OSError("no route to host")

    monkeypatch.setattr(wandb, "init", refuse)
    with pytest.warns(UserWarning, match=r"W&B gets nothing from here on \(OSError: no route to host\).*WANDB_MODE=offline"):
        scalars = Scalars(folder, 0, "superres")
    scalars.write(0, {"total": 0.5})
    scalars.close()
    assert "0,total,0.5" in folder.scalars.read_text()


def test_without_the_package_wandb_is_refused_with_what_to_install(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(TrainingError, match=r"train\.wandb=superres needs .*pip install lcm-superres\[wandb\]"):
        Scalars(folder, 0, "superres")


def test_without_a_project_wandb_is_not_asked(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    Scalars(folder, 0).close()
    assert not folder.folder.joinpath("wandb").exists()


@needs_wandb
def test_a_points_setting_sends_its_training_to_wandb_and_makes_it_no_other_point(folder, tiny):
    done = run_point(replace(tiny, train=replace(tiny.train, wandb="superres"), seed=31))
    plain = run_point(replace(tiny, seed=31))
    assert plain == done
    assert keeps(done, "superres", "gradient_norm")

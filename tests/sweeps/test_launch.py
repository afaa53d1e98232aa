"""What hydra's sweepers get from the launcher."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from omegaconf import OmegaConf

from sweeps.sweep.launch import launch

BASIC = "hydra._internal.core_plugins.basic_sweeper.BasicSweeper"
TINY = (
    "corpus.demo_voices=3", "corpus.demo_utterances=2", "shards=2", "network.width=32", "network.depth=1", "network.heads=2", "init=none",
    "losses.hf_log_magnitude=0", "losses.si_sdr=0", "train.batch=2", "train.steps=2", "train.estimate=false", "evaluate.steps=[1]",
    "evaluate.max_utterances=1", "evaluate.samples=1",
)  # fmt: skip


def _sweep(tmp_path, *words, code=0, **variables):
    command = [sys.executable, "-m", "sweeps.run", "--multirun", "hydra/launcher=slurm_sweep", f"root={tmp_path}/a root", *TINY, *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, env={**os.environ, **variables})
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_a_sweeper_that_needs_values_must_wait():
    master = OmegaConf.create({"hydra": {"sweeper": {"_target_": "hydra_plugins.x.OptunaSweeper"}, "overrides": {"task": []}}})
    with pytest.raises(SystemExit, match=r"OptunaSweeper.*hydra.launcher.wait=true"):
        launch(master, [], [], {"cluster": "local"})


def test_a_wrong_profile_is_an_error_without_a_traceback():
    master = OmegaConf.create({"hydra": {"sweeper": {"_target_": BASIC}, "overrides": {"task": []}}})
    with pytest.raises(SystemExit, match="No cluster profile 'nowhere'"):
        launch(master, [], [], {"cluster": "nowhere"})


@pytest.mark.slow
def test_on_one_machine_a_failed_point_is_named_at_the_end_and_the_others_are_done(tmp_path):
    said = _sweep(tmp_path, "hydra.launcher.cluster=local", "train.rate=0.0001,1e30", code=1)
    assert "1 of 2 points failed, the others are done" in said
    assert "point 1: TrainingError" in said
    assert "Traceback" not in said
    status = [sys.executable, "-m", "sweeps", "status", f"{tmp_path}/a root"]
    shown = subprocess.run(status, capture_output=True, text=True, timeout=60, check=False)
    assert (shown.returncode, "1 done, 1 failed" in shown.stdout) == (1, True), shown.stdout


@pytest.mark.slow
def test_without_slurm_the_error_says_what_to_do(tmp_path):
    said = _sweep(tmp_path, "train.rate=0.0001", code=1, PATH=str(tmp_path))
    assert "cluster=local" in said
    assert "Traceback" not in said

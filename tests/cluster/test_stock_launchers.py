"""hydra's own submitit launchers work as they do for any hydra program, with their limits."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from lcm.records import read_records
from sweeps.demo import quote

TINY = [
    "corpus.demo_voices=3", "corpus.demo_utterances=2", "shards=2", "network.width=32", "network.depth=1", "network.heads=2", "init=none",
    "train.steps=2", "train.batch=2", "train.checkpoint_every=1", "evaluate.steps=[1]", "evaluate.max_utterances=1", "train.estimate=false",
    "losses.hf_log_magnitude=0", "losses.si_sdr=0",
]  # fmt: skip
SLURM = ["hydra/launcher=submitit_slurm", "hydra.launcher.timeout_min=10", "hydra.launcher.mem_gb=4", "hydra.launcher.cpus_per_task=1"]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A root whose corpus and codes the first test makes."""
    return tmp_path_factory.mktemp("a root with a space")


def sweep(root, *words):
    """Run a sweep of the command to its end."""
    command = [sys.executable, "-m", "sweeps.run", "--multirun", f"root={quote(str(root))}", *TINY, *words]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=300)


def points(root):
    """Status and folder of each point."""
    return [(json.loads(path.read_text()), path.parent) for path in sorted(root.glob("points/*/status.json"))]


def records(root, seed):
    """What was measured of a point, but for times, and for what is not defined, such as a band above the recording's end."""
    (folder,) = [folder for status, folder in points(root) if status["seed"] == seed and status["state"] == "done"]
    table = read_records(folder / "records.parquet")
    measured = table[~table.metric.str.startswith("time") & (table.metric != "rtf")]
    return measured.set_index(["utterance", "metric", "steps", "low_band_copy"]).value.dropna().to_dict()


def assert_completed(lab, jobs):
    """SLURM says COMPLETED of each job; the command does not wait for SLURM but for result files, and is a moment ahead of it."""
    lab.wait_for(lambda: not {lab.state(job) for job in jobs} & {"RUNNING", "COMPLETING"}, 30, "the jobs have ended")
    assert {lab.state(job) for job in jobs} == {"COMPLETED"}


@pytest.mark.slow
def test_points_over_hydras_slurm_launcher_give_the_records_of_a_run_here(lab, root, tmp_path):
    done = sweep(root, *SLURM, "seed=0,1")
    assert done.returncode == 0, done.stderr[-3000:]
    jobs = {status["job"] for status, _ in points(root)}
    assert len(jobs) == 2
    assert_completed(lab, jobs)
    here = sweep(tmp_path, "hydra/launcher=basic", "seed=0,1")
    assert here.returncode == 0, here.stderr[-3000:]
    for seed in (0, 1):
        assert records(root, seed) == pytest.approx(records(tmp_path, seed), rel=1e-9)


@pytest.mark.slow
def test_points_over_hydras_local_launcher_are_trained_and_evaluated(root):
    done = sweep(root, "hydra/launcher=submitit_local", "seed=2,3")
    assert done.returncode == 0, done.stderr[-3000:]
    assert records(root, 2) != records(root, 3)


@pytest.mark.slow
def test_hydras_slurm_launcher_lets_slurm_say_completed_of_a_failed_point_and_only_the_waiting_command_fails(lab, root):
    done = sweep(root, *SLURM, "blocks.partition=[3],[4,4]", "seed=4")
    assert done.returncode == 1
    assert "LcmError: blocks.partition=[3] must be positive sizes" in done.stderr
    states = {status["job"]: status["state"] for status, _ in points(root) if status["seed"] == 4}
    assert sorted(states.values()) == ["done", "failed"]  # the other point is not lost
    assert_completed(lab, states)

"""What once went wrong with sweeps on a cluster."""

from __future__ import annotations

import pytest
from sweeping import Sweeping, submitted

from sweeps.sweep.record import sweeps_of

FAILS = "train.rate=1e+30"


@pytest.fixture
def sweeping(lab, tmp_path):
    return Sweeping(lab, tmp_path, "train.steps=600", "train.checkpoint_every=1000")


def test_points_come_back_from_a_preemption_though_one_of_their_job_failed(sweeping, lab):
    sweeping.submit("train.rate=0.0001,1e30", "hydra.launcher.pack=2")
    point = sweeping.wait_for_step_only("train.rate=0.0001", 50)
    sweeping.wait_for(lambda: sweeping.states() == {"running": 1, "failed": 1})
    lab.run("scancel", "--signal=USR2", point.job)
    sweeping.wait_for(lambda: lab.job(point.job)["Restarts"] == "1")
    sweeping.wait()
    assert sweeping.states() == {"done": 1, "failed": 1}, sweeping.logs()
    assert list(sweeping.job_states().values()) == ["FAILED"]  # and says so at its end


def test_a_point_that_failed_is_tried_again_while_its_job_lives_on_for_others(sweeping, lab):
    sweeping.submit("train.rate=0.0001,1e30", "hydra.launcher.pack=2", "train.steps=6000")
    sweeping.wait_for(lambda: sweeping.states() == {"running": 1, "failed": 1})
    assert submitted(sweeping.act("retry")) == 1
    assert "Nothing to retry" in sweeping.act("retry")
    sweeping.act("cancel")
    sweeping.wait()


def test_a_task_that_succeeded_is_evaluated_though_another_of_its_job_failed(sweeping):
    words = ["hydra.launcher.evaluation=after", "hydra.launcher.pack=2"]
    sweeping.submit("train.rate=0.0001,1e30", "train.steps=4,8", *words, profile=["tasks_per_node=2"])
    sweeping.wait()
    assert sweeping.states() == {"done": 2, "failed": 2}, sweeping.logs()


def test_gpus_that_gres_names_are_those_of_each_job_s_tasks(sweeping):
    profile = ["gres=gpu:rtx8000:2", "tasks_per_node=2", "evaluation=after", "evaluation_over={cpus_per_task:2}"]
    said = sweeping.submit("seed=0,1", "train.steps=4", profile=profile)
    assert "prepare: " in said
    sweeping.wait()
    assert sweeping.states() == {"done": 2}, sweeping.logs()


def test_a_command_that_is_refused_has_submitted_nothing(sweeping, lab):
    said = sweeping.submit("seed=0,1", "hydra.launcher.evaluation=after", "hydra.launcher.evaluation_over={gpu_per_task:0}", code=1)
    assert "Did you mean 'gpus_per_task'" in said
    assert not lab.run("squeue", "-h").strip()
    assert list(sweeps_of(sweeping.root)) == []

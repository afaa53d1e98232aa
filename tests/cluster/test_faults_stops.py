"""What SLURM and people stop goes on where it was: requeue, preemption, time limit, scancel."""

from __future__ import annotations

import time

import pytest
from filling import Filling, clips, jobs
from lab import Lab
from toy_producer import toy_plan

from slurm import acts

AT_ONCE = "PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP PriorityTier=1 GraceTime=0"
SLOW = {"delay_s": 0.4, "hurry": True}  # until SLURM starts the job again


@pytest.fixture(scope="module")
def strict_lab():
    """A lab of its own whose preemption gives no grace, and which soon ends what is left of a job."""
    lab = Lab.start(extra=[AT_ONCE, "KillWait=3"])
    yield lab
    lab.stop()


@pytest.fixture(scope="module")
def limited(strict_lab, tmp_path_factory):
    """A store whose only task has a time limit of a minute and work for two, begun before the other tests of this file."""
    filling = Filling(strict_lab, tmp_path_factory.mktemp("limited"), toy_plan(1), "time=1", "signal_s=50", delay_s=5, hurry=True)
    return filling, jobs(filling.submit())[0]


@pytest.fixture(autouse=True)
def _begun(limited):
    """Let the time pass while the other tests run."""


def test_a_running_task_that_is_requeued_goes_on_where_it_was_with_accounting_and_without(lab, accounting_lab, tmp_path):
    fillings = [Filling(where, tmp_path / str(number), toy_plan(4), **SLOW) for number, where in enumerate([lab, accounting_lab])]
    started = [jobs(filling.submit())[0] for filling in fillings]
    for filling, job in zip(fillings, started, strict=True):
        filling.wait_for_lines(6)
        filling.lab.run("scontrol", "requeue", job)
    for filling, job in zip(fillings, started, strict=True):
        filling.wait()
        assert filling.lab.job(job)["Restarts"] == "1"
        filling.check()
        assert len(filling.made_twice()) <= 2, "each process loses the item at hand at most"
        assert filling.is_left_alone()


def test_a_preempted_task_makes_room_and_goes_on(lab, tmp_path):
    filling = Filling(lab, tmp_path, toy_plan(6, items=clips(120)), "shards_per_task=1", **SLOW)
    started = jobs(filling.submit())
    filling.wait_for_lines(8)
    lab.submit("sleep 1", "-phigh", "-N3", "--gpus-per-node=2")
    filling.wait()
    assert [lab.job(job)["Restarts"] for job in started] == ["1", "1", "1"]
    assert filling.processes_that_said("asked to make room (USR2") == 6
    filling.check()
    assert filling.made_twice() == []


def test_all_processes_of_a_job_finish_their_batch_before_it_is_requeued(strict_lab, tmp_path):
    """A batch may take minutes, and SLURM ends what is left of a requeued job after KillWait, three seconds here."""
    lab = strict_lab
    plan = toy_plan(2)
    long = max(plan.shard_items(1), key=lambda item: item.length).key  # the first that the second process makes
    filling = Filling(lab, tmp_path, plan, "exclude=node1", "shards_per_task=1", delays={long: 8}, **SLOW)
    job = jobs(filling.submit())[0]
    filling.wait_for_lines(3)
    first_run = lab.job_processes()
    lab.run("scancel", "--signal=USR2", job)
    filling.wait_for(filling.paths.index.exists, 90)
    assert lab.job(job)["Restarts"] == "1"
    assert [line.pid in first_run for line in filling.lines() if line.key == long] == [True]
    filling.check()


def test_a_task_that_is_asked_to_make_room_while_it_loads_is_not_lost(lab, tmp_path):
    filling = Filling(lab, tmp_path, toy_plan(2), "shards_per_task=1")
    job = jobs(filling.submit())[0]
    filling.wait_for(lambda: len(lab.job_processes()) >= 4)
    lab.run("scancel", "--signal=USR2", job)
    filling.wait()
    assert lab.state(job) == "COMPLETED", filling.logs()
    filling.check()


def test_a_task_that_is_preempted_without_grace_is_started_again_by_slurm(strict_lab, tmp_path):
    filling = Filling(strict_lab, tmp_path, toy_plan(4), "exclude=node1", "shards_per_task=1", **SLOW)
    started = jobs(filling.submit())
    filling.wait_for_lines(6)
    strict_lab.submit("sleep 1", "-phigh", "-wnode[2-3]", "--gpus-per-node=2")
    filling.wait_for(filling.paths.index.exists, 90)
    assert [strict_lab.job(job)["Restarts"] for job in started] == ["1", "1"]
    filling.check()
    assert len(filling.made_twice()) <= 4


def test_a_cancelled_task_keeps_what_it_made_and_does_not_come_back(lab, tmp_path):
    filling = Filling(lab, tmp_path, toy_plan(4), delay_s=0.4)
    job = jobs(filling.submit())[0]
    before = filling.wait_for_lines(6)
    lab.run("scancel", job)
    filling.wait()
    assert (lab.state(job), lab.job(job)["Restarts"]) == ("CANCELLED", "0")
    assert {filling.progress(shard).state for shard in (0, 2)} <= {"stopped", "done"}
    assert not filling.paths.index.exists()
    filling.fill(delay_s=0)
    filling.check()
    assert filling.made_twice() == []
    assert len(filling.lines()) > len(before)


def test_a_task_that_is_cancelled_while_it_makes_room_does_not_come_back(lab, tmp_path):
    filling = Filling(lab, tmp_path, toy_plan(2), "shards_per_task=1", delay_s=1.5)
    job = jobs(filling.submit())[0]
    filling.wait_for_lines(2)
    lab.run("scancel", "--signal=USR2", job)
    filling.wait_for(lambda: filling.processes_that_said("asked to make room (USR2") == 2)
    lab.run("scancel", job)
    filling.wait()
    time.sleep(2)
    assert lab.run("squeue", "-h") == ""
    assert (lab.state(job), lab.job(job)["Restarts"]) == ("CANCELLED", "0")
    filling.fill(delay_s=0)
    filling.check()


def test_cancelling_a_store_ends_all_its_jobs_and_what_they_made_stays(lab, tmp_path):
    filling = Filling(lab, tmp_path, toy_plan(12, items=clips(120)), "max_parallel=2", delay_s=0.5)
    filling.submit()
    filling.wait_for_lines(6)
    assert sorted(acts.cancel(filling.folder)) == ["fill: 3 jobs cancelled", "merge fill: 1 jobs cancelled"]
    before = filling.lines()
    filling.wait()
    assert acts.cancel(filling.folder) == ["No job of this folder has not ended."]
    assert len(filling.lines()) <= len(before) + 8, "those that ran finish the batch or two at hand, those that waited do nothing"
    filling.fill(delay_s=0)
    filling.check()
    assert filling.made_twice() == []


def test_a_task_that_runs_out_of_time_is_requeued_and_ends(limited):
    filling, job = limited
    filling.wait_for(filling.paths.index.exists, 150)
    assert filling.lab.job(job)["Restarts"] == "1"
    assert "slurm: requeued" in filling.logs()
    filling.check()
    assert filling.made_twice() == []

"""SLURM's commands, asked of a real controller."""

from __future__ import annotations

import time

import pytest

from slurm import scheduler
from slurm.scheduler import SchedulerError

STUBBORN = "trap '' TERM\nfor i in $(seq 600); do sleep 0.2; done"


def test_a_controller_that_answers_is_available(lab):
    assert scheduler.available()
    assert scheduler.settings()["ClusterName"]


def test_every_element_of_a_waiting_array_is_an_entry(lab):
    job = lab.submit("sleep 60", "--array=0-9%2", "--hold")
    single = lab.submit("sleep 60")
    jobs = scheduler.live_jobs()
    assert {f"{job}_{index}" for index in range(10)} | {single} == set(jobs)
    assert jobs[f"{job}_3"].state == "PENDING"
    assert "Held" in jobs[f"{job}_3"].reason


def test_a_running_job_names_its_node(lab):
    job = lab.submit("sleep 60")
    lab.wait_for(lambda: scheduler.live_jobs()[job].state == "RUNNING", what="job runs")
    assert scheduler.live_jobs()[job].nodes in lab.nodes


def test_elements_are_cancelled_one_by_one_and_ended_ones_are_no_error(lab):
    job = lab.submit("sleep 60", "--array=0-5", "--hold")
    scheduler.cancel([f"{job}_1", f"{job}_4", f"{job}_99", "99999"])
    assert set(scheduler.live_jobs()) == {f"{job}_{index}" for index in (0, 2, 3, 5)}
    scheduler.cancel([job])
    scheduler.cancel([job])
    assert scheduler.live_jobs() == {}


def test_a_running_job_is_requeued_and_runs_again(lab):
    job = lab.submit("sleep 60")
    lab.wait_for(lambda: scheduler.live_jobs()[job].state == "RUNNING", what="job runs")
    assert scheduler.requeue(job)
    lab.wait_for(lambda: lab.job(job)["Restarts"] == "1" and lab.state(job) == "RUNNING", what="job runs again")


def test_a_cancelled_job_is_never_resurrected(lab):
    """While it is being killed, and after: plain `scontrol requeue` would bring it back."""
    job = lab.submit(STUBBORN)
    lab.wait_for(lambda: scheduler.live_jobs()[job].state == "RUNNING", what="job runs")
    scheduler.cancel([job])
    assert scheduler.requeue(job) is False
    lab.wait_for(lambda: job not in scheduler.live_jobs(), what="job is gone")
    assert scheduler.requeue(job) is False
    time.sleep(1)
    assert lab.state(job) == "CANCELLED"


def test_a_job_that_is_cancelled_between_question_and_request_stays_cancelled(lab, monkeypatch):
    """The race itself: squeue says RUNNING, then scancel comes first."""
    job = lab.submit(STUBBORN)
    lab.wait_for(lambda: scheduler.live_jobs()[job].state == "RUNNING", what="job runs")
    asked = scheduler._jobs

    def then_cancelled(*which):
        found = asked(*which)
        scheduler.cancel([job])
        return found

    monkeypatch.setattr(scheduler, "_jobs", then_cancelled)
    scheduler.requeue(job)
    monkeypatch.undo()
    lab.wait_for(lambda: lab.state(job) == "CANCELLED", what="job is gone")
    time.sleep(1)
    assert lab.job(job)["Restarts"] == "0"


def test_an_element_of_an_array_is_requeued_by_its_name(lab):
    job = lab.submit("sleep 60", "--array=0-1")
    lab.wait_for(lambda: {j.state for j in scheduler.live_jobs().values()} == {"RUNNING"}, what="elements run")
    assert scheduler.requeue(f"{job}_1")
    assert scheduler.live_jobs()[f"{job}_0"].state == "RUNNING"
    assert scheduler.live_jobs()[f"{job}_1"].state != "RUNNING"


def test_max_array_size_is_the_controller_s(small_array_lab):
    assert scheduler.max_array_size() == 10
    assert lab_refuses_index(small_array_lab, 10)
    assert not lab_refuses_index(small_array_lab, 9)


def lab_refuses_index(lab, index):
    try:
        lab.submit("true", f"--array={index}", "--hold")
    except AssertionError:
        return True
    return False


def test_partitions_tell_their_gpus(lab):
    found = {partition.name: partition for partition in scheduler.partitions()}
    assert found["main"].default
    assert not found["high"].default
    assert found["main"].gres == {"gpu:rtx8000": 2}
    assert (found["main"].nodes, found["main"].cpus, found["main"].time_min) == (3, 16, None)


def test_a_node_that_is_down_is_not_usable(lab):
    lab.crash("node2")
    main = next(partition for partition in scheduler.partitions() if partition.name == "main")
    assert sum(kind.nodes for kind in main.kinds if kind.usable) == 2


@pytest.mark.slow
def test_a_controller_that_is_gone_is_an_error_and_not_an_empty_queue(lab):
    lab.stop_controller()
    try:
        with pytest.raises(SchedulerError, match="squeue"):
            scheduler.live_jobs()
        assert not scheduler.available()
        assert scheduler.requeue("1") is False
    finally:
        lab.start_controller()
    assert scheduler.available()

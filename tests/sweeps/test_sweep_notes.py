"""What status says beside the rows: the queue, preparation, time."""

from __future__ import annotations

from pathlib import Path

import pytest
from toy_sweep import FIRST, SECOND, ago, job_log, run, submitted, sweep

from lcm.paths import Root
from slurm.submission import Submissions
from sweeps.sweep.notes import notes, time_left_s
from sweeps.sweep.state import PointState
from sweeps.sweep.status import look, read


@pytest.fixture
def root(tmp_path: Path) -> Root:
    return Root(tmp_path / "root with a space")


def states(root: Root) -> list[str]:
    return [point.state for point in read(root.folder)]


def test_a_squeue_that_does_not_answer_is_told_and_no_job_is_taken_for_ended(root: Root, queue):
    sweep(root, runs=["a-s0"])
    submission = submitted(root, [[0], [1]], ["7_0", "7_1"])
    job_log(root, submission, "7_1", "ModuleNotFoundError: No module named 'lcm'\n")
    run(root, "a-s0", "running", beat_s=1, job="7_0")
    queue(fails="slurm_load_jobs error: Unable to contact slurm controller")
    assert states(root) == ["running", "missing", "missing"]
    told = notes(look(root.folder))
    assert any("what waits in the queue is not known" in note and "Unable to contact" in note for note in told)
    assert not any("retry" in note for note in told)


def test_without_slurm_submissions_squeue_is_not_asked(root: Root, queue):
    sweep(root)
    queue(fails="must not be called")
    assert look(root.folder).queue.unknown == ""


def test_squeue_is_asked_once(root: Root, queue, tmp_path: Path):
    for name in (FIRST, SECOND):
        sweep(root, name=name)
        submitted(root, [[0]], ["7_0"], name=name)
    queue()
    command = tmp_path / "commands" / "squeue"
    command.write_text(f"#!/bin/sh\necho asked >> '{tmp_path}/asked'\n")
    read(root.folder)
    assert (tmp_path / "asked").read_text() == "asked\n"


def test_a_damaged_submission_does_not_hide_the_points(root: Root, queue):
    run(root, "a-s0", "done")
    submission = submitted(root, [[0]], ["7_0"])
    Submissions(root.folder).path(submission.name).write_text("{")
    assert states(root) == ["done"]
    assert submission.name in look(root.folder).queue.unknown


def test_points_of_a_cancelled_submission_are_not_queued(root: Root, queue):
    sweep(root)
    submission = submitted(root, [[0]], ["7_0"])
    Submissions(root.folder).cancel(submission.name)
    queue("7_0 COMPLETING None node1")
    assert states(root)[0] == "missing"


def test_a_job_whose_id_was_never_written_has_its_points(root: Root, queue, tmp_path: Path):
    sweep(root)
    submission = submitted(root, [[0], [1]], ["7_0"])
    queue()
    (tmp_path / "commands" / "squeue").write_text(f"#!/bin/sh\necho '8_0|PENDING|Priority||{submission.job_name}'\n")
    assert states(root) == ["missing", "queued", "missing"]


def test_a_preparation_that_waits_or_runs_is_told(root: Root, queue):
    sweep(root)
    submitted(root, [[]], ["6"], stage="prepare")
    submitted(root, [[0, 1, 2]], ["7_0"])
    queue("6 PENDING Priority -", "7_0 PENDING Dependency -")
    told = notes(look(root.folder))
    assert f"{FIRST}: what its points share is being prepared: job 6 waits (Priority)" in told
    assert "jobs: 1 wait (Dependency 1)" in told
    queue("6 RUNNING None node1", "7_0 PENDING Dependency -")
    assert any("job 6 runs on node1" in note for note in notes(look(root.folder)))


def test_a_preparation_that_failed_is_told_until_points_have_begun(root: Root, queue):
    sweep(root, runs=["a-s0"])
    log = job_log(root, submitted(root, [[]], ["6"], stage="prepare"), "6", "CorpusError: no speech in /data\n")
    queue()
    line = f"{FIRST}: the preparation failed: CorpusError: no speech in /data (job 6, log {log})"
    assert line in notes(look(root.folder))
    run(root, "a-s0", "running")
    assert line not in notes(look(root.folder))


def test_the_time_left_is_at_the_pace_of_this_attempt(root: Root):
    run(root, "a-s0", "running", ago_s=0, step=300, first_step=200, steps=800, started=ago(100), train_seconds=9999.0)
    point = read(root.folder)[0]
    assert point.eta_s == pytest.approx(500, rel=0.05)
    assert point.train_s == pytest.approx(800, rel=0.05)


def test_without_a_start_the_pace_is_that_of_all_attempts(root: Root):
    run(root, "a-s0", "running", ago_s=0, step=400, steps=800, train_seconds=200.0)
    assert read(root.folder)[0].eta_s == pytest.approx(200, abs=3)


def test_what_was_made_since_the_last_word_counts(root: Root):
    run(root, "a-s0", "running", ago_s=100, step=400, steps=800, train_seconds=200.0)
    assert read(root.folder)[0].eta_s == pytest.approx(100, abs=3)


def test_a_point_that_does_not_run_has_no_time_left(root: Root):
    run(root, "a-s0", "stopped", step=400, steps=800, train_seconds=200.0)
    assert read(root.folder)[0].eta_s is None


def test_the_time_of_all_is_the_work_that_is_left_over_the_points_at_once():
    done = [PointState(state="done", train_s=100.0)] * 3
    running = [PointState(state="running", eta_s=50.0, train_s=100.0)] * 2
    assert time_left_s([*done, *running, *[PointState(state="queued")] * 4]) == pytest.approx((100 + 400) / 2)
    assert time_left_s([*done, *running]) == pytest.approx(50)


@pytest.mark.parametrize("left", [["queued"], ["done", "queued"], ["running", "queued"], ["running"]])
def test_the_time_of_all_is_not_guessed(left: list[str]):
    assert time_left_s([PointState(state=state) for state in left]) is None

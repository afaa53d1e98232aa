"""The state of one point: what its run folder says, and its job."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from toy_sweep import FIRST, ago, claim, job_log, place, run, submitted, sweep

from lcm.paths import Root
from sweeps.sweep.notes import notes
from sweeps.sweep.status import look, read


@pytest.fixture
def root(tmp_path: Path) -> Root:
    return Root(tmp_path / "root with a space")


@pytest.fixture
def processes() -> Iterator[list[str]]:
    """Two processes that look like local jobs."""
    started = [subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)", "submitit"]) for _ in range(2)]
    yield [str(process.pid) for process in started]
    for process in started:
        process.kill()
        process.wait()


def states(root: Root) -> list[str]:
    return [point.state for point in read(root.folder)]


def test_a_finished_point_is_done_with_its_metrics(root: Root):
    sweep(root, runs=["a-s0"])
    run(root, "a-s0", "done", step=8, steps=8, loss=0.5, headline={"lsd_hf": 1.49, "si_sdr": 20.6}, train_seconds=60.0)
    point = read(root.folder)[0]
    assert (point.state, point.step, point.steps, point.loss, point.train_s) == ("done", 8, 8, 0.5, 60.0)
    assert point.headline == {"lsd_hf": 1.49, "si_sdr": 20.6}
    assert (point.sweep, point.number, point.name, point.seed, point.run) == (FIRST, 0, "objective=ect", 0, "a-s0")
    assert point.error == ""


def test_a_point_that_was_never_submitted_is_missing(root: Root):
    sweep(root)
    assert states(root) == ["missing"] * 3


@pytest.mark.parametrize(
    ("says", "state"), [("stopped", "stopped"), ("interrupted", "stopped"), ("trained", "trained"), ("queued", "missing")]
)
def test_what_a_run_says_of_itself_at_rest(root: Root, says: str, state: str):
    run(root, "a-s0", says)
    assert states(root) == [state]


def test_a_run_whose_owner_is_alive_runs_however_old_its_status_is(root: Root):
    run(root, "a-s0", "running", ago_s=9999, beat_s=3)
    assert states(root) == ["running"]


def test_a_run_without_claims_is_judged_by_the_age_of_its_status(root: Root):
    run(root, "a-s0", "running", ago_s=100)
    run(root, "b-s0", "running", ago_s=400, host="node7")
    assert states(root) == ["running", "lost"]
    assert read(root.folder)[1].error == "no word for 7 min from node7"


def test_only_the_owner_s_sign_of_life_counts(root: Root):
    claim(run(root, "a-s0", "running", ago_s=9999, beat_s=2), 2, beat_s=600)  # the one before it still beats
    assert states(root) == ["lost"]


def test_a_status_that_was_written_just_now_is_a_sign_of_life(root: Root):
    run(root, "a-s0", "running", ago_s=1, beat_s=9999)
    assert states(root) == ["running"]


def test_a_failed_point_gives_the_first_line_of_its_error(root: Root):
    run(root, "a-s0", "failed", error="ValueError: boom\nand more", job="7_1", host="node1")
    point = read(root.folder)[0]
    assert (point.state, point.error, point.job, point.host) == ("failed", "ValueError: boom", "7_1", "node1")


@pytest.mark.parametrize("text", ["", "{", "[1]", "null", '{"state": "done"'])
def test_a_damaged_status_fails_its_point_alone(root: Root, text: str):
    run(root, "a-s0", "done").status_file.write_text(text)
    run(root, "b-s0", "done")
    damaged, other = read(root.folder)
    assert (damaged.state, other.state) == ("failed", "done")
    assert damaged.error.startswith(f"unreadable: {root.points / 'a-s0'}")
    assert "retry" in damaged.error


def test_values_of_another_kind_than_expected_are_passed_over(root: Root):
    run(root, "a-s0", "running", step="many", steps=None, loss=[1], headline=3, started=7, train_seconds="long")
    point = read(root.folder)[0]
    assert (point.state, point.step, point.loss, point.headline, point.eta_s) == ("running", None, None, {}, None)


def test_a_state_of_a_later_version_is_shown_as_it_is(root: Root):
    run(root, "a-s0", "dreaming")
    assert states(root) == ["dreaming"]


def test_a_point_in_a_job_that_waits_is_queued(root: Root, queue):
    sweep(root)
    submitted(root, [[0], [1, 2]], ["7_0", "7_1"])
    queue("7_1 PENDING Priority -")
    assert states(root) == ["missing", "queued", "queued"]
    assert read(root.folder)[1].job == "7_1"


def test_a_point_that_its_job_has_not_come_to_is_queued(root: Root, queue):
    sweep(root)
    submitted(root, [[0, 1, 2]], ["7_0"])
    queue("7_0 RUNNING None node1")
    assert read(root.folder)[2].host == "node1"
    assert states(root) == ["queued"] * 3


def test_a_point_that_its_job_prepares_is_running(root: Root, queue):
    folder = sweep(root)
    submitted(root, [[0, 1, 2]], ["7_0"])
    place(folder, 0, job="7_0", host="node1", begun="7_0")
    queue("7_0 RUNNING None node1")
    assert states(root) == ["running", "queued", "queued"]


def test_a_stopped_or_failed_point_that_a_job_has_begun_again_is_running_before_it_says_so(root: Root, queue):
    folder = sweep(root, runs=["a-s0", "b-s0"])
    submitted(root, [[0], [1]], ["9_0", "9_1"])
    for number, (name, state) in enumerate([("a-s0", "stopped"), ("b-s0", "failed")]):
        run(root, name, state, ago_s=60, error="ValueError: boom", job="7_0")
        place(folder, number, run=name, job=f"9_{number}", host="node1", begun=f"9_{number}")
    queue("9_0 RUNNING None node1", "9_1 RUNNING None node1")
    assert states(root)[:2] == ["running", "running"]
    queue("9_0 PENDING BeginTime -")
    assert states(root)[:2] == ["queued", "failed"]


def test_a_point_that_a_process_of_this_machine_prepares_is_running(root: Root, processes):
    folder = sweep(root)
    submitted(root, [[0, 1, 2]], processes[:1], kind="local")
    place(folder, 0, host="here", begun="here")
    place(folder, 1)
    assert states(root) == ["running", "queued", "queued"]


def test_a_run_whose_job_has_ended_is_lost_at_once(root: Root, queue):
    sweep(root, runs=["a-s0"])
    submitted(root, [[0]], ["7_0"])
    run(root, "a-s0", "running", beat_s=1, job="7_0", host="node1")
    queue("8_0 RUNNING None node1")
    point = read(root.folder)[0]
    assert (point.state, point.error) == ("lost", "no word for 1 s from node1: its job has ended")


def test_a_job_of_another_user_is_not_taken_for_ended(root: Root, queue, monkeypatch):
    sweep(root, runs=["a-s0"])
    submitted(root, [[0]], ["7_0"])
    run(root, "a-s0", "running", beat_s=1, job="7_0")
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    queue()  # squeue is asked for one's own jobs
    assert states(root)[0] == "running"


def test_a_run_whose_job_waits_to_be_started_again_is_queued(root: Root, queue):
    sweep(root, runs=["a-s0"])
    submitted(root, [[0]], ["7_0"])
    there = run(root, "a-s0", "running", ago_s=60, beat_s=60, job="7_0", host="node1")
    queue("7_0 PENDING BeginTime -")
    assert states(root)[0] == "queued"
    claim(there, 1, beat_s=2)  # its node was given up, and its process does not know
    assert states(root)[0] == "running"


def test_a_run_whose_job_was_started_again_on_another_node_is_queued_until_it_comes_to_it(root: Root, queue):
    sweep(root, runs=["a-s0"])
    submitted(root, [[0, 1]], ["7_0"])
    run(root, "a-s0", "running", ago_s=600, beat_s=600, job="7_0", host="node1")
    queue("7_0 RUNNING None node2")
    assert states(root)[0] == "queued"
    queue("7_0 RUNNING None node1")
    assert states(root)[0] == "lost"


def test_a_stopped_point_is_queued_where_its_job_comes_back(root: Root, queue):
    sweep(root, runs=["a-s0"])
    submitted(root, [[0]], ["7_0"])
    run(root, "a-s0", "stopped", job="7_0")
    queue("7_0 PENDING BeginTime -")
    assert states(root)[0] == "queued"
    queue()
    assert states(root)[0] == "stopped"


def test_a_failed_point_has_failed_though_its_job_goes_on_with_others(root: Root, queue):
    sweep(root, runs=["a-s0"])
    submitted(root, [[0, 1]], ["7_0"])
    run(root, "a-s0", "failed", error="ValueError: boom", job="7_0")
    queue("7_0 RUNNING None node1")
    assert states(root)[:2] == ["failed", "queued"]


def test_a_failed_point_that_another_job_will_begin_again_is_queued(root: Root, queue):
    sweep(root, runs=["a-s0"])
    submitted(root, [[0]], ["7_0"])
    submitted(root, [[0]], ["9"])
    run(root, "a-s0", "failed", error="ValueError: boom", job="7_0")
    queue("9 PENDING Priority -")
    point = read(root.folder)[0]
    assert (point.state, point.job, point.error) == ("queued", "9", "")


def test_a_point_that_failed_in_a_process_of_this_machine_has_failed_though_that_goes_on(root: Root, processes):
    sweep(root, runs=["a-s0"])
    first, second = processes
    submitted(root, [[0, 1, 2]], [first], kind="local", created=ago(60))
    run(root, "a-s0", "failed", ago_s=30, error="ValueError: boom", job="")
    assert states(root) == ["failed", "queued", "queued"]
    submitted(root, [[0]], [second], kind="local")
    assert states(root)[0] == "queued"


def test_a_job_that_only_evaluates_does_not_make_a_failed_point_queued(root: Root, queue):
    sweep(root, runs=["a-s0", "b-s0"])
    submitted(root, [[0], [1]], ["7_0", "7_1"])
    submitted(root, [[0], [1]], ["8_0", "8_1"], stage="evaluate")
    run(root, "a-s0", "failed", error="ValueError: boom", job="7_0")
    run(root, "b-s0", "trained", job="7_1")
    queue("8_0 PENDING Dependency -", "8_1 PENDING Priority -")
    assert states(root)[:2] == ["failed", "trained"]
    assert not any("trained" in note for note in notes(look(root.folder)))


def test_a_trained_point_that_nobody_evaluates_is_told(root: Root, queue):
    sweep(root, names=["a"], runs=["a-s0"])
    submitted(root, [[0]], ["7_0"])
    run(root, "a-s0", "trained", job="7_0")
    queue()
    assert "do not go on by themselves: 1 trained; `python -m sweeps retry` submits them again" in notes(look(root.folder))


def test_a_point_that_failed_before_it_had_a_run_folder_says_why(root: Root):
    folder = sweep(root)
    place(folder, 1, error="CorpusError: there is no folder", job="7_1", host="node1")
    point = read(root.folder)[1]
    assert (point.state, point.error, point.job) == ("failed", "CorpusError: there is no folder", "7_1")


def test_what_failed_before_a_run_was_begun_again_is_over(root: Root):
    folder = sweep(root)
    place(folder, 0, ago_s=60, run="a-s0", error="CorpusError: there is no folder")
    run(root, "a-s0", "stopped", ago_s=30)
    assert states(root)[0] == "stopped"
    place(folder, 0, ago_s=10, run="a-s0", error="CorpusError: there is no folder")
    assert states(root)[0] == "failed"


def test_a_point_whose_job_could_not_even_begin_has_failed_with_the_job_s_last_words(root: Root, queue):
    sweep(root)
    submission = submitted(root, [[0], [1, 2]], ["7_0", "7_1"])
    log = job_log(root, submission, "7_1", "Traceback (most recent call last):\nModuleNotFoundError: No module named 'lcm'\n")
    queue()
    point = read(root.folder)[2]
    assert states(root) == ["missing", "failed", "failed"]
    assert (point.error, point.job, point.log) == ("ModuleNotFoundError: No module named 'lcm'", "7_1", log)


def test_a_lost_point_says_how_its_job_ended(root: Root, queue):
    sweep(root, runs=["a-s0"])
    submission = submitted(root, [[0]], ["7_0"])
    run(root, "a-s0", "running", beat_s=1, job="7_0", host="node1")
    log = job_log(root, submission, "7_0", "slurmstepd: error: Detected 1 oom-kill event(s)\n")
    queue()
    assert read(root.folder)[0].error.endswith(f"its job has ended. It said: slurmstepd: error: Detected 1 oom-kill event(s) (log {log})")


def test_a_point_whose_job_a_person_cancelled_is_missing_and_not_failed(root: Root, queue):
    sweep(root)
    submission = submitted(root, [[0], [1]], ["7_0", "7_1"])
    job_log(root, submission, "7_0", "slurmstepd: error: *** JOB 7 ON node1 CANCELLED AT 2026-01-01T00:00:00 ***\n")
    job_log(root, submission, "7_1", "slurmstepd: error: *** JOB 8 ON node1 CANCELLED AT 2026-01-01T00:00:00 DUE TO TIME LIMIT ***\n")
    queue()
    assert states(root)[:2] == ["missing", "failed"]
    assert "CANCELLED" in read(root.folder)[0].error

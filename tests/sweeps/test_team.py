import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
import torch

from lcm import checkpoint
from lcm.errors import TrainingError
from lcm.losses import LossConfig
from lcm.paths import Root, Run
from sweeps import launch, stopping, team
from sweeps.config import to_yaml
from sweeps.launch import start_ranks
from sweeps.point import run_point
from sweeps.sweep.record import Sweep, SweepPoint, read_place, write_sweep
from sweeps.team import Team, follow, leading

OUTSIDE = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM", "LCM_"))} | {"OMP_NUM_THREADS": "1"}


@pytest.fixture
def second(tmp_path):
    """The second of two tasks."""
    return Team(tmp_path / "team", 2, (1,))


@pytest.fixture
def first(second):
    return replace(second, mine=(0,))


def test_a_task_knows_its_team_by_three_variables(monkeypatch, tmp_path):
    assert Team.here() is None
    for name, value in ((team.TEAM_VARIABLE, str(tmp_path)), (team.RANK_VARIABLE, "1"), (team.SIZE_VARIABLE, "2")):
        monkeypatch.setenv(name, value)
    assert Team.here() == Team(tmp_path, 2, (1,))


def test_a_task_that_is_not_needed_ends_well(first, second):
    first.mark(first.closed)
    assert follow(second) == 0


def test_an_invitation_is_waited_for(first, second):
    first.invite({"port": 7})
    assert second.invitation() == {"port": 7}


def test_a_leader_that_ends_without_training_lets_the_others_end(second, monkeypatch):
    for name, value in ((team.TEAM_VARIABLE, str(second.folder)), (team.RANK_VARIABLE, "0"), (team.SIZE_VARIABLE, "2")):
        monkeypatch.setenv(name, value)
    with suppress(ZeroDivisionError), leading():
        assert not second.closed.exists()
        raise ZeroDivisionError
    assert second.invitation() is None


def test_a_request_while_waiting_is_left_for_the_leader_too(first, second, monkeypatch, tmp_path):
    monkeypatch.setattr(stopping, "requested", lambda: True)
    with pytest.raises(stopping.Stopped):
        second.invitation()
    monkeypatch.undo()
    monkeypatch.setattr(Team, "here", classmethod(lambda cls: first))
    assert start_ranks(tmp_path / "config.yaml", 2, fence=None) is False  # without starting any


@pytest.mark.parametrize("came", [True, False], ids=["that is gone", "that never came"])
def test_a_leader_is_not_waited_for_without_end(first, second, monkeypatch, came):
    monkeypatch.setattr(team, "STALE_S" if came else "JOIN_S", 0.3)
    monkeypatch.setattr("sweeps.team._POLL_S", 0.02)
    waiting = second.silences()
    if came:
        with first.alive():
            waiting[0].seconds()
    monkeypatch.setattr(Team, "silences", lambda _: waiting)
    with pytest.raises(TrainingError, match=r"The task of rank 0 has not been heard of for .* goes on from its last checkpoint"):
        second.invitation()


def test_a_rank_that_was_killed_is_the_reason_for_the_others_errors(first, second):
    first.leave_word("failed", 0, "RuntimeError: connection closed by peer")
    assert second.error() == "rank 0: RuntimeError: connection closed by peer"
    second.leave_word("killed", 1, "ended by signal 9")
    second.leave_word("killed", 1, "again")
    assert first.error() == "rank 1: ended by signal 9"


@pytest.fixture
def clock(monkeypatch):
    """A time that passes by sleeping alone, and what happens at some of its moments."""
    happens = {}
    passed = [0.0]

    def sleep(seconds):
        passed[0] += seconds
        for moment in [moment for moment in happens if moment <= passed[0]]:
            happens.pop(moment)()

    monkeypatch.setattr(launch, "time", SimpleNamespace(sleep=sleep, monotonic=lambda: passed[0]))
    return SimpleNamespace(happens=happens, passed=passed)


def test_the_word_of_a_rank_that_was_killed_is_waited_for_on_a_busy_node_too(first, second, clock):
    first.leave_word("failed", 0, "RuntimeError: connection closed by peer")
    clock.happens[4.0] = lambda: second.leave_word("killed", 1, "ended by signal 9")
    with pytest.raises(TrainingError, match="rank 1: ended by signal 9"):
        launch._watch(first, {0: SimpleNamespace(poll=lambda: 1)}, None)


def test_no_word_is_waited_for_once_all_ranks_have_said_why_they_ended(first, second, clock):
    first.leave_word("failed", 0, "the loss is not finite")
    second.leave_word("failed", 1, "RuntimeError: connection closed by peer")
    with pytest.raises(TrainingError, match="rank 0: the loss is not finite"):
        launch._watch(first, {0: SimpleNamespace(poll=lambda: 1)}, None)
    assert clock.passed == [0.0]


def test_a_rank_that_aborts_as_it_has_lost_another_does_not_hide_why_that_one_failed(first, clock):
    first.leave_word("failed", 0, "the loss is not finite")
    codes = {0: 1, 1: None}
    clock.happens[1.0] = lambda: codes.update({1: -signal.SIGABRT})
    both = replace(first, mine=(0, 1))
    with pytest.raises(TrainingError, match="rank 0: the loss is not finite"):
        launch._watch(both, {rank: SimpleNamespace(poll=lambda rank=rank: codes[rank]) for rank in codes}, None)


def test_a_job_of_another_number_of_tasks_is_refused(first, monkeypatch, tmp_path):
    monkeypatch.setattr(Team, "here", classmethod(lambda cls: first))
    with pytest.raises(TrainingError, match=r"train\.devices=3, but this job has 2 tasks"):
        start_ranks(tmp_path / "config.yaml", 3, fence=None)


def test_a_process_outside_a_team_is_told_who_starts_it():
    done = subprocess.run([sys.executable, "-m", "sweeps.team"], capture_output=True, text=True, env=OUTSIDE, check=False)
    assert (done.returncode, done.stderr.startswith("This process belongs to no team: LCM_TEAM, ")) == (1, True)


@pytest.fixture
def two(tiny):
    return replace(
        tiny, seed=50, losses=LossConfig(), train=replace(tiny.train, devices=2, batch=4, steps=8, checkpoint_every=100, estimate=False)
    )


@pytest.fixture
def start(root, tmp_path):
    """Start the two tasks of a job that trains a point; returns their processes and the point's sweep folder."""
    started = []

    def start_tasks(config, *options, tasks=(0, 1), attempt=0):
        folder = write_sweep(Root(root), Sweep(tmp_path.name, "test", "", "", "", [], points=[SweepPoint(0, "a", config.seed, "k")]))
        folder.config(0).parent.mkdir(exist_ok=True)
        folder.config(0).write_text(to_yaml(config))
        place = {
            team.TEAM_VARIABLE: str(tmp_path / f"team-{attempt}"),
            team.SIZE_VARIABLE: "2",
            "LCM_JOB": "77",
            "LCM_RESTART": str(attempt),
        }
        words = {0: ["sweeps.frozen", str(folder.folder), "0", *options], 1: ["sweeps.team"]}
        for rank in tasks:
            environment = {**OUTSIDE, **place, team.RANK_VARIABLE: str(rank)}
            command = [sys.executable, "-m", *words[rank]]
            started.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment))
        return started[-len(tasks) :], folder

    yield start_tasks
    for process in started:
        process.kill()
        process.wait()


def codes(processes, timeout=120):
    return [process.wait(timeout) for process in processes]


def until(found, timeout=120):
    deadline = time.monotonic() + timeout
    while not found() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert found()


def the_run(root, folder):
    until(lambda: read_place(folder, 0).run)
    return Run(root / "points" / read_place(folder, 0).run)


def ranks_in(process):
    """Return the numbers of the ranks' processes that a task watches over."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended meanwhile
            parent = folder.joinpath("stat").read_text().rpartition(")")[2].split()[1]
            if int(parent) == process.pid and b"sweeps.ranks" in folder.joinpath("cmdline").read_bytes().split(b"\0"):
                found.append(int(folder.name))
    return found


def rank_in(process):
    until(lambda: ranks_in(process))
    (rank,) = ranks_in(process)
    return rank


@pytest.mark.slow
def test_two_tasks_train_a_point_with_the_curve_of_one_process(start, two, root):
    tasks, folder = start(two)
    assert codes(tasks) == [0, 0], [task.stdout.read() for task in tasks]
    run = the_run(root, folder)
    status, both = run.read_status(), pd.read_csv(run.scalars)
    assert (status["state"], status["job"], read_place(folder, 0).job) == ("done", "77", "77")
    tasks, _ = start(two, attempt=1)
    assert codes(tasks) == [0, 0]  # all is done: nobody trains, and the second ends
    run.model.unlink(), run.last.unlink(), run.status_file.unlink()
    alone = run_point(replace(two, train=replace(two.train, devices=1)))
    assert alone == run
    assert pd.read_csv(run.scalars).value.tolist() == pytest.approx(both.value.tolist(), rel=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(("asked", "number"), [(0, signal.SIGUSR2), (1, signal.SIGTERM)], ids=["the first task", "the second task"])
def test_two_tasks_stop_at_one_step_whichever_is_asked_and_go_on_to_the_same_weights(start, two, root, asked, number):
    config = replace(two, seed=51 + asked, train=replace(two.train, steps=40))
    tasks, folder = start(config)
    run = the_run(root, folder)
    until(lambda: run.read_status().get("step"))
    tasks[asked].send_signal(number)
    assert codes(tasks) == [75, 75], [task.stdout.read() for task in tasks]
    step = checkpoint.load(run.last)[1]["step"]
    assert (run.read_status()["state"], run.read_status()["step"]) == ("stopped", step)
    assert 0 < step < 40
    again, _ = start(config, "--until", "trained", attempt=1)
    assert codes(again) == [0, 0]
    assert (run.read_status()["state"], run.read_status()["first_step"]) == ("trained", step)
    resumed = checkpoint.load(run.last)[0]
    run.model.unlink(), run.last.unlink(), run.status_file.unlink()
    whole, _ = start(config, "--until", "trained", attempt=2)
    assert codes(whole) == [0, 0]
    assert all(torch.equal(tensor, resumed[name]) for name, tensor in checkpoint.load(run.last)[0].items())


@pytest.mark.slow
@pytest.mark.parametrize("victim", [0, 1], ids=["the first", "the second"])
def test_a_rank_that_is_killed_ends_both_tasks_and_is_named(start, two, root, victim):
    tasks, folder = start(replace(two, seed=53 + victim, train=replace(two.train, steps=100_000)))
    run = the_run(root, folder)
    until(lambda: run.read_status().get("step"))
    os.kill(rank_in(tasks[victim]), signal.SIGKILL)
    began = time.monotonic()
    assert codes(tasks) == [1, 1]
    assert time.monotonic() - began < 120
    assert json.loads(run.status_file.read_text())["error"].startswith(f"TrainingError: rank {victim}: ended by signal 9 (Killed)")


@pytest.mark.slow
def test_a_task_whose_leader_is_killed_ends_and_the_point_goes_on_when_the_job_starts_again(start, two, root):
    config = replace(two, seed=55, train=replace(two.train, steps=40, checkpoint_every=5))
    tasks, folder = start(config, "--until", "trained")
    run = the_run(root, folder)
    until(run.last.exists)
    tasks[0].kill()
    assert codes(tasks) == [-signal.SIGKILL, 1]
    again, _ = start(config, "--until", "trained", attempt=1)
    assert codes(again) == [0, 0]
    assert run.read_status()["first_step"] >= 5


@pytest.mark.slow
def test_a_point_that_cannot_be_trained_ends_the_leader_with_its_error_and_the_other_without(start, two):
    tasks, folder = start(replace(two, seed=56, objective=replace(two.objective, teacher_forcing=True)))
    assert codes(tasks) == [1, 0]
    assert "\nLcmError: objective.teacher_forcing needs a cascade" in tasks[0].stdout.read()
    assert read_place(folder, 0).error.startswith("LcmError: objective.teacher_forcing needs")

"""What status adds to the table: jobs that ended before they could speak, full disks, what is still ahead."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from toy_producer import toy_plan

from lcm.store import StorePaths
from slurm import situation
from slurm.shards import adopt_plan
from slurm.situation import situations
from slurm.submission import Submissions


@pytest.fixture
def ended(tmp_path: Path) -> Path:
    """A store whose two local jobs have ended without a heartbeat."""
    adopt_plan(tmp_path, toy_plan(4))
    submission = Submissions(tmp_path).new("fill", "local", [[[0, 1]], [[2, 3]]])
    Submissions(tmp_path).write(replace(submission, jobs=["99999998", "99999999"]))
    (StorePaths(tmp_path).logs / submission.name).mkdir(parents=True)
    return tmp_path


def log(folder: Path, job: int, text: str) -> None:
    next(StorePaths(folder).logs.iterdir()).joinpath(f"{99999998 + job}_0_log.err").write_text(text)


def test_the_error_of_a_job_that_ended_before_it_began_is_given_for_each_of_its_shards(ended: Path):
    log(ended, 0, "Traceback (most recent call last):\nModuleNotFoundError: No module named 'x'\nsrun: error: node1: task 0: Exited\n")
    (found,) = situations([ended])
    assert sorted(found.errors) == [0, 1]
    assert found.errors[0].startswith("ModuleNotFoundError: No module named 'x' (job 99999998, log ")
    assert any("2 shards, the first 0, ended before they began: ModuleNotFoundError" in note for note in found.notes)


def test_warnings_of_a_task_that_was_stopped_are_no_errors(ended: Path):
    log(ended, 0, "submitit WARNING (2026-01-01) - Bypassing signal SIGCONT\n")
    log(ended, 1, "weight_norm.py:144: FutureWarning: deprecated\n  WeightNorm.apply(module, name, dim)\n")
    assert situations([ended])[0].errors == {}


SYSTEM = ["slurmstepd: error: Detected 1 oom-kill event(s)", "/bin/bash: line 3: module: command not found", "Killed"]


@pytest.mark.parametrize("line", SYSTEM)
def test_the_systems_own_words_are_errors(ended: Path, line: str):
    log(ended, 1, f"{line}\n")
    assert situations([ended])[0].errors[2].startswith(line)


def test_a_shard_that_has_spoken_needs_no_log(ended: Path):
    from slurm.progress import Heartbeat, Progress

    log(ended, 0, "OSError: old\n")
    heart = Heartbeat(StorePaths(ended).progress(0), Progress(0, 6))
    heart.beat("failed", "ValueError: its own")
    assert situations([ended])[0].errors == {0: "ValueError: its own", 1: situations([ended])[0].errors[1]}


def test_a_disk_without_room_is_named(ended: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(situation, "_LEAST_FREE_BYTES", 10**18)
    assert any(note.startswith(f"no room on the disk of {ended}") for note in situations([ended])[0].notes)

"""The processes of one job wait for one another before it is requeued."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from slurm.marks import Marks, process_number
from slurm.signals import Stop


@pytest.fixture(autouse=True)
def in_slurm(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SUBMITIT_EXECUTOR", "slurm")
    monkeypatch.setenv("SLURM_PROCID", "1")


def elapsed(marks: Marks, stop: Stop) -> float:
    began = time.monotonic()
    marks.wait(stop)
    return time.monotonic() - began


def test_a_process_that_has_stopped_waits_until_the_others_have(tmp_path: Path):
    marks, stop = Marks(tmp_path, 0, 2, 30.0), Stop(again=True)
    with marks.mine():
        pass
    other = threading.Timer(0.4, marks.path(0).touch)
    began = time.monotonic()
    other.start()
    marks.wait(stop)
    assert 0.3 < time.monotonic() - began < 25
    assert marks.path(0).exists()


def test_it_waits_no_longer_than_it_may(tmp_path: Path):
    assert elapsed(Marks(tmp_path, 0, 2, 0.6), Stop(again=True)) >= 0.5


def test_it_does_not_wait_when_it_is_told_to_end(tmp_path: Path):
    assert elapsed(Marks(tmp_path, 0, 2, 30.0), Stop(again=True, end=True)) < 25


def test_a_process_alone_does_not_wait(tmp_path: Path):
    assert elapsed(Marks(tmp_path, 0, 1, 30.0), Stop(again=True)) < 25


def test_the_mark_is_left_when_the_work_fails(tmp_path: Path):
    marks = Marks(tmp_path, 3, 2, 0.0)
    with pytest.raises(ValueError, match="why"), marks.mine():
        raise ValueError("why")
    assert marks.path(1).exists()


def test_marks_of_an_earlier_run_of_the_job_do_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    marks = Marks(tmp_path, 0, 2, 0.6)
    for process in range(2):
        marks.path(process).touch()
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    assert elapsed(marks, Stop(again=True)) >= 0.5


def test_a_local_job_inside_an_allocation_has_its_own_number(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SUBMITIT_EXECUTOR", "local")
    assert process_number() == 0
    monkeypatch.setenv("SUBMITIT_LOCAL_GLOBALID", "0")
    assert process_number() == 0

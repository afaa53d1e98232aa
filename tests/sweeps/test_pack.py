"""Processes beside each other in one task: their number, their failures, their end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from slurm.signals import Stop
from sweeps.sweep.child import ended_by, environment, start
from sweeps.sweep.pack import Pack

LISTENS = """
import signal, sys, time
time.sleep(float(sys.argv[1]))  # what imports take
signal.signal(signal.SIGTERM, lambda *_: sys.exit(75))
signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM, signal.SIGUSR2])
time.sleep(600)
"""


def _run(code, *words):
    return subprocess.Popen([sys.executable, "-c", code, *words], stderr=subprocess.DEVNULL)


def _never(number, code):
    assert code in {0, 75}, number


def test_no_more_run_at_once_than_allowed():
    running, most = [], []

    def begin(number):
        running.append(_run("import time; time.sleep(0.3)"))
        most.append(sum(process.poll() is None for process in running))
        return running[-1]

    assert Pack(range(5), Stop(), 2, begin, _never).run() == {}
    assert (len(running), max(most)) == (5, 2)


def test_one_that_fails_does_not_touch_the_others():
    pack = Pack([0, 1, 2], Stop(), 3, lambda n: _run(f"import sys; sys.exit({n % 2})"), lambda n, code: f"{n} ended with {code}")
    assert pack.run() == {1: "1 ended with 1"}
    assert pack.left == []


def test_one_that_may_not_begin_has_failed_with_the_reason():
    assert Pack([4], Stop(), 1, lambda _: "no corpus", _never).run() == {4: "no corpus"}


@pytest.mark.parametrize("importing_s", ["0", "3"])
def test_asked_to_stop_all_end_and_are_left_for_later(importing_s):
    stop = Stop()
    pack = Pack([0, 1, 2], stop, 2, lambda _: _run(LISTENS, importing_s), _never)
    threading.Timer(0.5, stop.hear, [signal.SIGUSR2]).start()
    begun = time.monotonic()
    assert pack.run() == {}
    assert sorted(pack.left) == [0, 1, 2]
    assert time.monotonic() - begun < 120


def test_a_failure_while_others_stop_stays_a_failure():
    stop = Stop()
    stop.hear(signal.SIGTERM)
    pack = Pack([0], Stop(), 1, lambda _: _run("raise SystemExit(3)"), lambda _, code: f"exit {code}")
    pack.stop = stop
    pack.running[0] = _run("raise SystemExit(3)")
    pack.running[0].wait()
    assert pack.run() == {0: "exit 3"}


def test_a_point_does_not_see_that_it_is_in_a_job_but_may_ask_the_scheduler():
    outer = {"SLURM_CONF": "c", "SLURM_NTASKS": "2", "SLURM_PROCID": "1", "SBATCH_X": "y", "PMI_RANK": "1", "SUBMITIT_EXECUTOR": "slurm"}
    inner = environment({**outer, "SLURM_RESTART_COUNT": "2", "HOME": "h", "CUDA_VISIBLE_DEVICES": "1"})
    assert {name for name in inner if not name.startswith("LCM_")} == {"SLURM_CONF", "HOME", "CUDA_VISIBLE_DEVICES"}
    assert inner["LCM_RESTART"] == "2"


def test_job_and_node_are_noted_for_the_point(monkeypatch):
    for name, value in {"SLURM_ARRAY_JOB_ID": "12", "SLURM_ARRAY_TASK_ID": "3", "SLURMD_NODENAME": "node7"}.items():
        monkeypatch.setenv(name, value)
    inner = environment(os.environ)
    assert (inner["LCM_JOB"], inner["LCM_NODE"]) == ("12_3", "node7")


def test_a_point_prints_into_its_own_log_after_what_is_there(tmp_path):
    log = tmp_path / "logs" / "0001.log"
    for _ in range(2):
        assert start("platform", [], log, threads=3).wait() == 0
    assert len(log.read_text().splitlines()) == 2


def test_a_killed_process_is_described():
    assert "SIGKILL" in ended_by(-9)
    assert "out of memory" in ended_by(-9)
    assert "SIGSEGV" in ended_by(-11)
    assert "exit code 3" in ended_by(3)

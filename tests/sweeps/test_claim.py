import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from lcm.paths import Run
from sweeps import claim_files
from sweeps.claim import ClaimError, Fence, Lost, Taken, claimed, owner_of
from sweeps.claim_files import ClaimFiles, this_process

CLAIMANT = Path(__file__).with_name("claimant.py")
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM", "LCM_"))} | {"OMP_NUM_THREADS": "1"}
QUICK = {"beat_s": 0.05, "stale_s": 0.4}
LIVE = {"beat_s": 0.05, "stale_s": 20}


@pytest.fixture
def run(tmp_path):
    return Run(tmp_path / "run with a space")


@pytest.fixture(autouse=True)
def _outside_a_job(monkeypatch):
    for name in list(os.environ):
        if name.startswith(("SLURM", "LCM_")):
            monkeypatch.delenv(name)


@pytest.fixture
def start(run, tmp_path):
    started = []

    def process(seconds, *options, beat_s=0.05, stale_s=20, wait_for_it=True, **environment):
        command = [sys.executable, str(CLAIMANT), str(run.folder), str(tmp_path / "log"), str(beat_s), str(stale_s), str(seconds), *options]
        new = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env={**ENVIRONMENT, **environment})
        started.append(new)
        while wait_for_it and (line := new.stdout.readline()) != "owner\n":
            assert line, "it ended without the claim"
        return new

    yield process
    for new in started:
        new.kill()
        new.wait()


def soon(what, patience_s=60):
    deadline = time.monotonic() + patience_s
    while not what() and time.monotonic() < deadline:
        time.sleep(0.01)
    return what()


def test_of_many_processes_at_once_one_owns_the_folder_at_a_time(start, tmp_path):
    many = [start(0.05, stale_s=30, wait_for_it=False) for _ in range(8)]
    for one in many:
        assert one.wait(60) == 0, one.stdout.read()
    words = [line.split() for line in (tmp_path / "log").read_text().splitlines()]
    assert len(words) == 16
    for entered, left in zip(words[::2], words[1::2], strict=True):
        assert (entered[0], left[0], entered[1]) == ("enter", "leave", left[1])


def test_an_owner_that_was_killed_is_followed_at_once(start, run):
    owner = start(60, stale_s=600)
    owner.kill()
    owner.wait()
    began = time.monotonic()
    with claimed(run, wait=False, stale_s=600):
        assert time.monotonic() - began < 60


def test_an_owner_whose_number_another_process_has_by_now_is_followed_at_once(run, monkeypatch):
    born = claim_files._born
    monkeypatch.setattr(claim_files, "_born", lambda pid: "1")
    ClaimFiles(run.claims).folder.mkdir(parents=True)
    ClaimFiles(run.claims).make(1, this_process())
    monkeypatch.setattr(claim_files, "_born", born)
    with claimed(run, wait=False) as fence:
        assert fence.number == 2


def test_an_owner_that_let_go_is_followed_at_once(run):
    for number in (1, 2):
        with claimed(run, wait=False) as fence:
            assert fence.number == number
            assert owner_of(run).pid == os.getpid()
        assert owner_of(run) is None


def test_a_live_owner_is_named_to_whoever_does_not_wait(start, run):
    owner = start(60, LCM_JOB="123_4", SLURMD_NODENAME="node7")
    said = rf"{run.folder.name} is in the hands of process {owner.pid} on node7 \(job 123_4, since 20"
    with pytest.raises(Taken, match=said), claimed(run, wait=False, **LIVE):
        pass


def test_whoever_waits_says_so_once_and_gets_the_folder_when_the_owner_lets_go(start, run, capsys):
    owner = start(5)
    with claimed(run, wait=True, beat_s=0.05, stale_s=60):
        assert owner.wait(60) == 0
    assert capsys.readouterr().out.count("waiting for process") == 1


def test_a_silent_owner_on_another_node_is_followed_after_a_while_and_loses_its_claim(start, run):
    owner = start(60, "--write-on", SLURMD_NODENAME="elsewhere")
    owner.send_signal(signal.SIGSTOP)
    began = time.monotonic()
    with claimed(run, wait=False, beat_s=0.05, stale_s=1.0):
        assert time.monotonic() - began > 0.9
        owner.send_signal(signal.SIGCONT)
        assert owner.wait(20) == 4
        assert f"was taken over by process {os.getpid()}" in owner.stdout.read()
    assert owner_of(run) is None  # what the old one did at its end has not touched the new one's claim


def test_a_silent_owner_on_this_node_is_followed_after_a_while_too(start, run):
    start(60).send_signal(signal.SIGSTOP)
    with claimed(run, wait=False, **QUICK) as fence:
        assert fence.number == 2


def test_a_job_that_starts_again_follows_its_own_older_copy_at_once(start, run, monkeypatch):
    start(60, LCM_JOB="7_1", LCM_RESTART="1", SLURMD_NODENAME="dead")
    monkeypatch.setenv("LCM_JOB", "7_1")
    monkeypatch.setenv("LCM_RESTART", "2")
    began = time.monotonic()
    with claimed(run, wait=False, stale_s=600):
        assert time.monotonic() - began < 60


def test_a_copy_of_the_same_start_of_a_job_is_no_older_one(start, run, monkeypatch):
    start(60, LCM_JOB="7_1", LCM_RESTART="2")
    monkeypatch.setenv("LCM_JOB", "7_1")
    monkeypatch.setenv("LCM_RESTART", "2")
    with pytest.raises(Taken), claimed(run, wait=False, **LIVE):
        pass


@pytest.mark.parametrize(("gone", "soon", "stale_s"), [(True, True, 60), (False, False, 1.5), (None, False, 1.5)])
def test_of_a_silent_owner_the_scheduler_is_asked_once_whether_its_job_lives(start, run, gone, soon, stale_s):
    start(60, LCM_JOB="9", SLURMD_NODENAME="elsewhere").send_signal(signal.SIGSTOP)
    asked, began = [], time.monotonic()
    with claimed(run, wait=False, is_gone=lambda job: asked.append(job) or gone, beat_s=0.1, stale_s=stale_s):
        assert (time.monotonic() - began < stale_s) == soon
    assert asked == ["9"]


def test_a_job_that_the_scheduler_does_not_know_keeps_its_claim_while_it_beats(start, run):
    start(60, LCM_JOB="9", SLURMD_NODENAME="elsewhere")
    with pytest.raises(Taken), claimed(run, wait=False, is_gone=lambda job: True, beat_s=0.5, stale_s=20):
        pass


def test_a_higher_claim_is_noticed_before_anything_is_written(run):
    with claimed(run, wait=False) as fence:
        fence.check()
        ClaimFiles(run.claims).make(2, this_process())
        with pytest.raises(Lost, match="was taken over by"):
            fence.check()


def test_a_claim_that_is_lost_is_noticed_without_a_write(run):
    with claimed(run, wait=False, beat_s=0.02) as fence:
        ClaimFiles(run.claims).make(2, this_process())
        assert soon(lambda: fence.lost)


def test_claims_that_somebody_removes_are_lost(run):
    with claimed(run, wait=False) as fence:
        for path in run.claims.iterdir():
            path.unlink()
        with pytest.raises(Lost, match=r"000001\.json was removed"):
            fence.check()


def test_a_rank_holds_by_the_number_it_was_given_and_without_one_always(run):
    Fence(run).check()
    with claimed(run, wait=False) as fence:
        Fence(run, fence.number).check()
        with pytest.raises(Lost):
            Fence(run, fence.number + 1).check()


def test_many_owners_in_a_row_leave_few_files(run):
    for _ in range(40):
        with claimed(run, wait=False):
            pass
    assert len(list(run.claims.iterdir())) <= 20
    assert json.loads((run.claims / "000040.json").read_text())["pid"] == os.getpid()


def test_whoever_slept_through_many_owners_does_not_take_a_number_that_is_long_over(run, monkeypatch):
    for _ in range(9):
        with claimed(run, wait=False):
            pass
    highest, old = ClaimFiles.highest, iter([1])
    monkeypatch.setattr(ClaimFiles, "highest", lambda files: next(old, None) or highest(files))
    with claimed(run, wait=False) as fence:
        assert fence.number == 10


def test_a_file_system_without_hard_links_will_do(run, monkeypatch):
    def refuse(*_):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    with claimed(run, wait=False) as fence:
        assert ClaimFiles(run.claims).make(fence.number, this_process()) is False
        assert owner_of(run).pid == os.getpid()


def test_a_link_that_was_made_although_it_is_reported_as_refused_counts(run, monkeypatch):
    link = os.link

    def repeat(*names):
        link(*names)
        link(*names)

    monkeypatch.setattr(os, "link", repeat)
    with claimed(run, wait=False) as fence:
        assert fence.number == 1


def test_a_full_disk_stops_no_beat(run, monkeypatch):
    refused = []

    def full(*_args, **_kwargs):
        refused.append(True)
        raise OSError(28, "No space left on device")

    with claimed(run, wait=False, beat_s=0.02) as fence:
        monkeypatch.setattr(Path, "touch", full)
        assert soon(lambda: len(refused) > 1)  # it went on after the first
        monkeypatch.undo()
        before = fence.files.beat(1).stat().st_mtime_ns
        assert soon(lambda: fence.files.beat(1).stat().st_mtime_ns > before)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become somebody who may not write")
def test_a_folder_that_may_not_be_written_says_what_to_do(run):
    run.folder.mkdir(mode=0o555)
    errors = []

    def as_nobody():
        # of this thread alone: setfsuid of libc
        import ctypes

        ctypes.CDLL(None).setfsuid(65534)
        try:
            with claimed(run, wait=False):
                pass
        except ClaimError as error:
            errors.append(str(error))

    run.folder.parent.chmod(0o755)
    thread = threading.Thread(target=as_nobody)
    thread.start()
    thread.join()
    assert "cannot be claimed: [Errno 13] Permission denied" in errors[0]
    assert "set another root=" in errors[0]

"""One attempt at a shard: memory that runs out, requests to stop, clips that take their process down, and giving up."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path

import pytest
from toy_producer import ITEMS, Toy, toy, toy_plan

from lcm.store import Store, StoreError, StorePaths, verify_shard
from slurm import run_plan, run_shards
from slurm.progress import Heartbeat, Progress, after, read_progress
from slurm.signals import Stop, listen
from slurm.skips import add_skips, read_skips

LENGTHS = dict(ITEMS)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    return run_plan(tmp_path_factory.mktemp("undisturbed"), toy_plan(3), toy()).identity


def progress(folder, shard=0):
    return read_progress(StorePaths(folder).progress(shard))


class Small(Toy):
    """A device on which at most `frames` fit at once."""

    frames = 12

    def produce(self, keys):
        if len(keys) * LENGTHS[keys[0]] > self.frames:
            raise MemoryError("no room")
        self.__class__.batches.append(len(keys))
        return super().produce(keys)

    batches: list[int] = []  # noqa: RUF012 - of the class, to be read by the test


def test_out_of_memory_halves_the_batch_and_says_so(tmp_path: Path, undisturbed: str, capsys: pytest.CaptureFixture[str]):
    Small.batches.clear()
    assert run_plan(tmp_path, toy_plan(1), partial(Small, batch_size=6)).identity == undisturbed
    said = [line for line in capsys.readouterr().out.splitlines() if "out of memory" in line]
    assert [line.partition("memory ")[2] for line in said] == ["with 6 clips of 6 frames, now 3", "with 3 clips of 6 frames, now 2"]
    assert {2, 4} <= set(Small.batches)  # what fits of 6 and of 3 frames each
    assert sum(Small.batches) == len(ITEMS)


def test_a_batch_size_that_was_learnt_is_kept_for_later_shards(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    run_plan(tmp_path, toy_plan(3), partial(Small, batch_size=2, seed=1))
    assert capsys.readouterr().out.count("out of memory") <= 1


def test_a_clip_that_does_not_fit_alone_fails_its_shard_and_is_set_aside_at_the_last_attempt(tmp_path: Path):
    plan, small = toy_plan(1), type("Tiny", (Small,), {"frames": 5})
    for _ in range(2):
        with pytest.raises(StoreError, match=r"out of memory with one clip alone, 'clip 03'"):
            run_shards(tmp_path, plan, [0], small, max_barren=3)
    assert run_shards(tmp_path, plan, [0], small, max_barren=3)
    long = {key for key, length in ITEMS if length > 5}
    assert set(verify_shard(StorePaths(tmp_path).shard(0, 1)).quarantined) == long


class Dying(Toy):
    """A clip that takes its process down."""

    def produce(self, keys):
        if "clip 05" in keys:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().produce(keys)


def die(folder: Path, max_barren: int = 3) -> subprocess.CompletedProcess[str]:
    here = Path(__file__)
    code = f"""
import sys; sys.path[:0] = [{str(here.parents[2])!r}, {str(here.parent)!r}]
from pathlib import Path; from test_attempt import Dying; from toy_producer import toy_plan; from slurm import run_shards
run_shards(Path({str(folder)!r}), toy_plan(3), [0], Dying, max_barren={max_barren})
"""
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def test_a_shard_whose_process_always_dies_is_given_up_and_says_where(tmp_path: Path):
    codes = [die(tmp_path).returncode for _ in range(4)]
    assert codes[-1] != -signal.SIGKILL
    assert codes.count(-signal.SIGKILL) >= 2
    after = progress(tmp_path)
    assert after.state == "failed"
    assert "given up after 3 attempts" in after.error
    assert f"ended without a word on {after.host}" in after.error


def test_a_clip_that_was_set_aside_by_hand_is_quarantined_with_its_reason(tmp_path: Path):
    die(tmp_path)
    add_skips(StorePaths(tmp_path).skips, ["clip 05"], "kills, \"quoted\"")
    run_plan(tmp_path, toy_plan(3), Dying)
    assert "clip 05" not in Store(tmp_path).keys
    assert "kills" in StorePaths(tmp_path).quarantine.read_text()


def test_what_is_set_aside_twice_keeps_its_reason(tmp_path: Path):
    add_skips(tmp_path / "skips.csv", ["a"], "first")
    add_skips(tmp_path / "skips.csv", ["a", "b"], "second")
    assert read_skips(tmp_path / "skips.csv") == {"a": "first", "b": "second"}


class Asked(Toy):
    """Sends its own process a signal while it makes a clip."""

    number = signal.SIGUSR2

    def produce(self, keys):
        if "clip 02" in keys:
            os.kill(os.getpid(), self.number)
        return super().produce(keys)


@pytest.mark.parametrize("number", [signal.SIGUSR2, signal.SIGTERM])
def test_a_task_that_is_asked_to_stop_keeps_what_it_made_and_the_next_goes_on(tmp_path: Path, undisturbed: str, number: int):
    plan, asked = toy_plan(3), type("Asked", (Asked,), {"number": number})
    with listen() as stop:
        assert run_shards(tmp_path, plan, [0, 1, 2], partial(asked, batch_size=1), stop=stop) is False
    assert stop.requeue is (number == signal.SIGUSR2)
    left = progress(tmp_path)
    assert (left.state, left.barren, left.failed_on) == ("stopped", 0, [])
    assert 0 < left.done < left.total
    assert run_plan(tmp_path, plan, partial(Fresh, batch_size=1, log=tmp_path / "log")).identity == undisturbed
    assert len((tmp_path / "log").read_text().splitlines()) == len(ITEMS) - left.done


class Fresh(Toy):
    pass


def test_term_outweighs_usr2(tmp_path: Path):
    with listen() as stop:
        os.kill(os.getpid(), signal.SIGUSR2)
        os.kill(os.getpid(), signal.SIGTERM)
    assert stop
    assert not stop.requeue


def test_handlers_are_put_back(tmp_path: Path):
    before = signal.getsignal(signal.SIGTERM)
    with listen():
        assert signal.getsignal(signal.SIGTERM) is not before
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_task_that_only_measures_stops_by_itself(tmp_path: Path):
    assert run_shards(tmp_path, toy_plan(3), [0, 1, 2], partial(Toy, delay_s=0.05, batch_size=1), stop=Stop.within(0.3)) is False
    assert 0 < progress(tmp_path).done < 24


def test_time_and_frames_of_all_attempts_are_kept(tmp_path: Path):
    slow = partial(Toy, delay_s=0.05, batch_size=1)
    run_shards(tmp_path, toy_plan(1), [0], slow, stop=Stop.within(0.2))
    first = progress(tmp_path)
    run_shards(tmp_path, toy_plan(1), [0], slow)
    second = progress(tmp_path)
    assert (second.attempts, second.state) == (2, "done")
    assert second.busy_s >= first.busy_s + 0.05 * (24 - first.done)
    assert first.frames + second.frames == sum(LENGTHS.values())


def test_a_failed_attempt_notes_its_node(tmp_path: Path):
    with pytest.raises(StoreError):
        run_shards(tmp_path, toy_plan(1), [0], toy(bad=frozenset(LENGTHS)))
    assert progress(tmp_path).failed_on == [progress(tmp_path).host]


def test_only_the_main_thread_may_listen():
    errors: list[Exception] = []

    def run() -> None:
        try:
            with listen():
                pass
        except ValueError as error:
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert len(errors) == 1


def test_a_heartbeat_goes_on_while_a_batch_takes_long(tmp_path: Path):
    heart = Heartbeat(tmp_path / "beat.json", Progress(0, 1), every_s=0.0)
    heart.beat()
    first = (tmp_path / "beat.json").stat().st_mtime_ns
    with heart.kept_alive(every_s=0.05):
        time.sleep(0.3)
    assert (tmp_path / "beat.json").stat().st_mtime_ns > first


def test_the_last_word_of_a_heartbeat_is_not_overwritten(tmp_path: Path):
    heart = Heartbeat(tmp_path / "beat.json", Progress(0, 1), every_s=0.0)
    with heart.kept_alive(every_s=0.01):
        heart.beat("failed", "why")
        time.sleep(0.1)
    assert (read_progress(tmp_path / "beat.json").state, read_progress(tmp_path / "beat.json").error) == ("failed", "why")


class Broken(Toy):
    def prepare(self):
        raise RuntimeError("no such device")


def test_a_task_that_cannot_load_notes_it_on_its_shards_and_counts_its_node_once(tmp_path: Path):
    with pytest.raises(RuntimeError):
        run_shards(tmp_path, toy_plan(3), [0, 1, 2], Broken)
    notes = [progress(tmp_path, shard) for shard in range(3)]
    assert [note.error for note in notes] == ["RuntimeError: no such device"] * 3
    assert sum(len(note.failed_on) for note in notes) == 1


class Company(Toy):
    """Notes the rows that it was told to compute with."""

    def produce(self, keys):
        self.__class__.told.append((LENGTHS[keys[0]], len(keys), self.rows))
        return super().produce(keys)

    told: list[tuple[int, int, int]] = []  # noqa: RUF012 - of the class, to be read by the test


def test_a_producer_is_told_the_rows_of_a_full_batch_whatever_the_number_of_keys(tmp_path: Path):
    run_plan(tmp_path, toy_plan(5), partial(Company, batch_size=4))
    assert {rows for _, _, rows in Company.told} == {4}
    assert {keys for _, keys, _ in Company.told} - {4}


def test_a_request_is_heard_while_the_main_thread_computes(tmp_path: Path):
    heart = Heartbeat(tmp_path / "beat.json", Progress(0, 1), every_s=0.0)
    with listen() as stop:
        stop.tell = lambda: heart.beat("stopping")
        threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGUSR2)).start()
        hashlib.pbkdf2_hmac("sha256", b"", b"", 2_000_000)  # one call outside of Python, as a network's is; half a second or more
        assert read_progress(tmp_path / "beat.json").state == "stopping"
    assert stop.requeue


@pytest.mark.parametrize(("batch_s", "called"), [(0.6, 1), (0.0, 0)])
def test_a_batch_that_outlasts_the_time_there_is_leads_to_the_deadline(batch_s: float, called: int):
    calls: list[int] = []
    with listen(grace_s=0.2, at_deadline=lambda: calls.append(1)):
        os.kill(os.getpid(), signal.SIGUSR2)
        time.sleep(batch_s)
    time.sleep(0.3)
    assert len(calls) == called


def test_an_attempt_that_was_ended_while_it_stopped_counts_against_no_node(tmp_path: Path):
    stopping = Progress(0, 4, done=1, state="stopping", clips_per_s=0.5)
    assert (after(stopping, 0, 4, 1).barren, after(stopping, 0, 4, 1).failed_on) == (0, [])
    stopping.clips_per_s = 0.0
    assert (after(stopping, 0, 4, 1).barren, after(stopping, 0, 4, 1).failed_on) == (1, [])
    assert "raise the time limit" in after(stopping, 0, 4, 1).error

"""Status: what the folder says."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import time
from dataclasses import asdict
from datetime import datetime, timedelta, timezone
from functools import partial
from pathlib import Path

import pytest
from rich.console import Console
from toy_producer import ITEMS, Toy, toy, toy_plan

from lcm.store import StoreError, StorePaths
from slurm import run_plan, run_shards
from slurm.cli import main
from slurm.progress import Heartbeat, Progress, read_progress
from slurm.shards import PlanHeader
from slurm.status import Status, as_table, duration, read_status, remarks

ROOT = Path(__file__).parents[2]


@pytest.fixture
def half(tmp_path: Path) -> Path:
    """A store of four shards: one done with a bad item, one failed, one running, one not begun."""
    folder, plan = tmp_path / "half", toy_plan(4)
    run_shards(folder, plan, [0], toy(bad=frozenset({"clip 02"})))
    with pytest.raises(StoreError):
        run_shards(folder, plan, [1], toy(bad=frozenset(plan.keys(1))))
    Heartbeat(StorePaths(folder).progress(2), Progress(2, 6, done=3)).beat()
    return folder


def test_each_state_of_a_shard_is_told_from_disk(half: Path):
    status = read_status(half)
    assert status.states == ("done", "failed", "running", "missing")
    assert status.shards == {"done": 1, "running": 1, "queued": 0, "stopped": 0, "stalled": 0, "failed": 1, "missing": 1}
    assert (status.clips, status.finished) == (len(ITEMS), False)
    assert status.errors[1].startswith("StoreError: ")


def test_items_that_failed_a_whole_shard_are_neither_done_nor_quarantined(half: Path):
    status = read_status(half)
    assert (status.clips_done, status.quarantined) == (6 + 3, 1)


def test_clips_of_a_running_shard_count(half: Path):
    before = read_status(half).clips_done
    Heartbeat(StorePaths(half).progress(2), Progress(2, 6, done=5)).beat()
    assert read_status(half).clips_done == before + 2


def test_a_heartbeat_that_has_stopped_shows_as_stalled_with_its_node_and_for_how_long(half: Path):
    beat(half, 2, done=3, host="node7", job="12_3", ago_s=600)
    status = read_status(half, queued=[2])
    assert status.states[2] == "stalled"
    assert (status.stalled[2].host, status.stalled[2].job) == ("node7", "12_3")
    assert status.stalled[2].silent_s == pytest.approx(600, abs=30)
    assert "shard 2 is stalled: no word from node7 for 10 min (job 12_3)" in remarks(status)


def test_a_shard_that_was_asked_to_stop_is_stopped_and_keeps_its_clips(half: Path):
    beat(half, 2, done=3, quarantined=1, state="stopped", ago_s=9999)
    status = read_status(half)
    assert status.states[2] == "stopped"
    assert (status.clips_done, status.quarantined) == (6 + 3, 1)  # what was set aside is tried again


def test_shards_of_jobs_that_wait_are_queued_unless_they_are_done_running_or_failed(half: Path):
    assert read_status(half, queued=range(4)).states == ("done", "failed", "running", "queued")
    beat(half, 2, done=3, state="stopped")
    assert read_status(half, queued=range(4)).states[2] == "queued"


def test_the_time_left_is_what_is_left_at_the_rate_of_the_running_tasks(half: Path):
    header = PlanHeader.read(StorePaths(half).plan)
    beat(half, 2, done=3, clips_per_s=0.5)
    status = read_status(half)
    frames_per_s = 0.5 * header.frames(2) / 6
    left = header.frames(1) + header.frames(2) / 2 + header.frames(3)
    assert status.eta_s == pytest.approx(left / frames_per_s, rel=0.05)
    assert status.frames - status.frames_done == pytest.approx(left, abs=1)
    beat(half, 2, done=3, state="stopped")
    assert read_status(half).eta_s is None


def test_gpu_hours_are_the_work_of_all_attempts_times_the_gpus(half: Path):
    before = read_status(half).gpu_hours
    beat(half, 2, done=3, busy_s=1800.0, gpus=2)
    beat(half, 3, done=1, busy_s=3600.0, gpus=1, state="stopped")
    assert read_status(half).gpu_hours - before == pytest.approx(2.0)


def test_a_node_on_which_tasks_keep_failing_is_named(half: Path):
    beat(half, 1, state="failed", host="node1", failed_on=["node1", "node2", "node1"])
    beat(half, 2, done=1, host="node1", failed_on=["node2"], ago_s=9999)
    status = read_status(half)
    assert (status.nodes["node1"], status.nodes["node2"]) == ((0, 3), (0, 2))  # the stalled one counts
    assert status.bad_nodes() == ["node1"]
    assert "node node1 is bad: 3 attempts failed or died there, 0 shards were done" in remarks(status)


def test_a_node_that_does_more_than_it_fails_is_not_bad(tmp_path: Path):
    run_plan(tmp_path, toy_plan(4), toy())
    for shard in range(4):
        beat(tmp_path, shard, state="done", done=6, host="node1", failed_on=["node1"])
    assert read_status(tmp_path).nodes["node1"] == (4, 4)
    assert read_status(tmp_path).bad_nodes() == []


def test_heartbeats_of_another_version_or_torn_do_not_break_the_status(half: Path):
    path = StorePaths(half).progress(2)
    path.write_text(json.dumps({**json.loads(path.read_text()), "a field of later": 1}))
    StorePaths(half).progress(3).write_text('{"shard": 3, "tot')
    assert read_status(half).states == ("done", "failed", "running", "missing")


def test_several_stores_are_a_row_each_and_states_that_are_nowhere_are_left_out(half: Path, tmp_path: Path):
    run_plan(tmp_path / "other", toy_plan(3), toy())
    heading, *rows = [line.split() for line in text([read_status(half), read_status(tmp_path / "other")]).splitlines()]
    assert heading == ["store", "done", "running", "failed", "missing", "clips", "clips/s", "ETA"]
    assert [(row[0], row[1]) for row in rows] == [("half", "1"), ("other", "3")]
    assert (rows[0][-1], rows[1][-1]) == ("-", "finished")


def test_a_state_that_a_shard_is_in_has_its_column(half: Path):
    assert "queued" not in text(read_status(half))
    assert "queued" in text(read_status(half, queued=[3]))


@pytest.mark.parametrize(("seconds", "said"), [(0, "0 s"), (99, "99 s"), (300, "5 min"), (12_000, "3.3 h"), (190_000, "2.2 d")])
def test_times_are_said_in_the_units_of_people(seconds: float, said: str):
    assert duration(seconds) == said


def test_a_finished_store_shows_as_finished(tmp_path: Path):
    run_plan(tmp_path, toy_plan(4), toy(bad=frozenset({"clip 02"})))
    status = read_status(tmp_path)
    assert (status.shards["done"], status.clips_done, status.quarantined, status.finished) == (4, len(ITEMS), 1, True)


def test_a_shard_that_was_removed_shows_as_missing(tmp_path: Path):
    run_plan(tmp_path, toy_plan(4), toy())
    StorePaths(tmp_path).shard(3, 4).unlink()
    assert read_status(tmp_path).shards["missing"] == 1


def test_the_heartbeat_of_a_task_at_work_moves(tmp_path: Path):
    seen = []

    class Watched(Toy):
        def produce(self, keys):
            time.sleep(0.25)
            seen.append(read_progress(StorePaths(tmp_path).progress(0)))
            return super().produce(keys)

    run_shards(tmp_path, toy_plan(4), [0], partial(Watched, batch_size=1))
    assert seen[-1].done > seen[0].done == 0
    assert seen[-1].clips_per_s > 0
    assert seen[-1].total == 6


def test_the_command_prints_a_table_and_says_failure_by_its_exit_code(half: Path):
    done = subprocess.run([sys.executable, "-m", "slurm", "status", half], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    for word in ("done", "failed", "missing", "clips/s", "quarantined", f"/{len(ITEMS)}"):
        assert word in done.stdout


def test_failed_lists_one_line_an_error(half: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["status", str(half), "--failed"]) == 1
    (line,) = capsys.readouterr().out.splitlines()
    assert "shard 1: StoreError: 6 items in a row failed" in line


def test_a_folder_that_is_no_store_is_refused_in_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["status", str(tmp_path)]) == 2
    assert "is not a store" in capsys.readouterr().err


def beat(folder: Path, shard: int, *, ago_s: float = 0, **values: object) -> None:
    """Write a shard's heartbeat as another node would have some time ago."""
    written = datetime.now(timezone.utc) - timedelta(seconds=ago_s)
    progress = asdict(Progress(shard, 6)) | values | {"updated": written.isoformat(timespec="seconds")}
    StorePaths(folder).progress_folder.mkdir(exist_ok=True)  # a finished store has none
    StorePaths(folder).progress(shard).write_text(json.dumps(progress))


def text(statuses: Status | list[Status]) -> str:
    console = Console(width=80, file=io.StringIO())
    console.print(as_table(statuses))
    return console.file.getvalue()

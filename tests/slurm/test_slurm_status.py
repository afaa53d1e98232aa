"""Status: what the folder says."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
from toy_producer import ITEMS, Toy, toy, toy_plan

from lcm.store import StoreError, StorePaths
from slurm import run_plan, run_shards
from slurm.cli import main
from slurm.progress import Heartbeat, Progress, read_progress
from slurm.status import read_status

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
    assert status.shards == {"done": 1, "running": 1, "stalled": 0, "failed": 1, "missing": 1}
    assert (status.clips, status.finished) == (len(ITEMS), False)
    assert status.errors[1].startswith("StoreError: ")


def test_items_that_failed_a_whole_shard_are_neither_done_nor_quarantined(half: Path):
    status = read_status(half)
    assert (status.clips_done, status.quarantined) == (6 + 3, 1)


def test_clips_of_a_running_shard_count(half: Path):
    before = read_status(half).clips_done
    Heartbeat(StorePaths(half).progress(2), Progress(2, 6, done=5)).beat()
    assert read_status(half).clips_done == before + 2


def test_a_heartbeat_that_has_stopped_shows_as_stalled(half: Path):
    path = StorePaths(half).progress(2)
    value = json.loads(path.read_text())
    path.write_text(json.dumps({**value, "updated": "2020-01-01T00:00:00+00:00"}))
    assert (read_status(half).shards["running"], read_status(half).shards["stalled"]) == (0, 1)


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
    for word in ("done", "stalled", "clips/s", "quarantined", f"of {len(ITEMS)}"):
        assert word in done.stdout


def test_failed_lists_one_line_an_error(half: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["status", str(half), "--failed"]) == 1
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("shard 1: StoreError: 6 items in a row failed")


def test_a_folder_that_is_no_store_is_refused_in_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["status", str(tmp_path)]) == 2
    assert "is not a store" in capsys.readouterr().err

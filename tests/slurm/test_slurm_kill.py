"""A process killed at the worst moments: the same call resumes to the same store."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from toy_producer import ITEMS, toy, toy_plan

from lcm.store import StorePaths, read_journal
from slurm import run_plan
from slurm.shards import Plan

HERE, ROOT = Path(__file__).parent, Path(__file__).parents[2]

RUN = f"""
import os, shutil, sys
from pathlib import Path
sys.path[:0] = [{str(ROOT)!r}, {str(HERE)!r}]
import h5py
from toy_producer import die, toy, toy_plan
from lcm.store import journal, shard
from slurm import attempt, run_plan
folder, log = Path(sys.argv[1]), Path(sys.argv[2])
delay_s = float(sys.argv[3])
"""

# A death in the middle of the append of the 7th batch: half of its bytes reach the file.
IN_APPEND = """
write, count = os.write, 0
def torn(file, data):
    global count
    count += 1
    if count == 8:
        write(file, data[: len(data) // 2])
        die()
    return write(file, data)
journal.os.write = torn
"""
IN_FILL = "shard._fill = lambda dataset, name, records: (dataset.__setitem__(slice(0, 3), 7), dataset.file.flush(), die())"
BEFORE_FLUSH = "h5py.File.flush = lambda self: die()"
BEFORE_CLAIM = "attempt.claim = lambda part, final: die()"
AFTER_CLAIM = "shutil.rmtree = lambda *args, **kwargs: die()"
BEFORE_INDEX = "import slurm.local; slurm.local.build_index = lambda *args: die()"
GO = "run_plan(folder, toy_plan(3), toy(log=log, batch_size=1, delay_s=delay_s))"


def start(folder: Path, log: Path, fault: str = "", delay_s: float = 0) -> subprocess.Popen[bytes]:
    code = f"{RUN}\n{fault}\n{GO}"
    return subprocess.Popen([sys.executable, "-c", code, folder, log, str(delay_s)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def made(log: Path) -> list[str]:
    return log.read_text().splitlines() if log.exists() else []


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> str:
    return run_plan(tmp_path_factory.mktemp("undisturbed"), toy_plan(3), toy()).identity


def test_a_kill_in_the_middle_of_an_append_costs_that_record_alone(tmp_path: Path, undisturbed: str):
    folder, log = tmp_path / "store", tmp_path / "log"
    assert start(folder, log, IN_APPEND).wait() == -signal.SIGKILL
    (journal,) = folder.rglob("*.journal")
    survived = [record.key for record in read_journal(journal)]
    assert survived == made(log)[:6]
    assert len(made(log)) == 7
    again = tmp_path / "again"
    index = run_plan(folder, toy_plan(3), toy(log=again))
    assert sorted(made(again)) == sorted(key for key, _ in ITEMS if key not in survived)
    assert index.identity == undisturbed


@pytest.mark.parametrize("fault", [IN_FILL, BEFORE_FLUSH, BEFORE_CLAIM, AFTER_CLAIM])
def test_a_kill_in_the_middle_of_a_shard_build_costs_no_record(tmp_path: Path, undisturbed: str, fault: str):
    folder, log = tmp_path / "store", tmp_path / "log"
    assert start(folder, log, fault).wait() == -signal.SIGKILL
    assert made(log) == [key for keys in buckets(toy_plan(3), 0) for key in keys]
    again = tmp_path / "again"
    index = run_plan(folder, toy_plan(3), toy(log=again))
    assert sorted(made(again)) == sorted([*toy_plan(3).keys(1), *toy_plan(3).keys(2)])
    assert index.identity == undisturbed
    assert not [*folder.rglob(".*.part"), *folder.rglob("*.journal")]


def test_a_kill_before_the_index_leaves_only_the_index_to_make(tmp_path: Path, undisturbed: str):
    folder, log = tmp_path / "store", tmp_path / "log"
    assert start(folder, log, BEFORE_INDEX).wait() == -signal.SIGKILL
    assert not StorePaths(folder).index.exists()
    assert run_plan(folder, toy_plan(3), toy(log=tmp_path / "again")).identity == undisturbed
    assert made(tmp_path / "again") == []


def test_two_processes_on_one_store_leave_one_whole_store(tmp_path: Path, undisturbed: str):
    folder = tmp_path / "store"
    twins = [start(folder, tmp_path / f"log {n}", delay_s=0.005) for n in range(2)]
    assert [twin.communicate()[1].decode().splitlines()[-1:] for twin in twins] == [[], []]
    assert [twin.returncode for twin in twins] == [0, 0]
    assert run_plan(folder, toy_plan(3), toy()).identity == undisturbed
    assert len(list(StorePaths(folder).shard_folder.iterdir())) == 3


@pytest.mark.slow
def test_kills_at_ten_random_moments_lose_a_record_each_at_most(tmp_path: Path, undisturbed: str):
    folder, log, draw = tmp_path / "store", tmp_path / "log", random.Random(0)
    for _ in range(10):
        process = start(folder, log, delay_s=0.03)
        began = len(made(log))
        while len(made(log)) == began and process.poll() is None:
            time.sleep(0.005)
        time.sleep(draw.uniform(0, 0.1))
        process.kill()
        process.wait()
    index = run_plan(folder, toy_plan(3), toy(log=log))
    assert index.identity == undisturbed
    assert len(ITEMS) <= len(made(log)) <= len(ITEMS) + 10


def buckets(plan: Plan, shard: int) -> list[list[str]]:
    """Return the keys of a shard in the order in which batches take them."""
    lengths = sorted({item.length for item in plan.shard_items(shard)}, reverse=True)
    return [[item.key for item in plan.shard_items(shard) if item.length == length] for length in lengths]

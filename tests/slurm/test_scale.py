"""A million clips in 20,000 shards. The bars are of CPU time: the machine may be busy with other things."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import pytest

from lcm.store import StorePaths
from slurm.progress import Progress
from slurm.shards import Plan, PlanHeader, adopt_plan, missing_shards
from slurm.status import read_status

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
CLIPS, SHARDS = 1_000_000, 20_000
MISSING = list(range(0, SHARDS, SHARDS // 37 + 1))

PLAN = f"""
import json, resource, sys, time
from pathlib import Path
from slurm.shards import adopt_plan, make_plan
items = ((f"1034_121119_{{n // 100:06d}}_{{n % 100:06d}}|0", 75 + n % 1000) for n in range({CLIPS}))
adopt_plan(Path(sys.argv[1]), make_plan(items, {SHARDS}, attrs={{"codec": "0123456789abcdef"}}))
print(json.dumps([time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6]))
"""


@pytest.fixture(scope="module")
def planned(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, float, float]:
    """Return a planned store, and the CPU seconds and gigabytes that planning it took, importing included."""
    folder = tmp_path_factory.mktemp("scale")
    done = subprocess.run([sys.executable, "-c", PLAN, folder], cwd=ROOT, capture_output=True, text=True, check=True)
    cpu_s, peak_gb = json.loads(done.stdout)
    return folder, cpu_s, peak_gb


@pytest.fixture(scope="module")
def worked(planned: tuple[Path, float, float]) -> Path:
    """Return the store with every heartbeat, and every shard but 37."""
    folder, missing = planned[0], set(MISSING)
    paths = StorePaths(folder)
    paths.progress_folder.mkdir()
    paths.shard_folder.mkdir()
    heartbeat = asdict(Progress(0, 50, 50, state="done", attempt="20250101T000000-node12-1234-abcdef", busy_s=60.0, gpus=1, host="node12"))
    for shard in range(SHARDS):
        state = "stopped" if shard in missing else "done"
        paths.progress(shard).write_text(json.dumps({**heartbeat, "shard": shard, "state": state}, indent=1))
        if shard not in missing:
            paths.shard(shard, SHARDS).touch()
    return folder


@contextmanager
def at_most(cpu_s: float) -> Iterator[None]:
    start = time.process_time()
    yield
    took = time.process_time() - start
    print(f"{took:.2f} s of {cpu_s} s")
    assert took < cpu_s


def test_a_million_clips_are_planned_within_20_s_and_2_gb(planned: tuple[Path, float, float]):
    folder, cpu_s, peak_gb = planned
    print(f"{cpu_s:.2f} s, {peak_gb:.2f} GB")
    assert cpu_s < 20
    assert peak_gb < 2
    assert PlanHeader.read(StorePaths(folder).plan).clips == CLIPS


def test_a_task_begins_with_its_own_shards_within_a_second(planned: tuple[Path, float, float]):
    with at_most(1):
        plan = Plan.read(StorePaths(planned[0]).plan)
        adopt_plan(planned[0], plan)
        keys = [key for shard in range(19_996, 20_000) for key in plan.keys(shard)]
    assert keys[-1] == "1034_121119_009999_000099|0"


def test_the_status_of_20_000_shards_takes_less_than_2_s(worked: Path):
    with at_most(2):
        status = read_status(worked)
    assert (status.shards["done"], status.shards["stopped"]) == (SHARDS - 37, 37)
    assert status.gpu_hours == pytest.approx(SHARDS / 60)


def test_37_missing_of_20_000_shards_are_found_within_5_s(worked: Path):
    with at_most(5):
        missing = missing_shards(worked, PlanHeader.read(StorePaths(worked).plan))
    assert missing == MISSING
    assert len(missing) == 37

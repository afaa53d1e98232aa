"""A million clips in 20,000 shards: what looking after them reads, opens and holds. Times are in tests/benchmarks/scale.py."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from large_store import CLIPS, MISSING, SHARDS, work_on

from lcm.store import StorePaths
from slurm.shards import Plan, PlanHeader, adopt_plan, missing_shards
from slurm.status import read_status

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]

PLAN = """
import sys
from pathlib import Path
from large_store import large_plan
from slurm.shards import adopt_plan
adopt_plan(Path(sys.argv[1]), large_plan())
# not ru_maxrss, which a process inherits from the one that started it
peak_kb = next(line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
print(int(peak_kb) / 1e6)
"""

OPENED = """
import collections, json, sys
from pathlib import Path
from lcm.store import StorePaths
from slurm.shards import PlanHeader, missing_shards
from slurm.status import read_status
folder, act = Path(sys.argv[1]), sys.argv[2]
touched = collections.Counter()
sys.addaudithook(lambda event, args: touched.update([str(args[0])]) if event in ("open", "os.scandir", "os.listdir") else None)
read_status(folder) if act == "status" else missing_shards(folder, PlanHeader.read(StorePaths(folder).plan))
print(json.dumps({name: count for name, count in touched.items() if name.startswith(str(folder))}))
"""


def python(code: str, *words: object) -> str:
    """Return what a process of its own prints."""
    command = [sys.executable, "-c", code, *map(str, words)]
    path = {"PYTHONPATH": f"{ROOT}:{Path(__file__).parent}"}
    return subprocess.run(command, cwd=ROOT, env=path, capture_output=True, text=True, check=True).stdout


def touched(folder: Path, act: str) -> Counter[str]:
    """Return how often an act opened or listed each path of a store."""
    return Counter(json.loads(python(OPENED, folder, act)))


@pytest.fixture(scope="module")
def planned(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, float]:
    """Return a planned store, and the gigabytes that planning it took, importing included."""
    folder = tmp_path_factory.mktemp("scale")
    return folder, float(python(PLAN, folder))


@pytest.fixture(scope="module")
def worked(planned: tuple[Path, float]) -> Path:
    """Return the store with every heartbeat, and every shard but 37."""
    work_on(StorePaths(planned[0]))
    return planned[0]


def test_a_million_clips_are_planned_within_2_gb(planned: tuple[Path, float]):
    assert planned[1] < 2
    assert PlanHeader.read(StorePaths(planned[0]).plan).clips == CLIPS


def test_a_task_finds_its_own_shards_in_a_plan_of_a_million_clips(planned: tuple[Path, float]):
    plan = Plan.read(StorePaths(planned[0]).plan)
    adopt_plan(planned[0], plan)
    assert list(plan.keys(SHARDS - 1))[-1] == "1034_121119_009999_000099|0"


def test_the_status_of_20_000_shards_is_right(worked: Path):
    status = read_status(worked)
    assert (status.shards["done"], status.shards["stopped"]) == (SHARDS - 37, 37)
    assert status.gpu_hours == pytest.approx(SHARDS / 60)


def test_the_status_of_20_000_shards_reads_each_heartbeat_once_and_no_shard(worked: Path):
    paths, opened = StorePaths(worked), touched(worked, "status")
    assert {opened[str(paths.progress(shard))] for shard in range(SHARDS)} == {1}
    assert not any(opened[str(paths.shard(shard, SHARDS))] for shard in range(SHARDS))
    assert len(opened) < SHARDS + 20
    assert max(opened.values()) < 5


def test_37_missing_of_20_000_shards_are_found(worked: Path):
    missing = missing_shards(worked, PlanHeader.read(StorePaths(worked).plan))
    assert missing == MISSING
    assert len(missing) == 37


def test_missing_shards_are_found_by_listing_folders_and_opening_no_shard(worked: Path):
    assert sum(touched(worked, "missing").values()) < 20

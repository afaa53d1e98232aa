"""What looking after a large store costs: a million clips in 20,000 shards are planned, and the shards' state is read.

    OMP_NUM_THREADS=1 python tests/benchmarks/scale.py

All times are CPU seconds of one process. The status reads 20,000 heartbeats; beside it stands the bare reading and parsing of the same
files, one by one, so that the ratio does not depend on the machine.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS / "slurm")]

from large_store import CLIPS, SHARDS, large_plan, work_on  # noqa: E402  # from the folder above

from lcm.store import StorePaths  # noqa: E402
from slurm.shards import Plan, PlanHeader, adopt_plan, missing_shards  # noqa: E402
from slurm.status import read_status  # noqa: E402


def cpu_s(work: Callable[[], object]) -> float:
    """Run work and return the CPU seconds that it took."""
    start = time.process_time()
    work()
    return time.process_time() - start


def read_bare(folder: Path) -> None:
    """Read and parse every heartbeat of a store, and nothing else."""
    for path in folder.iterdir():
        json.loads(path.read_bytes())


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as name:
        folder, paths = Path(name), StorePaths(Path(name))
        print(f"{CLIPS} clips in {SHARDS} shards, CPU seconds")
        print(f"plan                  {cpu_s(lambda: adopt_plan(folder, large_plan())):6.2f}")
        print(f"a task's first shards {cpu_s(lambda: [Plan.read(paths.plan).keys(shard) for shard in range(4)]):6.2f}")
        work_on(paths)
        bare, status = cpu_s(lambda: read_bare(paths.progress_folder)), cpu_s(lambda: read_status(folder))
        print(f"status                {status:6.2f} = {status / bare:.1f} x reading the heartbeats alone ({bare:.2f})")
        print(f"missing shards        {cpu_s(lambda: missing_shards(folder, PlanHeader.read(paths.plan))):6.2f}")
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")


if __name__ == "__main__":
    main()

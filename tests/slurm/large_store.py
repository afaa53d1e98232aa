"""A store of a million clips in 20,000 shards, planned and worked on, for tests and benchmarks of scale."""

from __future__ import annotations

import json
from dataclasses import asdict

from lcm.store import StorePaths
from slurm.progress import Progress
from slurm.shards import Plan, make_plan

CLIPS, SHARDS = 1_000_000, 20_000
MISSING = list(range(0, SHARDS, SHARDS // 37 + 1))


def large_plan() -> Plan:
    """Return the plan of the store; its clips are 1 s to 14 s long."""
    items = ((f"1034_121119_{n // 100:06d}_{n % 100:06d}|0", 75 + n % 1000) for n in range(CLIPS))
    return make_plan(items, SHARDS, attrs={"codec": "0123456789abcdef"})


def work_on(paths: StorePaths) -> None:
    """Put every heartbeat into the store, and every shard but those `MISSING`."""
    missing = set(MISSING)
    paths.progress_folder.mkdir()
    paths.shard_folder.mkdir()
    heartbeat = asdict(Progress(0, 50, 50, state="done", attempt="20250101T000000-node12-1234-abcdef", busy_s=60.0, gpus=1, host="node12"))
    for shard in range(SHARDS):
        state = "stopped" if shard in missing else "done"
        paths.progress(shard).write_text(json.dumps({**heartbeat, "shard": shard, "state": state}, indent=1))
        if shard not in missing:
            paths.shard(shard, SHARDS).touch()

"""Read every committed shard of a store, and set damaged ones aside so that they are made again."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path

from rich.progress import track

from lcm.store import StorePaths, verify_store
from slurm.shards import Plan

_SHARD = re.compile(r"shard-\d+-of-\d+\.h5")


def verify(store: Path) -> list[str]:
    """Check every shard of a store, finished or not; shows a bar where that takes a while.

    Returns:
        The problems, each naming its shard.

    Raises:
        StoreError: The folder holds no plan.
    """
    plan = Plan.read(StorePaths(store).plan)
    steps = iter(track(range(plan.shards), description=store.name, transient=True))


    def checked(_: int) -> None:
        next(steps, None)

    try:
        return verify_store(store, plan, on_shard=checked)
    finally:
        for _ in steps:  # shards that are missing were not read
            pass


def set_aside(store: Path, problems: Sequence[str]) -> list[Path]:
    """Move the shards that problems name out of the way, and with them the index, which is of all shards.

    Args:
        store: The store.
        problems: As `verify` returned them.

    Returns:
        Where they are now; nothing is deleted.
    """
    paths, moved = StorePaths(store), []
    aside = store / "damaged" / f"{datetime.now(timezone.utc):%Y%m%dT%H%M%S}"
    for name in dict.fromkeys(name for problem in problems for name in _SHARD.findall(problem)):
        shard = paths.shard_folder / name
        if shard.exists():
            aside.mkdir(parents=True, exist_ok=True)
            moved.append(shard.rename(aside / name))
    if moved:
        paths.index.unlink(missing_ok=True)
    return moved

"""What a store's folder says of its making: no scheduler is asked."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.table import Table

from lcm.store import StorePaths
from slurm.progress import Progress, read_progress
from slurm.shards import Plan
from slurm.worker import missing_shards

STALLED_AFTER_S = 300.0
STATES = ("done", "running", "stalled", "failed", "missing")


@dataclass(frozen=True)
class Status:
    """The state of a store on disk.

    Attributes:
        folder: The store.
        shards: Number of shards in each of `STATES`.
        clips: Items planned.
        clips_done: Items made or quarantined, in committed shards and by running tasks.
        quarantined: Items that could not be made.
        clips_per_s: Sum of the rates of running tasks.
        errors: First line of the error of each failed shard, by its number.
        finished: Whether the index exists.
    """

    folder: Path
    shards: dict[str, int]
    clips: int
    clips_done: int
    quarantined: int
    clips_per_s: float
    errors: dict[int, str]
    finished: bool


def read_status(folder: Path, plan: Plan | None = None) -> Status:
    """Read the state of a store from its folder.

    Args:
        folder: The store.
        plan: Its plan where it is at hand, else it is read.

    Raises:
        StoreError: The folder holds no plan.
    """
    plan = plan or Plan.read(StorePaths(folder).plan)
    missing = set(missing_shards(folder, plan))
    heard = dict(_progress(folder))
    states = {shard: _state(heard.get(shard)) if shard in missing else "done" for shard in range(plan.shards)}
    counts = Counter(states.values())
    running = [heard[shard] for shard, state in states.items() if state == "running"]
    kept = [heard[shard] for shard, state in states.items() if shard in heard and state in {"done", "running"}]  # others try theirs again
    partly = sum(heard[shard].done + heard[shard].quarantined * (states[shard] == "running") for shard in missing if shard in heard)
    return Status(
        folder=folder,
        shards={state: counts[state] for state in STATES},
        clips=len(plan.items),
        clips_done=sum(stop - start for shard, (start, stop) in enumerate(plan.ranges) if shard not in missing) + partly,
        quarantined=sum(progress.quarantined for progress in kept),
        clips_per_s=sum(progress.clips_per_s for progress in running),
        errors={shard: heard[shard].error or "" for shard, state in states.items() if state == "failed"},
        finished=StorePaths(folder).index.exists(),
    )


def as_table(status: Status) -> Table:
    """Return a status as a table for a terminal."""
    state = "finished" if status.finished else "not finished"
    table = Table(title=f"{status.folder} ({state})", box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)  # fits 80 columns
    for heading in (*STATES, "clips", "clips/s", "quarantined"):
        table.add_column(heading, justify="right")
    numbers = [str(status.shards[state]) for state in STATES]
    table.add_row(*numbers, f"{status.clips_done} of {status.clips}", f"{status.clips_per_s:.1f}", str(status.quarantined))
    return table


def _state(progress: Progress | None) -> str:
    if progress is None or progress.state == "done":  # done, and then its file was removed
        return "missing"
    if progress.state == "running" and progress.age_s() > STALLED_AFTER_S:
        return "stalled"
    return progress.state


def _progress(folder: Path) -> Iterator[tuple[int, Progress]]:
    where = StorePaths(folder).progress(0).parent
    if where.is_dir():
        for entry in os.scandir(where):
            if entry.name.endswith(".json") and (progress := read_progress(Path(entry.path))) is not None:
                yield progress.shard, progress

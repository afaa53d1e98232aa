"""One task: make shards with a producer, so that a kill costs little and a twin can do no harm.

A shard's attempts each append to a journal of their own; an attempt reads all that earlier ones left and makes only what is missing.
The finished shard is written, verified and claimed under its name: the first verified commit wins.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lcm.provenance import circumstances
from lcm.store import StoreError, StorePaths
from slurm.attempt import MAX_BARREN, Attempt, Circumstances, Producer, Stopped, first_line, note_failed
from slurm.batches import FrameBudget
from slurm.shards import Plan, adopt_plan, missing_shards
from slurm.signals import Stop


def run_shards(
    folder: Path,
    plan: Plan,
    shards: Sequence[int],
    producer_factory: Callable[[], Producer],
    provenance: Mapping[str, Any] | None = None,
    *,
    stop: Stop | None = None,
    max_barren: int = MAX_BARREN,
) -> bool:
    """Make those of the given shards that are missing. A shard that fails does not keep the others from being made.

    Args:
        folder: The store.
        plan: Its plan.
        shards: Numbers of the shards.
        producer_factory: Makes the producer, in this process.
        provenance: What to note in shards beside the plan's attrs, such as the commit; it does not bear on their identity.
        stop: Looked at between batches; set, the task commits what it has and returns.
        max_barren: Attempts in a row without one new item after which a shard is given up; 0 never.

    Returns:
        Whether all of them are there; False where the task was asked to stop before.

    Raises:
        StoreError: The store has another plan, or shards failed; the first failure is named and chained.
    """
    adopt_plan(folder, plan)
    missing = missing_shards(folder, plan, shards)
    if not missing:
        return True
    began = time.monotonic()
    try:
        producer = producer_factory()
        producer.prepare()
    except Exception as error:
        note_failed(StorePaths(folder), plan, missing, error)
        raise
    noted = {**circumstances(), "batch": producer.batch_size, **(provenance or {})}
    load_s = time.monotonic() - began
    task = Circumstances(noted, Stop() if stop is None else stop, FrameBudget(), load_s, load_s, _gpus(noted), max_barren)
    failures: dict[int, Exception] = {}
    for shard in missing:
        if task.stop:
            break
        try:
            run_shard(folder, plan, shard, producer, task)
        except Stopped:
            break
        except Exception as error:  # noted in the shard's progress, and raised below
            failures[shard] = error
    if failures:
        shard, cause = next(iter(failures.items()))
        raise StoreError(f"{len(failures)} of {len(missing)} shards of {folder} failed; the first, {shard}: {first_line(cause)}") from cause
    return not task.stop or not missing_shards(folder, plan, missing)


def run_shard(folder: Path, plan: Plan, shard: int, producer: Producer, task: Circumstances | None = None) -> bool:
    """Make one shard; nothing is done where it exists.

    Args:
        folder: The store.
        plan: Its plan.
        shard: Number of the shard.
        producer: Prepared producer.
        task: What is known of the task; default: nothing.

    Returns:
        Whether this call committed the shard.

    Raises:
        Stopped: The task was asked to stop.
        StoreError: So many items fail that the producer must be at fault, it broke its contract, or the shard was given up.
    """
    if StorePaths(folder).shard(shard, plan.shards).exists():
        return False
    attempt = Attempt(StorePaths(folder), plan, shard, task or Circumstances({}, Stop(), FrameBudget()))
    try:
        return attempt.run(producer)
    except BaseException as error:
        if isinstance(error, Exception) and attempt.lost():
            return False
        attempt.failed(error)
        raise


def _gpus(noted: Mapping[str, Any]) -> int:
    """Return how many GPUs this task holds: what SLURM gave it, whether or not they are used."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    return len([name for name in visible.split(",") if name]) or int(noted.get("gpus", 0))

"""Check many shards, in several processes where there are many: a bounded number of them, and a bounded number of results in flight.

Each process takes every n-th shard and sends its results through a pipe of its own, in order. So whoever reads them sets the pace, a
process that the kernel kills for its memory is noticed at once, and one whose parent has died ends at its next result.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import suppress
from multiprocessing import connection, current_process, get_context
from pathlib import Path
from typing import Any, Protocol

from lcm.store.record import StoreError
from lcm.store.shard import ShardInfo, verify_shard

MAX_PROCESSES = 8  # more do not read a shared file system faster
_SHARDS_A_PROCESS = 16  # fewer are not worth a process
_OF_THE_SHARD = {"identity", "shard", "shards", "seed", "attempt", "schema", "digest"}  # what a shard says of itself, whatever attrs say

Checked = tuple[ShardInfo | None, str]  # one of the two: what the shard holds, or what is wrong with it
Check = Callable[[int], ShardInfo]


class ShardPlan(Protocol):
    """What must be known of a plan to check a store."""

    @property
    def identity(self) -> str:
        """Hash of everything planned."""

    @property
    def shards(self) -> int:
        """Number of shards."""

    @property
    def attrs(self) -> Mapping[str, Any]:
        """What decides the result, such as the identities of codec and teacher; every shard notes it."""

    def keys(self, shard: int) -> Sequence[str]:
        """Return the keys planned for a shard, in order."""


def check_planned(path: Path, plan: ShardPlan, shard: int) -> ShardInfo:
    """Verify a shard and check that it holds what was planned, made with what was planned.

    Raises:
        StoreError: It is missing, damaged or of another plan; it is named.
    """
    info = verify_shard(path)
    made_of = {name: value for name, value in plan.attrs.items() if name not in _OF_THE_SHARD}
    expected = {**made_of, "identity": plan.identity, "shard": shard, "shards": plan.shards}
    wrong = [name for name, value in expected.items() if info.attrs.get(name) != value]
    if wrong:
        found, planned = ({name: source.get(name) for name in wrong} for source in (info.attrs, expected))
        raise StoreError(f"The shard {path} is of another plan: it says {found}, expected {planned}. Delete it, or use a new folder.")
    keys = plan.keys(shard)
    kept = [key for key in keys if key not in info.quarantined]
    if list(info.keys) != kept or len(kept) + len(info.quarantined) != len(keys):
        raise StoreError(f"The shard {path} holds {len(info.keys)} records, not the {len(kept)} planned. Delete it and run again.")
    return info


def check_shards(
    check: Check, shards: int, *, processes: int | None = None, on_shard: Callable[[int], None] | None = None
) -> Generator[Checked, None, None]:
    """Yield what a check says of shards 0, 1, ..., in order.

    Args:
        check: Returns what a shard holds, or raises StoreError.
        shards: Number of shards.
        processes: How many at once; None takes the CPUs that this process may use, eight at most, and one for few shards.
        on_shard: Called after each with the number checked so far.
    """
    count = min(processes or _fitting(shards), shards)
    results = _parallel(check, shards, count) if count > 1 else (_try(check, shard) for shard in range(shards))
    for number, result in enumerate(results, 1):
        if on_shard:
            on_shard(number)
        yield result


def _fitting(shards: int) -> int:
    affinity = getattr(os, "sched_getaffinity", None)  # absent where forking is unsafe too
    if affinity is None or current_process().daemon:  # a daemon may have no children
        return 1
    return max(1, min(len(affinity(0)), MAX_PROCESSES, shards // _SHARDS_A_PROCESS))


def _parallel(check: Check, shards: int, count: int) -> Iterator[Checked]:
    context = get_context("fork")  # nothing is imported again, and the plan is there already
    pipes: list[connection.Connection] = []
    children = []
    try:
        for first in range(count):
            receiver, sender = context.Pipe(duplex=False)
            pipes.append(receiver)
            children.append(context.Process(target=_work, args=(check, range(first, shards, count), sender, list(pipes)), daemon=True))
            children[-1].start()
            sender.close()
        dead: set[int] = set()
        for shard in range(shards):
            result = None if shard % count in dead else _receive(pipes[shard % count])
            if result is None:  # killed, perhaps for its memory: go on here
                dead.add(shard % count)
            yield result or _try(check, shard)
    finally:
        for child in children:
            child.terminate()
            child.join()
        for pipe in pipes:
            pipe.close()


def _receive(pipe: connection.Connection) -> Checked | None:
    try:
        result: Checked = pipe.recv()
    except (EOFError, OSError):
        return None
    return result


def _work(check: Check, shards: range, sender: connection.Connection, inherited: list[connection.Connection]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent says when to end; its handlers are not for this process
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    for number in (signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)
    for pipe in inherited:  # else a sibling of a dead parent would write to nobody forever
        pipe.close()
    with suppress(BrokenPipeError):
        for shard in shards:
            sender.send(_try(check, shard))


def _try(check: Check, shard: int) -> Checked:
    try:
        return check(shard), ""
    except StoreError as error:
        return None, str(error)

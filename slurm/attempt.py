"""One attempt at one shard: journal what is made, quarantine what cannot be, commit; or stop when asked and leave the rest."""

from __future__ import annotations

import os
import shutil
import sys
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any, Protocol

from lcm.store import Journal, Record, StoreError, StorePaths, check_record, claim, read_journal, verify_shard, write_shard
from slurm.batches import FrameBudget, equal_length_batches
from slurm.progress import Heartbeat, Progress, after, node_name, read_progress
from slurm.shards import Item, Plan
from slurm.signals import Stop
from slurm.skips import read_skips

_FAILURES_IN_A_ROW = 8  # more than bad clips explain: the producer itself has broken
MAX_BARREN = 3


class Producer(Protocol):
    """Makes records of items. Its result for a key must depend on the key and the seed alone.

    Attributes:
        rows: Set before each call of `produce`: the items of a full batch of this length. Arithmetic in floating point depends on the
            shape of a batch, though not on a row's place in it: who computes with `rows` rows, whatever the number of keys, gets the
            same bits for an item in any company.
    """

    rows: int

    @property
    def batch_size(self) -> int:
        """Most items that `produce` is given at once."""

    def prepare(self) -> None:
        """Load what is needed, once a task and only if there is something to make."""

    def produce(self, keys: Sequence[str]) -> list[Record]:
        """Make the records of items of one length, in the order of the keys."""


class Stopped(Exception):  # noqa: N818 - not an error: the task was asked to stop and did
    """The attempt was asked to stop; all it made is in its journal."""


class GaveUp(StoreError):  # noqa: N818 - says what became of the shard
    """A shard that has failed too often without getting on."""


@dataclass
class Circumstances:
    """What an attempt must know of the task that it is part of.

    Attributes:
        noted: What to note in shards beside the plan's attrs, such as commit and device.
        load_s: Seconds that loading took this task.
        load_due_s: The same until a shard has borne it.
        gpus: GPUs that the task holds.
        stop: Looked at between batches.
        budget: Most frames at once, learnt when memory ran out; shared by the task's shards.
        max_barren: Attempts in a row without one new item after which a shard is given up; 0 never.
    """

    noted: Mapping[str, Any]
    stop: Stop
    budget: FrameBudget
    load_s: float = 0.0
    load_due_s: float = 0.0
    gpus: int = 0
    max_barren: int = MAX_BARREN


class Attempt:
    """One attempt at one shard."""

    def __init__(self, paths: StorePaths, plan: Plan, shard: int, task: Circumstances) -> None:
        self.paths, self.plan, self.shard, self.task = paths, plan, shard, task
        self.final = paths.shard(shard, plan.shards)
        self.name = f"{datetime.now(timezone.utc):%Y%m%dT%H%M%S}-{node_name()}-{os.getpid()}-{uuid.uuid4().hex[:6]}"
        self.items = plan.shard_items(shard)
        self.done = set(self._journaled())
        skips = read_skips(paths.skips)
        self.quarantined = {item.key: skips[item.key] for item in self.items if item.key in skips}  # others are tried again
        self._skipped = len(self.quarantined)
        self._in_a_row = 0
        self.heart = Heartbeat(paths.progress(shard), self._progress())

    def run(self, producer: Producer) -> bool:
        """Make what is missing, then commit.

        Returns:
            Whether this attempt committed the shard; False where a twin did.

        Raises:
            Stopped: The task was asked to stop.
            StoreError: The producer must be at fault, or the shard was given up.
        """
        missing = [item for item in self.items if item.key not in self.done and item.key not in self.quarantined]
        if missing:
            self._refuse_if_hopeless()
        self.heart.beat()
        self.task.stop.tell = self._stopping
        with self.heart.kept_alive():
            if missing and not self._make_all(missing, producer):
                return False
            won = self._commit()
        self.task.stop.tell = None
        if won:
            self.heart.beat("done")
        return won

    def _stopping(self) -> None:
        with suppress(OSError):
            self.heart.beat("stopping")

    def failed(self, error: BaseException) -> None:
        """Note what ended the attempt."""
        progress, self.task.stop.tell = self.heart.progress, None
        with suppress(OSError):  # a full disk must not hide what went wrong
            if isinstance(error, (Stopped, KeyboardInterrupt, SystemExit)):
                self.heart.beat("stopped", first_line(error))
                return
            if not isinstance(error, GaveUp):
                progress.failed_on.append(progress.host)
                progress.barren += 1
            self.heart.beat("failed", first_line(error))

    def lost(self) -> bool:
        """Say whether a twin has committed the shard; it may then have removed this attempt's files, whatever that led to here."""
        if not self.final.exists():
            return False
        self.paths.part(self.shard, self.name).unlink(missing_ok=True)
        return True

    def _progress(self) -> Progress:
        progress = after(read_progress(self.paths.progress(self.shard)), self.shard, len(self.items), len(self.done))
        progress.held_s, self.task.load_due_s = progress.held_s + self.task.load_due_s, 0.0
        progress.attempt, progress.quarantined = self.name, len(self.quarantined)
        progress.load_s, progress.gpus, progress.device = round(self.task.load_s, 3), self.task.gpus, str(self.task.noted.get("device", ""))
        return progress

    def _refuse_if_hopeless(self) -> None:
        progress, most = self.heart.progress, self.task.max_barren
        if most and progress.barren >= most:
            raise GaveUp(
                f"given up after {progress.barren} attempts in a row without one new clip; the last: {progress.error or 'unknown'}. "
                "Put that right, then `python -m slurm retry`."
            )

    def _make_all(self, missing: Sequence[Item], producer: Producer) -> bool:
        with Journal(self.paths.journal(self.shard, self.name)) as journal:
            for items in equal_length_batches(missing, producer.batch_size, self.task.budget):
                if self.lost():
                    return False
                if self.task.stop:
                    raise Stopped(self.task.stop.reason)
                self._make(items, producer, journal)
        return True

    def _make(self, items: Sequence[Item], producer: Producer, journal: Journal) -> None:
        producer.rows = self.task.budget.fits(items[0].length, producer.batch_size)
        try:
            records = _produce(producer, [item.key for item in items])
        except Exception as error:
            self._divide(items, error, producer, journal)
            return
        journal.extend(records)
        self._in_a_row = 0
        self.done.update(item.key for item in items)
        progress = self.heart.progress
        progress.done, progress.barren = len(self.done), 0
        progress.frames += sum(item.length for item in items)
        self.heart.beat()

    def _divide(self, items: Sequence[Item], error: Exception, producer: Producer, journal: Journal) -> None:
        """Go on after a batch failed: halved where memory ran out, one by one to find the bad item else."""
        size = 1
        if out_of_memory(error) and len(items) > 1:
            self.heart.progress.batch = size = self.task.budget.halve(items)
            print(f"slurm: shard {self.shard}: out of memory with {len(items)} clips of {items[0].length} frames, now {size}", flush=True)
            free_memory()
        elif len(items) == 1:
            self._quarantine(items[0].key, error)
            return
        for part in equal_length_batches(items, size, self.task.budget):
            self._make(part, producer, journal)

    def _quarantine(self, key: str, error: Exception) -> None:
        """Set a bad item aside with its reason, unless the fault cannot be the item's."""
        if isinstance(error, ContractError):
            raise error
        most = self.task.max_barren
        if out_of_memory(error) and (not most or self.heart.progress.barren + 1 < most):  # another attempt or node may have room
            raise StoreError(f"out of memory with one clip alone, {key!r}: {first_line(error)}") from error
        self.quarantined[key] = first_line(error)
        self._in_a_row += 1
        made_here = len(self.quarantined) - self._skipped
        if self._in_a_row >= _FAILURES_IN_A_ROW or (made_here == len(self.items) - self._skipped > 1):
            raise StoreError(
                f"{self._in_a_row} items in a row failed in shard {self.shard}, the last ({key!r}) with {first_line(error)}. "
                "That is the producer's fault rather than theirs: put it right and run the same command again."
            ) from error
        self.heart.progress.quarantined = len(self.quarantined)
        self.heart.beat()

    def _commit(self) -> bool:
        records = self._journaled()
        ordered = [records[item.key] for item in self.items if item.key in records]
        quarantined = {key: reason for key, reason in self.quarantined.items() if key not in records}  # a twin may have made one
        if self.lost():
            return False
        if len(ordered) + len(quarantined) != len(self.items):
            raise StoreError(f"Shard {self.shard} lost journals in {self.paths.journals(self.shard)}. Run the same command again.")
        part = self.paths.part(self.shard, self.name)
        write_shard(part, ordered, self._attrs(), quarantined)
        verify_shard(part)
        won = claim(part, self.final)
        clean(self.paths, self.shard)
        return won

    def _attrs(self) -> dict[str, Any]:
        plan = self.plan
        fixed = {"identity": plan.identity, "shard": self.shard, "shards": plan.shards, "seed": plan.seed}
        return {"commit": "unknown", **self.task.noted, **plan.attrs, **fixed, "attempt": self.name}

    def _journaled(self) -> dict[str, Record]:
        """Return what all attempts have journaled for this shard, the earliest attempt's where several have an item."""
        planned = {item.key for item in self.items}
        found: dict[str, Record] = {}
        for path in sorted(self.paths.journals(self.shard).glob("*.journal")):
            for record in read_journal(path):
                if record.key in planned:
                    found.setdefault(record.key, record)
        return found


def note_failed(paths: StorePaths, plan: Plan, shards: Sequence[int], error: Exception) -> None:
    """Note on a task's shards what ended it before it came to any of them, such as weights that cannot be read on this node.

    The node counts as having failed once, not once a shard.
    """
    for number, shard in enumerate(shards):
        path = paths.progress(shard)
        progress = after(read_progress(path), shard, len(plan.shard_items(shard)), 0)
        progress.barren += 1
        if not number:
            progress.failed_on.append(progress.host)
        with suppress(OSError):
            Heartbeat(path, progress).beat("failed", first_line(error))


def clean(paths: StorePaths, shard: int) -> None:
    """Remove what a committed shard has made useless; a twin that misses it finds the shard instead."""
    shutil.rmtree(paths.journals(shard), ignore_errors=True)
    for part in paths.shard_folder.glob(paths.part(shard, "*").name):
        part.unlink(missing_ok=True)


def first_line(error: BaseException) -> str:
    """Return an error's type and the first line of its message."""
    message = str(error).strip().splitlines()
    if isinstance(error, (Stopped, GaveUp)) and message:
        return message[0]
    return f"{type(error).__name__}: {message[0]}" if message else type(error).__name__


def out_of_memory(error: BaseException) -> bool:
    """Say whether memory ran out, of this machine or of a GPU (torch's own type, which this module must not import)."""
    return isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"


def free_memory() -> None:
    """Give back what torch keeps for later."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()


class ContractError(StoreError):
    """A producer returned something other than it was asked for."""


def _produce(producer: Producer, keys: Sequence[str]) -> list[Record]:
    records = producer.produce(keys)
    returned = [record.key for record in records]
    if returned != list(keys):
        raise ContractError(f"{type(producer).__name__}.produce({list(keys)}) returned {returned}: one record a key, in order.")
    for record in records:
        check_record(record)
    return records

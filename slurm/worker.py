"""One task: make shards with a producer, so that a kill costs little and a twin can do no harm.

A shard's attempts each append to a journal of their own; an attempt reads all that earlier ones left and makes only what is missing.
The finished shard is written, verified and claimed under its name: the first verified commit wins.
"""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Protocol

from lcm.store import Journal, Record, StoreError, StorePaths, check_record, claim, read_journal, verify_shard, write_shard
from slurm.progress import Heartbeat, Progress, node_name
from slurm.shards import Item, Plan, adopt_plan

_FAILURES_IN_A_ROW = 8  # more than bad clips explain: the producer itself has broken


class Producer(Protocol):
    """Makes records of items. Its result for a key must depend on the key and the seed alone."""

    @property
    def batch_size(self) -> int:
        """Most items that `produce` is given at once."""

    def prepare(self) -> None:
        """Load what is needed, once a task and only if there is something to make."""

    def produce(self, keys: Sequence[str]) -> list[Record]:
        """Make the records of items of one length, in the order of the keys."""


def run_shards(
    folder: Path, plan: Plan, shards: Sequence[int], producer_factory: Callable[[], Producer], provenance: Mapping[str, Any] | None = None
) -> None:
    """Make those of the given shards that are missing. A shard that fails does not keep the others from being made.

    Args:
        folder: The store.
        plan: Its plan.
        shards: Numbers of the shards.
        producer_factory: Makes the producer, in this process.
        provenance: What to note in shards beside the plan's attrs, such as the commit; it does not bear on their identity.

    Raises:
        StoreError: The store has another plan, or shards failed; the first failure is named and chained.
    """
    adopt_plan(folder, plan)
    missing = missing_shards(folder, plan, shards)
    if not missing:
        return
    producer = producer_factory()
    producer.prepare()
    failures: dict[int, Exception] = {}
    for shard in missing:
        try:
            run_shard(folder, plan, shard, producer, provenance=provenance)
        except Exception as error:  # noted in the shard's progress, and raised below
            failures[shard] = error
    if failures:
        shard, cause = next(iter(failures.items()))
        raise StoreError(f"{len(failures)} of {len(missing)} shards of {folder} failed; the first, {shard}: {first_line(cause)}") from cause


def run_shard(folder: Path, plan: Plan, shard: int, producer: Producer, *, provenance: Mapping[str, Any] | None = None) -> bool:
    """Make one shard; nothing is done where it exists.

    Args:
        folder: The store.
        plan: Its plan.
        shard: Number of the shard.
        producer: Prepared producer.
        provenance: What to note in the shard beside the plan's attrs.

    Returns:
        Whether this call committed the shard.

    Raises:
        StoreError: So many items fail that the producer must be at fault, or it broke its contract.
    """
    if StorePaths(folder).shard(shard, plan.shards).exists():
        return False
    attempt = _Attempt(StorePaths(folder), plan, shard)
    try:
        return attempt.run(producer, provenance or {})
    except BaseException as error:
        if isinstance(error, Exception) and attempt.lost():
            return False
        with suppress(OSError):  # a full disk must not hide what went wrong
            attempt.heart.beat("failed", first_line(error))
        raise


def missing_shards(folder: Path, plan: Plan, shards: Sequence[int] | None = None) -> list[int]:
    """Return which of the given shards (default: all) have not been committed."""
    paths = StorePaths(folder)
    there = {path.name for path in paths.shard_folder.iterdir()} if paths.shard_folder.is_dir() else set()
    return [shard for shard in (range(plan.shards) if shards is None else shards) if paths.shard(shard, plan.shards).name not in there]


def first_line(error: BaseException) -> str:
    """Return an error's type and the first line of its message."""
    message = str(error).strip().splitlines()
    return f"{type(error).__name__}: {message[0]}" if message else type(error).__name__


class _Attempt:
    """One attempt at one shard."""

    def __init__(self, paths: StorePaths, plan: Plan, shard: int) -> None:
        self.paths, self.plan, self.shard = paths, plan, shard
        self.final = paths.shard(shard, plan.shards)
        self.name = f"{datetime.now(timezone.utc):%Y%m%dT%H%M%S}-{node_name()}-{os.getpid()}-{uuid.uuid4().hex[:6]}"
        self.items = plan.shard_items(shard)
        self.done = set(self._journaled())
        self.quarantined: dict[str, str] = {}  # kept in memory: a later attempt tries these again
        self._in_a_row = 0
        progress = Progress(shard, len(self.items), len(self.done), attempt=self.name)
        self.heart = Heartbeat(paths.progress(shard), progress)

    def run(self, producer: Producer, provenance: Mapping[str, Any]) -> bool:
        """Make what is missing, then commit."""
        self.heart.beat()
        missing = [item for item in self.items if item.key not in self.done]
        if missing:
            with Journal(self.paths.journal(self.shard, self.name)) as journal:
                for keys in equal_length_batches(missing, producer.batch_size):
                    if self.lost():
                        return False
                    self._make(keys, producer, journal)
        won = self._commit(provenance)
        if won:
            self.heart.beat("done")
        return won

    def lost(self) -> bool:
        """Say whether a twin has committed the shard; it may then have removed this attempt's files, whatever that led to here."""
        if not self.final.exists():
            return False
        self.paths.part(self.shard, self.name).unlink(missing_ok=True)
        return True

    def _make(self, keys: list[str], producer: Producer, journal: Journal) -> None:
        try:
            records = _produce(producer, keys)
        except Exception as error:
            if len(keys) == 1:
                self._quarantine(keys[0], error)
            else:  # which of them is bad?
                for key in keys:
                    self._make([key], producer, journal)
            return
        journal.extend(records)
        self._in_a_row = 0
        self.done.update(keys)
        self.heart.progress.done = len(self.done)
        self.heart.beat()

    def _quarantine(self, key: str, error: Exception) -> None:
        """Set a bad item aside with its reason, unless the fault cannot be the item's."""
        if isinstance(error, (MemoryError, _ContractError)) or type(error).__name__ == "OutOfMemoryError":  # torch's, on a GPU
            raise error
        self.quarantined[key] = first_line(error)
        self._in_a_row += 1
        if self._in_a_row >= _FAILURES_IN_A_ROW or (len(self.quarantined) == len(self.items) > 1):
            raise StoreError(
                f"{self._in_a_row} items in a row failed in shard {self.shard}, the last ({key!r}) with {first_line(error)}. "
                "That is the producer's fault rather than theirs: put it right and run the same command again."
            ) from error
        self.heart.progress.quarantined = len(self.quarantined)
        self.heart.beat()

    def _commit(self, provenance: Mapping[str, Any]) -> bool:
        records = self._journaled()
        ordered = [records[item.key] for item in self.items if item.key in records]
        quarantined = {key: reason for key, reason in self.quarantined.items() if key not in records}  # a twin may have made one
        if self.lost():
            return False
        if len(ordered) + len(quarantined) != len(self.items):
            raise StoreError(f"Shard {self.shard} lost journals in {self.paths.journals(self.shard)}. Run the same command again.")
        part = self.paths.part(self.shard, self.name)
        write_shard(part, ordered, self._attrs(provenance), quarantined)
        verify_shard(part)
        won = claim(part, self.final)
        clean(self.paths, self.shard)
        return won

    def _attrs(self, provenance: Mapping[str, Any]) -> dict[str, Any]:
        plan = self.plan
        fixed = {"identity": plan.identity, "shard": self.shard, "shards": plan.shards, "seed": plan.seed}
        return {"commit": "unknown", **provenance, **plan.attrs, **fixed, "attempt": self.name}

    def _journaled(self) -> dict[str, Record]:
        """Return what all attempts have journaled for this shard, the earliest attempt's where several have an item."""
        planned = {item.key for item in self.items}
        found: dict[str, Record] = {}
        for path in sorted(self.paths.journals(self.shard).glob("*.journal")):
            for record in read_journal(path):
                if record.key in planned:
                    found.setdefault(record.key, record)
        return found


def clean(paths: StorePaths, shard: int) -> None:
    """Remove what a committed shard has made useless; a twin that misses it finds the shard instead."""
    shutil.rmtree(paths.journals(shard), ignore_errors=True)
    for part in paths.shard_folder.glob(paths.part(shard, "*").name):
        part.unlink(missing_ok=True)


class _ContractError(StoreError):
    """A producer returned something other than it was asked for."""


def _produce(producer: Producer, keys: Sequence[str]) -> list[Record]:
    records = producer.produce(keys)
    returned = [record.key for record in records]
    if returned != list(keys):
        raise _ContractError(f"{type(producer).__name__}.produce({list(keys)}) returned {returned}: one record a key, in order.")
    for record in records:
        check_record(record)
    return records


def equal_length_batches(items: Sequence[Item], batch_size: int) -> Iterator[list[str]]:
    """Yield the items' keys in batches of equal length, so that no item is padded and batching changes nothing.

    Args:
        items: Items with their lengths in frames.
        batch_size: Most keys in a batch, at least 1.
    """
    buckets: dict[int, list[str]] = {}
    for key, length in items:
        buckets.setdefault(length, []).append(key)
    for keys in buckets.values():
        for start in range(0, len(keys), max(batch_size, 1)):
            yield keys[start : start + max(batch_size, 1)]

"""The plan of a store: which items, in which explicit ranges, made with what."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from lcm.store import StoreError, StorePaths
from slurm.plan_file import Item, PlanHeader, read_items, write_items, write_plan

__all__ = ["Item", "Plan", "PlanHeader", "adopt_plan", "make_plan", "missing_shards"]


@dataclass(frozen=True, eq=False)
class Plan:
    """Items in a fixed order, cut into ranges; everything that decides what the store will hold.

    Attributes:
        header: All but the items.
        source: The items, or the `plan.json` whose items are read when they are asked for.
    """

    header: PlanHeader
    source: tuple[Item, ...] | Path

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Plan) and self.identity == other.identity

    def __hash__(self) -> int:
        return hash(self.identity)

    @cached_property
    def items(self) -> tuple[Item, ...]:
        """What to make."""
        return tuple(read_items(self.source, self.header)) if isinstance(self.source, Path) else self.source

    @property
    def ranges(self) -> tuple[tuple[int, int], ...]:
        """`[start, stop)` of each shard, in order, covering all items."""
        return self.header.ranges

    @property
    def seed(self) -> int:
        """Seed of the run; an item's randomness follows from it and the item's key."""
        return self.header.seed

    @property
    def attrs(self) -> Mapping[str, Any]:
        """What else decides the result, such as identities of codec, teacher and codes store, precision; JSON values only."""
        return self.header.attrs

    @property
    def shards(self) -> int:
        """Number of shards."""
        return self.header.shards

    @property
    def identity(self) -> str:
        """First 16 hex digits of the SHA-256 over all that is planned."""
        return self.header.identity

    def shard_items(self, shard: int) -> tuple[Item, ...]:
        """Return the items of one shard, in order; of a plan on disk that shard's alone are read."""
        if isinstance(self.source, Path):
            return tuple(read_items(self.source, self.header, [shard]))
        start, stop = self.ranges[shard]
        return self.source[start:stop]

    def keys(self, shard: int) -> tuple[str, ...]:
        """Return the keys of one shard, in order."""
        return tuple(item.key for item in self.shard_items(shard))

    def difference(self, asked: Plan) -> list[str]:
        """Say how another plan differs from this one, a line a difference, seed and attrs first; empty where they are equal."""
        if self.identity == asked.identity:
            return []
        lines = [f"seed: {self.seed} before, {asked.seed} asked"] if self.seed != asked.seed else []
        for name in sorted({*self.attrs, *asked.attrs}):
            before, now = self.attrs.get(name), asked.attrs.get(name)
            lines += [f"{name}: {before!r} before, {now!r} asked"] if before != now else []
        if self.items != asked.items:
            lines += _item_differences(dict(self.items), dict(asked.items)) or ["the order of the items"]
        if self.shards != asked.shards:
            lines.append(f"shards: {self.shards} before, {asked.shards} asked")
        return lines or [f"the ranges of the {self.shards} shards"]

    def write(self, path: Path) -> bool:
        """Write the plan unless the file exists; of several writers one wins.

        Args:
            path: `plan.json` of a store; the items' file is written beside it.

        Returns:
            Whether this call wrote it.
        """
        return write_plan(path, self.header, self.items)

    @classmethod
    def read(cls, path: Path) -> Plan:
        """Read a plan; its items are read when they are asked for.

        Raises:
            StoreError: There is none, it is of another version, or it is damaged.
        """
        return cls(PlanHeader.read(path), path)


def make_plan(items: Iterable[tuple[str, int]], shards: int, *, seed: int = 0, attrs: Mapping[str, Any] | None = None) -> Plan:
    """Cut items into contiguous shards of about equal total length.

    Args:
        items: Key and length in frames of each item, in a fixed order; keys are unique, lengths positive.
        shards: Number of shards wanted; no more are made than there are items.
        seed: Seed of the run.
        attrs: What else decides the result; JSON values only.

    Returns:
        The plan. No shard is longer than the mean by more than the longest item.

    Raises:
        StoreError: There are no items or shards, a key comes twice, or a length is not positive.
    """
    planned = tuple(Item(key, int(length)) for key, length in items)
    if not planned or shards < 1:
        raise StoreError(f"Cannot plan {len(planned)} items in {shards} shards; at least one of each is needed.")
    seen: set[str] = set()
    for key, length in planned:
        if key in seen or length < 1:
            raise StoreError(f"Item {key!r} of length {length} cannot be planned: keys must be unique and lengths at least 1 frame.")
        seen.add(key)
    noted = json.loads(json.dumps(attrs or {}))  # as it will be read back
    ranges = _balance([item.length for item in planned], min(shards, len(planned)))
    return Plan(PlanHeader.of(planned, ranges, seed, noted), planned)


def adopt_plan(folder: Path, plan: Plan) -> None:
    """Make the plan the store's, or check that it is.

    Raises:
        StoreError: The store was planned otherwise; each difference is named.
    """
    path = StorePaths(folder).plan
    if not path.exists() and plan.write(path):
        return
    there = Plan.read(path)
    lines = there.difference(plan)
    if lines:
        listed = "\n  ".join(lines)
        raise StoreError(f"The store {folder} was begun with another plan:\n  {listed}\nUse a new folder, or plan as before.")
    if isinstance(plan.source, tuple):
        write_items(path, plan.header, plan.source)  # where they were deleted


def missing_shards(folder: Path, plan: Plan | PlanHeader, shards: Sequence[int] | None = None) -> list[int]:
    """Return which of the given shards (default: all) have not been committed, in order.

    Args:
        folder: The store.
        plan: Its plan, or the header of it.
        shards: Numbers of the shards asked for.
    """
    paths = StorePaths(folder)
    there = {path.name for path in paths.shard_folder.iterdir()} if paths.shard_folder.is_dir() else set()
    return [shard for shard in (range(plan.shards) if shards is None else shards) if paths.shard_name(shard, plan.shards) not in there]


def _balance(lengths: Sequence[int], shards: int) -> tuple[tuple[int, int], ...]:
    """Cut where the running length is nearest to each multiple of the mean, with at least one item a shard."""
    edges = np.concatenate([[0], np.cumsum(lengths)])
    targets = edges[-1] * np.arange(1, shards) / shards
    after = np.searchsorted(edges, targets)
    cuts = np.where(targets - edges[after - 1] < edges[after] - targets, after - 1, after)
    steps = np.arange(1, shards)
    cuts = np.maximum.accumulate(np.maximum(cuts, 1) - steps) + steps  # each shard begins after the one before
    cuts = np.minimum(cuts, len(lengths) - shards + steps)  # and leaves one item for each that follows
    bounds = [0, *cuts.tolist(), len(lengths)]
    return tuple(pairwise(bounds))


def _item_differences(before: Mapping[str, int], asked: Mapping[str, int]) -> list[str]:
    added, removed = [key for key in asked if key not in before], [key for key in before if key not in asked]
    changed = [key for key in asked if before.get(key, asked[key]) != asked[key]]
    kinds = {"new": added, "gone": removed, "of another length": changed}
    return [f"items: {len(keys)} {kind}, first {keys[0]!r}" for kind, keys in kinds.items() if keys]

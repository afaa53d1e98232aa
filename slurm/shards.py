"""The plan of a store: which items, in which explicit ranges, made with what."""

from __future__ import annotations

import hashlib
import json
import os
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lcm.store import StoreError, StorePaths, claim

_SCHEMA = 1


class Item(NamedTuple):
    """One thing to make: its key, and its length in codec frames."""

    key: str
    length: int


@dataclass(frozen=True)
class Plan:
    """Items in a fixed order, cut into ranges; everything that decides what the store will hold.

    Attributes:
        items: What to make.
        ranges: `[start, stop)` of each shard, in order, covering all items.
        seed: Seed of the run; an item's randomness follows from it and the item's key.
        attrs: What else decides the result, such as identities of codec, teacher and codes store, precision; JSON values only.
    """

    items: tuple[Item, ...]
    ranges: tuple[tuple[int, int], ...]
    seed: int = 0
    attrs: Mapping[str, Any] = field(default_factory=dict)

    @property
    def shards(self) -> int:
        """Number of shards."""
        return len(self.ranges)

    @cached_property
    def identity(self) -> str:
        """First 16 hex digits of the SHA-256 over all that is planned."""
        return hashlib.sha256(json.dumps(self._content(), sort_keys=True).encode()).hexdigest()[:16]

    def shard_items(self, shard: int) -> tuple[Item, ...]:
        """Return the items of one shard, in order."""
        start, stop = self.ranges[shard]
        return self.items[start:stop]

    def keys(self, shard: int) -> tuple[str, ...]:
        """Return the keys of one shard, in order."""
        return tuple(item.key for item in self.shard_items(shard))

    def difference(self, asked: Plan) -> list[str]:
        """Say how another plan differs from this one, a line a difference; empty where they are equal."""
        if self.identity == asked.identity:
            return []
        lines = [f"seed: {self.seed} before, {asked.seed} asked"] if self.seed != asked.seed else []
        for name in sorted({*self.attrs, *asked.attrs}):
            before, now = self.attrs.get(name), asked.attrs.get(name)
            lines += [f"{name}: {before!r} before, {now!r} asked"] if before != now else []
        lines += _item_differences(dict(self.items), dict(asked.items))
        if not lines and self.items != asked.items:
            lines.append("the order of the items")
        return lines + ([f"shards: {self.shards} before, {asked.shards} asked"] if self.ranges != asked.ranges else [])

    def write(self, path: Path) -> bool:
        """Write the plan as JSON unless the file exists; of several writers one wins.

        Returns:
            Whether this call wrote it.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f".{path.name}.{uuid.uuid4().hex}.part")
        try:
            with part.open("w", encoding="utf-8") as file:
                json.dump({"schema": _SCHEMA, "identity": self.identity, **self._content()}, file, ensure_ascii=False)
                file.flush()
                os.fsync(file.fileno())
            return claim(part, path)
        finally:
            part.unlink(missing_ok=True)

    @classmethod
    def read(cls, path: Path) -> Plan:
        """Read a plan.

        Raises:
            StoreError: There is none, or it is damaged.
        """
        try:
            value = json.loads(path.read_text(encoding="utf-8"))
            items = tuple(map(Item, value["keys"], value["lengths"]))
            plan = cls(items, tuple((start, stop) for start, stop in value["ranges"]), value["seed"], value["attrs"])
        except FileNotFoundError:
            raise StoreError(f"No plan at {path}: this folder is not a store. Give the store's folder.") from None
        except (ValueError, KeyError, TypeError) as error:
            raise StoreError(f"The plan {path} cannot be read: {error}. Delete it and run the command that made it again.") from error
        if plan.identity != value["identity"]:
            raise StoreError(f"The plan {path} was changed by hand: it is {plan.identity} now. Use a new folder for a new plan.")
        return plan

    def _content(self) -> dict[str, Any]:
        keys, lengths = [item.key for item in self.items], [item.length for item in self.items]
        return {"seed": self.seed, "attrs": dict(self.attrs), "ranges": self.ranges, "keys": keys, "lengths": lengths}


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
    return Plan(planned, _balance([item.length for item in planned], min(shards, len(planned))), seed, noted)


def adopt_plan(folder: Path, plan: Plan) -> None:
    """Make the plan the store's, or check that it is.

    Raises:
        StoreError: The store was planned otherwise; each difference is named.
    """
    path = StorePaths(folder).plan
    if not path.exists() and plan.write(path):
        return
    lines = Plan.read(path).difference(plan)
    if lines:
        listed = "\n  ".join(lines)
        raise StoreError(f"The store {folder} was begun with another plan:\n  {listed}\nUse a new folder, or plan as before.")


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

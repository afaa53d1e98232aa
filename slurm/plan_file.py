"""How a plan lies on disk: a small header, `plan.json`, and the items in a file of their own.

Line N of the items' file holds the keys and lengths of shard N, and the header says how long each line is. So a task reads the lines of
its own shards, and what asks for counts alone reads no items: of a million items in 20,000 shards the header is a megabyte.
"""

from __future__ import annotations

import hashlib
import json
import os
import uuid
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple

from lcm.store import StoreError, StorePaths, claim

SCHEMA = 2


class Item(NamedTuple):
    """One thing to make: its key, and its length in codec frames."""

    key: str
    length: int


@dataclass(frozen=True)
class PlanHeader:
    """All of a plan but its items.

    Attributes:
        seed: Seed of the run.
        attrs: What else decides the result; JSON values only.
        ranges: `[start, stop)` of each shard, in order, covering all items.
        shard_frames: Sum of the items' lengths of each shard, in codec frames.
        lines: Size in bytes and CRC-32 of each shard's line in the items' file.
        digest: First 16 hex digits of the SHA-256 over the items' file; part of its name.
    """

    seed: int
    attrs: Mapping[str, Any]
    ranges: tuple[tuple[int, int], ...]
    shard_frames: tuple[int, ...]
    lines: tuple[tuple[int, int], ...]
    digest: str

    @cached_property
    def identity(self) -> str:
        """First 16 hex digits of the SHA-256 over all that is planned, the items by their digest."""
        content = {**_fields(self), "attrs": dict(self.attrs)}
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]

    @property
    def shards(self) -> int:
        """Number of shards."""
        return len(self.ranges)

    @property
    def clips(self) -> int:
        """Number of items."""
        return self.ranges[-1][1]

    def frames(self, shard: int) -> int:
        """Return the codec frames of a shard."""
        return self.shard_frames[shard]

    def clips_of(self, shard: int) -> int:
        """Return the number of items of a shard."""
        start, stop = self.ranges[shard]
        return stop - start

    @classmethod
    def of(cls, items: Sequence[Item], ranges: Sequence[tuple[int, int]], seed: int, attrs: Mapping[str, Any]) -> PlanHeader:
        """Return the header of items cut into ranges."""
        digest, lines = hashlib.sha256(), []
        for start, stop in ranges:
            line = _line(items[start:stop])
            lines.append((len(line), zlib.crc32(line)))
            digest.update(line)
        frames = tuple(sum(length for _, length in items[start:stop]) for start, stop in ranges)
        return cls(seed, attrs, tuple(ranges), frames, tuple(lines), digest.hexdigest()[:16])

    @classmethod
    def read(cls, path: Path) -> PlanHeader:
        """Read the header of a plan.

        Args:
            path: `plan.json` of a store.

        Raises:
            StoreError: There is none, it is of another version, damaged, or was changed by hand.
        """
        try:
            value = json.loads(path.read_text(encoding="utf-8"))
            schema, identity = value["schema"], value["identity"]
            header = _from_json(value) if schema == SCHEMA else None
        except FileNotFoundError:
            raise StoreError(f"No plan at {path}: this folder is not a store. Give the store's folder.") from None
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise StoreError(f"The plan {path} cannot be read: {error}. Delete it and run the command that made it again.") from error
        if header is None:
            raise StoreError(
                f"The plan {path} is of schema {schema}, but this version reads schema {SCHEMA}, so its store cannot be gone on with. Make "
                "the store anew in another folder, or finish it with the version that began it (attribute `commit` of its shards)."
            )
        if header.identity != identity:
            raise StoreError(f"The plan {path} was changed by hand: it is {header.identity} now. Use a new folder for a new plan.")
        return header


def write_plan(path: Path, header: PlanHeader, items: Sequence[Item]) -> bool:
    """Write a plan unless there is one; of several writers one wins. The items lie there before the header is claimed.

    Returns:
        Whether this call wrote it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    write_items(path, header, items)
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex}.part")
    text = json.dumps({"schema": SCHEMA, "identity": header.identity, **_fields(header)}, ensure_ascii=False)
    try:
        _write_synced(part, [text.encode(), b"\n"])
        won = claim(part, path)
    finally:
        part.unlink(missing_ok=True)
    _remove_others(path)
    return won


def write_items(path: Path, header: PlanHeader, items: Sequence[Item]) -> None:
    """Write the items' file of a plan where it is not there; its name says its content."""
    final = StorePaths(path.parent).items(header.digest)
    if final.exists():
        return
    part = final.with_name(f".{final.name}.{uuid.uuid4().hex}.part")
    try:
        _write_synced(part, (_line(items[start:stop]) for start, stop in header.ranges))
        part.replace(final)
    finally:
        part.unlink(missing_ok=True)


def read_items(path: Path, header: PlanHeader, shards: Iterable[int] | None = None) -> Iterator[Item]:
    """Yield the items of shards, all by default.

    Args:
        path: `plan.json` of the store.
        header: As read from it.
        shards: Numbers of the shards; their lines alone are read.

    Raises:
        StoreError: The items' file is missing or damaged.
    """
    file = StorePaths(path.parent).items(header.digest)
    todo = "Run the command that made the plan again, as before: it writes them anew."
    starts = list(accumulate((size for size, _ in header.lines), initial=0))
    if not file.exists():
        raise StoreError(f"The plan's items {file} are missing. {todo}")
    with file.open("rb") as lines:
        for shard in range(header.shards) if shards is None else shards:
            lines.seek(starts[shard])
            line = lines.read(header.lines[shard][0])
            if zlib.crc32(line) != header.lines[shard][1]:
                raise StoreError(f"The items of shard {shard} in {file} were changed by hand or damaged. Delete the file. {todo}")
            yield from map(Item, *json.loads(line))


def _from_json(value: Mapping[str, Any]) -> PlanHeader:
    ranges, lines = (tuple((int(a), int(b)) for a, b in value[name]) for name in ("ranges", "lines"))
    return PlanHeader(value["seed"], dict(value["attrs"]), ranges, tuple(value["shard_frames"]), lines, value["digest"])


def _fields(header: PlanHeader) -> dict[str, Any]:
    """Return the fields of a header by name; `asdict` would copy 20,000 tuples one by one."""
    return {name: getattr(header, name) for name in PlanHeader.__dataclass_fields__}


def _line(items: Sequence[Item]) -> bytes:
    value = [[item.key for item in items], [item.length for item in items]]
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def _write_synced(path: Path, pieces: Iterable[bytes]) -> None:
    with path.open("xb") as file:
        file.writelines(pieces)
        file.flush()
        os.fsync(file.fileno())


def _remove_others(path: Path) -> None:
    """Remove items of plans that lost: a header is claimed once, so no other file of items will ever be asked for."""
    with suppress(StoreError, OSError):
        kept = StorePaths(path.parent).items(PlanHeader.read(path).digest)
        for file in path.parent.glob(StorePaths(path.parent).items("*").name):
            if file != kept:
                file.unlink(missing_ok=True)

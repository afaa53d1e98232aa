"""The index of a finished store: which record lies in which shard and row, built only after every shard verifies.

It is a JSON manifest, not an HDF5 virtual dataset: a virtual dataset whose source is missing reads as its fill value, without an error.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from lcm.store.paths import StorePaths, write_atomically, write_json
from lcm.store.record import StoreError
from lcm.store.shard import SCHEMA, ShardInfo, StreamInfo, verify_shard

_NAMED = 5  # problems spelt out in one error


class ShardPlan(Protocol):
    """What the index must know of a plan."""

    @property
    def identity(self) -> str:
        """Hash of everything planned."""

    @property
    def shards(self) -> int:
        """Number of shards."""

    def keys(self, shard: int) -> Sequence[str]:
        """Return the keys planned for a shard, in order."""


@dataclass(frozen=True)
class ShardEntry:
    """One shard in the index; a record's row is its place in `keys`."""

    file: str
    digest: str
    size_bytes: int
    keys: tuple[str, ...]
    frames: tuple[int, ...]


@dataclass(frozen=True)
class Index:
    """What a finished store holds.

    Attributes:
        identity: First 16 hex digits of the SHA-256 over streams, keys and checksums; however the records were sharded.
        plan: Identity of the plan that it fulfils.
        streams: Type and width of each stream.
        shards: Where the records are.
        attrs: What the shards noted of their making, where they agree.
        quarantined: Number of planned items that could not be made.
    """

    identity: str
    plan: str
    streams: dict[str, StreamInfo]
    shards: tuple[ShardEntry, ...]
    attrs: dict[str, Any]
    quarantined: int


def build_index(folder: Path, plan: ShardPlan) -> Index:
    """Verify every shard and write index.json and quarantine.csv.

    Args:
        folder: The store.
        plan: What it should hold.

    Returns:
        The index as written.

    Raises:
        StoreError: Shards are missing, damaged or of another plan (each is named, nothing is written), or nothing at all was made.
    """
    paths = StorePaths(folder)
    infos, problems = [], []
    for shard in range(plan.shards):
        try:
            infos.append(_verify(paths.shard(shard, plan.shards), plan, shard))
        except StoreError as error:
            problems.append(str(error))
    if problems:
        more = f"\n... and {len(problems) - _NAMED} more." if len(problems) > _NAMED else ""
        head = f"The store {folder} is not complete: {len(problems)} of {plan.shards} shards are missing or damaged.\n"
        raise StoreError(head + "\n".join(problems[:_NAMED]) + more)
    index = _join(folder, plan, infos)
    _write_quarantine(paths.quarantine, infos)
    write_json(paths.index, {"schema": SCHEMA, **asdict(index)})
    return index


def read_index(folder: Path) -> Index:
    """Read the index of a finished store.

    Raises:
        StoreError: There is none, or it cannot be read.
    """
    path = StorePaths(folder).index
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        if value.pop("schema") != SCHEMA:
            raise ValueError(f"its schema is not {SCHEMA}")
        value["streams"] = {name: StreamInfo(**info) for name, info in value["streams"].items()}
        value["shards"] = tuple(ShardEntry(**{**s, "keys": tuple(s["keys"]), "frames": tuple(s["frames"])}) for s in value["shards"])
        return Index(**value)
    except FileNotFoundError:
        raise StoreError(f"No finished store at {folder}: no index.json. Run the command that makes it until it ends.") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise StoreError(f"{path} cannot be read: {error}. Delete it and run the command that made the store again.") from error


def index_is_current(folder: Path, plan: ShardPlan) -> bool:
    """Say whether the index fulfils the plan and every shard is still there at its size; contents are not read."""
    try:
        index = read_index(folder)
    except StoreError:
        return False
    shards = StorePaths(folder).shard_folder
    return index.plan == plan.identity and all(_size(shards / entry.file) == entry.size_bytes for entry in index.shards)


def store_identity(streams: dict[str, StreamInfo], checksums: Iterable[tuple[str, int]]) -> str:
    """Return the identity of a store's content, independent of the order and the sharding of its records."""
    digest = hashlib.sha256(json.dumps({name: [info.dtype, info.width] for name, info in sorted(streams.items())}).encode())
    for key, crc in sorted(checksums):
        digest.update(f"{key}\0{crc:08x}\n".encode())
    return digest.hexdigest()[:16]


def _verify(path: Path, plan: ShardPlan, shard: int) -> ShardInfo:
    info = verify_shard(path)
    expected = {"identity": plan.identity, "shard": shard, "shards": plan.shards}
    found = {name: info.attrs.get(name) for name in expected}
    if found != expected:
        raise StoreError(f"The shard {path} is of another plan: it says {found}, expected {expected}. Delete it, or use a new folder.")
    kept = [key for key in plan.keys(shard) if key not in info.quarantined]
    if list(info.keys) != kept or len(kept) + len(info.quarantined) != len(plan.keys(shard)):
        raise StoreError(f"The shard {path} holds {len(info.keys)} records, not the {len(kept)} planned. Delete it and run again.")
    return info


def _join(folder: Path, plan: ShardPlan, infos: Sequence[ShardInfo]) -> Index:
    filled = [info for info in infos if info.keys]
    if not filled:
        reason = next((reason for info in infos for reason in info.quarantined.values()), "the plan is empty")
        raise StoreError(f"The store {folder} would be empty: no item could be made ({reason}). Mend that, delete {folder}, run again.")
    for info in filled:
        if info.streams != filled[0].streams:
            raise StoreError(f"Shards of {folder} differ in streams: {info.attrs['shard']} has {info.streams}, others {filled[0].streams}.")
    first = infos[0].attrs
    return Index(
        identity=store_identity(filled[0].streams, ((k, c) for info in infos for k, c in zip(info.keys, info.checksums, strict=True))),
        plan=plan.identity,
        streams=filled[0].streams,
        shards=tuple(
            ShardEntry(StorePaths(folder).shard(shard, plan.shards).name, info.digest, info.size_bytes, info.keys, info.frames)
            for shard, info in enumerate(infos)
        ),
        attrs={k: v for k, v in first.items() if k not in {"shard", "digest", "attempt"} and all(info.attrs.get(k) == v for info in infos)},
        quarantined=sum(len(info.quarantined) for info in infos),
    )


def _write_quarantine(path: Path, infos: Sequence[ShardInfo]) -> None:
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["shard", "key", "reason"])
    rows.writerows((info.attrs["shard"], key, reason) for info in infos for key, reason in info.quarantined.items())
    write_atomically(path, text.getvalue())


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return -1

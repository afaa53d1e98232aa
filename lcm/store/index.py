"""The index of a finished store: which record lies in which shard and row, built only after every shard verifies.

It is a JSON manifest, not an HDF5 virtual dataset: a virtual dataset whose source is missing reads as its fill value, without an error.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lcm.store.checking import ShardPlan, check_planned, check_shards
from lcm.store.paths import StorePaths, write_atomically, write_json
from lcm.store.record import StoreError
from lcm.store.shard import SCHEMA, ShardInfo, StreamInfo

_NAMED = 5  # problems spelt out in one error
_CIRCUMSTANCES = ("device", "threads", "precision", "batch")
_OF_ONE_SHARD = {"shard", "digest", "attempt"}


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
        circumstances: What arithmetic depends on beside the settings (`device`, `threads`, `precision`, `batch`): each distinct
            combination with its number of `shards`. More than one makes a mixed store, whose codes are not of one identity.
    """

    identity: str
    plan: str
    streams: dict[str, StreamInfo]
    shards: tuple[ShardEntry, ...]
    attrs: dict[str, Any]
    quarantined: int
    circumstances: list[dict[str, Any]] = field(default_factory=list)


def build_index(
    folder: Path, plan: ShardPlan, *, on_shard: Callable[[int], None] | None = None, processes: int | None = None
) -> Index:
    """Verify every shard and write index.json and quarantine.csv.

    Args:
        folder: The store.
        plan: What it should hold.
        on_shard: Called after each shard with the number verified so far.
        processes: How many verify at once; None takes the CPUs that this process may use.

    Returns:
        The index as written.

    Raises:
        StoreError: Shards are missing, damaged or of another plan (each is named, nothing is written), or nothing at all was made.
    """
    paths, gathered, problems = StorePaths(folder), _Gathered(folder), {}

    def check(shard: int) -> ShardInfo:
        return check_planned(paths.shard(shard, plan.shards), plan, shard)

    with closing(check_shards(check, plan.shards, processes=processes, on_shard=on_shard)) as checked:
        for shard, (info, problem) in enumerate(checked):
            if info is None:
                problems[shard] = problem
            elif not problems:
                gathered.add(paths.shard_name(shard, plan.shards), info)
    if problems:
        head = f"The store {folder} is not complete: {len(problems)} of {plan.shards} shards are missing or damaged."
        raise StoreError("\n".join([head, *list(problems.values())[:_NAMED], *_others(list(problems)[_NAMED:])]))
    index = gathered.index(plan)
    _write_quarantine(paths.quarantine, gathered.quarantined)
    write_json(paths.index, _to_json(index))
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


class _Gathered:
    """What the shards of a store say, one after the other."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.entries: list[ShardEntry] = []
        self.checksums: list[tuple[str, int]] = []
        self.quarantined: list[tuple[int, str, str]] = []
        self.circumstances: Counter[str] = Counter()
        self.attrs: dict[str, Any] | None = None
        self.streams: dict[str, StreamInfo] = {}

    def add(self, file: str, info: ShardInfo) -> None:
        self.streams = self.streams or info.streams
        if info.keys and info.streams != self.streams:
            raise StoreError(f"Shards of {self.folder} differ in streams: {file} has {info.streams}, those before it {self.streams}.")
        self.entries.append(ShardEntry(file, info.digest, info.size_bytes, info.keys, info.frames))
        self.checksums.extend(zip(info.keys, info.checksums, strict=True))
        self.quarantined.extend((info.attrs["shard"], key, reason) for key, reason in info.quarantined.items())
        self.circumstances[json.dumps({name: info.attrs[name] for name in _CIRCUMSTANCES if name in info.attrs})] += 1
        own = {name: value for name, value in info.attrs.items() if name not in _OF_ONE_SHARD}
        self.attrs = own if self.attrs is None else {k: v for k, v in self.attrs.items() if own.get(k) == v}

    def index(self, plan: ShardPlan) -> Index:
        if not self.checksums:
            reason = next((reason for _, _, reason in self.quarantined), "the plan is empty")
            raise StoreError(
                f"The store {self.folder} would be empty: no item could be made ({reason}). Mend that, delete {self.folder}, run again."
            )
        return Index(
            identity=store_identity(self.streams, self.checksums),
            plan=plan.identity,
            streams=self.streams,
            shards=tuple(self.entries),
            attrs=self.attrs or {},
            quarantined=len(self.quarantined),
            circumstances=[{**json.loads(noted), "shards": shards} for noted, shards in self.circumstances.most_common()],
        )


def _others(shards: list[int]) -> list[str]:
    """Name the shards whose problems are not spelt out, runs of them by their ends; none where there are none."""
    runs: list[list[int]] = []
    for shard in shards:
        if runs and runs[-1][-1] == shard - 1:
            runs[-1] = [runs[-1][0], shard]
        else:
            runs.append([shard])
    named = ", ".join(" to ".join(map(str, run)) for run in runs)
    return [f"... and {len(shards)} more: {named}."] if shards else []


def _to_json(index: Index) -> dict[str, Any]:
    """Return the index as JSON values; `asdict` would copy a million keys one by one."""
    streams = {name: vars(info) for name, info in index.streams.items()}
    return {"schema": SCHEMA, **vars(index), "streams": streams, "shards": [vars(entry) for entry in index.shards]}


def _write_quarantine(path: Path, quarantined: Iterable[tuple[int, str, str]]) -> None:
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["shard", "key", "reason"])
    rows.writerows(quarantined)
    write_atomically(path, text.getvalue())


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return -1

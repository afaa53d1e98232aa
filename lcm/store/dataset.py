"""Read a finished store: any part of any record, from any process.

Shards are mapped into memory when a process first asks for them; HDF5 is used only to learn where a stream lies. So nothing that a
fork or a pickle must not share stays open, all workers share the page cache, and a random crop costs one small copy.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from lcm.store.index import Index, ShardEntry, read_index
from lcm.store.paths import StorePaths
from lcm.store.record import checksum
from lcm.store.shard import StreamInfo, content_digest, naming_damage, read_tables


@dataclass
class _Shard:
    """A shard as one process sees it."""

    streams: dict[str, NDArray[Any]]
    meta: list[str]
    checksums: list[int]
    checked: set[int] = field(default_factory=set)  # rows
    preloaded: bool = False


class Store:
    """A finished store, opened for reading.

    Args:
        folder: The store; its index must exist.
        check: Whether to check a record against its checksum when this process first reads it, which reads all its streams.

    Raises:
        StoreError: The store is not finished, or (at the first read from it) a shard is missing, damaged or not the one indexed.
    """

    def __init__(self, folder: Path | str, *, check: bool = True) -> None:
        self.folder, self._check = Path(folder), check
        self._index: Index = read_index(self.folder)
        self._rows: dict[str, tuple[int, int, int, int]] = {}  # key -> shard, row, first frame, frames
        for number, entry in enumerate(self._index.shards):
            starts = accumulate(entry.frames, initial=0)
            for row, (key, start, frames) in enumerate(zip(entry.keys, starts, entry.frames, strict=False)):
                self._rows[key] = (number, row, start, frames)
        self._keys = tuple(self._rows)
        self._open: dict[int, _Shard] = {}

    @property
    def identity(self) -> str:
        """Hash of the content; equal for equal content, however it was sharded."""
        return self._index.identity

    @property
    def keys(self) -> tuple[str, ...]:
        """All keys, in the order of the plan."""
        return self._keys

    @property
    def streams(self) -> dict[str, StreamInfo]:
        """Type and width of each stream."""
        return dict(self._index.streams)

    @property
    def attrs(self) -> dict[str, Any]:
        """What was noted of the store's making."""
        return dict(self._index.attrs)

    def __len__(self) -> int:
        return len(self._keys)

    def __contains__(self, key: object) -> bool:
        return key in self._rows

    def frames(self, key: str) -> int:
        """Return the number of frames F of a record."""
        return self._row(key)[3]

    def meta(self, key: str) -> dict[str, Any]:
        """Return what else is known of a record."""
        shard, row, _, _ = self._row(key)
        meta: dict[str, Any] = json.loads(self._shard(shard).meta[row])
        return meta

    def read(self, key: str, stream: str, start: int = 0, stop: int | None = None) -> NDArray[Any]:
        """Read frames of one stream of one record.

        Args:
            key: The record.
            stream: Name of the stream.
            start: First frame, 0 to F.
            stop: Frame to stop before, `start` to F; None reads to the end.

        Returns:
            A copy, `[stop - start, width]`.

        Raises:
            KeyError: No such record or stream; the message names both and the store.
            ValueError: The frames are not inside the record.
            StoreError: The record differs from its checksum, or its shard is missing.
        """
        number, row, first, frames = self._row(key)
        stop = frames if stop is None else stop
        if not 0 <= start <= stop <= frames:
            raise ValueError(f"Frames [{start}, {stop}) of {key!r} in the store {self.folder} do not exist; it has {frames} frames.")
        if stream not in self._index.streams:
            raise KeyError(f"The store {self.folder} has no stream {stream!r} (asked of {key!r}), only {', '.join(self._index.streams)}.")
        shard = self._shard(number)
        if self._check and row not in shard.checked:
            self._check_record(key)
        return np.array(shard.streams[stream][first + start : first + stop])

    def preload(self) -> Store:
        """Read everything into memory and check every checksum.

        Returns:
            This store, which from now on reads no files.

        Raises:
            StoreError: A shard is missing or damaged.
        """
        self._open = {}
        for number in range(len(self._index.shards)):
            shard = self._shard(number)
            shard.streams, shard.preloaded = {name: np.array(array) for name, array in shard.streams.items()}, True
        self.verify()
        return self

    def verify(self) -> None:
        """Check every record against its checksum.

        Raises:
            StoreError: A shard is missing or damaged; it is named.
        """
        for key in self._keys:
            self._check_record(key)

    def __getstate__(self) -> dict[str, Any]:
        # Maps are reopened where the store is unpickled; what was preloaded travels.
        return {**self.__dict__, "_open": {number: shard for number, shard in self._open.items() if shard.preloaded}}

    def _check_record(self, key: str) -> None:
        number, row, first, frames = self._rows[key]
        shard = self._shard(number)
        with naming_damage(self._path(self._index.shards[number])):
            if checksum({name: array[first : first + frames] for name, array in shard.streams.items()}) != shard.checksums[row]:
                raise ValueError(f"record {key!r} (row {row}) differs from its checksum")
        shard.checked.add(row)

    def _row(self, key: str) -> tuple[int, int, int, int]:
        try:
            return self._rows[key]
        except KeyError:
            hint = f"such as {self._keys[0]!r}" if self._keys else "none"
            raise KeyError(f"The store {self.folder} has no record {key!r}; it has {len(self._keys)} records, {hint}.") from None

    def _path(self, entry: ShardEntry) -> Path:
        return StorePaths(self.folder).shard_folder / entry.file

    def _shard(self, number: int) -> _Shard:
        if number not in self._open:
            entry = self._index.shards[number]
            self._open[number] = _map_shard(self._path(entry), entry)
        return self._open[number]


def _map_shard(path: Path, entry: ShardEntry) -> _Shard:
    """Map a shard's streams after checking that it is the file that was indexed."""
    with naming_damage(path), h5py.File(path, "r", locking=False) as file:
        tables = read_tables(file)
        streams = {name: _map_stream(path, dataset) for name, dataset in file["streams"].items()} if "streams" in file else {}
        specs = {name: StreamInfo(array.dtype.str, array.shape[1]) for name, array in streams.items()}
        if content_digest(tables, specs) != entry.digest:
            raise ValueError("its tables are not those that were indexed")
        return _Shard(streams, tables["meta"], tables["checksums"].tolist())


def _map_stream(path: Path, dataset: Any) -> NDArray[Any]:
    offset = dataset.id.get_offset()  # None where the data is not one piece, as with compression
    if offset is None:
        return np.asarray(dataset[...])
    mapped = np.memmap(path, dtype=dataset.dtype, mode="r", offset=offset, shape=dataset.shape)
    return mapped.view(np.ndarray)  # slicing a memmap costs three times as much

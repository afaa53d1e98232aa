"""One shard file: flat streams `[sum F, width]`, where each record lies, and checksums; written whole, verified, then claimed.

Streams are stored contiguous and uncompressed: gzip saves 11 to 21 % of codes and costs ten times the write, and a contiguous
stream can be mapped into memory, so that a random crop is one copy.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from lcm.store.record import Record, StoreError, as_stored, check_record, checksum

SCHEMA = 1
_ROWS_PER_WRITE = 256
_BYTES_PER_READ = 1 << 24
_NO_LINKS = {errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EMLINK}


@dataclass(frozen=True)
class StreamInfo:
    """Type and width of a stream, as in every record of a store."""

    dtype: str
    width: int


@dataclass(frozen=True)
class ShardInfo:
    """What a verified shard holds.

    Attributes:
        keys: Keys of its records, in order.
        frames: Number of frames of each record.
        checksums: CRC-32 of each record's streams.
        streams: Type and width of each stream; empty where the shard has no records.
        quarantined: Reason by key, for the planned items that could not be made.
        digest: SHA-256 over all of the above and the meta data.
        attrs: The file's attributes.
        size_bytes: Size of the file.
    """

    keys: tuple[str, ...]
    frames: tuple[int, ...]
    checksums: tuple[int, ...]
    streams: dict[str, StreamInfo]
    quarantined: dict[str, str]
    digest: str
    attrs: dict[str, Any]
    size_bytes: int


def write_shard(path: Path, records: Sequence[Record], attrs: Mapping[str, Any], quarantined: Mapping[str, str] | None = None) -> None:
    """Write a new shard file and sync it to disk.

    Args:
        path: File to create; to be claimed under its final name afterwards.
        records: Records in their final order, all with the same streams; may be empty.
        attrs: What to note of its making, such as identity, shard, shards, seed, commit; what HDF5 has no type for goes in as JSON.
        quarantined: Reason by key, for items that could not be made.

    Raises:
        StoreError: Records disagree in their streams, or one is not fit to be stored.
    """
    streams = _common_streams(records)
    tables: dict[str, Any] = {
        "offsets": np.cumsum([0, *(record.frames for record in records)], dtype=np.int64),
        "checksums": np.array([checksum(record.streams) for record in records], dtype=np.uint32),
        "ids": [record.key for record in records],
        "meta": [json.dumps(record.meta, sort_keys=True) for record in records],
        "quarantined": [json.dumps(pair) for pair in (quarantined or {}).items()],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    noted = {"schema": SCHEMA, **attrs, "digest": content_digest(tables, streams)}
    _write_new(path, _image(records, streams, tables, noted))


def _image(records: Sequence[Record], streams: Mapping[str, StreamInfo], tables: Mapping[str, Any], noted: Mapping[str, Any]) -> bytes:
    """Return the bytes of the file, built in memory: on a full disk HDF5 can neither write nor close, and takes its process down."""
    with h5py.File("shard", "w", driver="core", backing_store=False) as file:
        for name, info in streams.items():
            dataset = file.create_dataset(f"streams/{name}", (int(tables["offsets"][-1]), info.width), info.dtype)
            _fill(dataset, name, records)
        for name, table in tables.items():
            text = isinstance(table, list)
            file.create_dataset(name, data=table, dtype=h5py.string_dtype() if text else None)
        file.attrs.update({name: _as_attribute(value) for name, value in noted.items()})
        file.flush()
        image: bytes = file.id.get_file_image()
    return image


def _write_new(path: Path, image: bytes) -> None:
    """Write and sync a new file; on a full disk it is gone again, and the error names it."""
    try:
        with path.open("xb") as file:  # the name is this attempt's alone
            file.write(image)
            file.flush()
            os.fsync(file.fileno())
    except FileExistsError:
        raise
    except OSError:
        path.unlink(missing_ok=True)
        raise


def verify_shard(path: Path) -> ShardInfo:
    """Read a whole shard, some megabytes at a time, and check it: tables, offsets, shapes, finite values, every record's checksum.

    Raises:
        StoreError: The shard is missing or damaged; the message names it and says what to do.
    """
    with naming_damage(path), h5py.File(path, "r", locking=False) as file:
        tables = read_tables(file)
        datasets = dict(file["streams"].items()) if "streams" in file else {}
        streams = {name: StreamInfo(dataset.dtype.str, dataset.shape[1]) for name, dataset in datasets.items()}
        _expect(file.attrs["schema"] == SCHEMA, f"its schema is {file.attrs['schema']}, expected {SCHEMA}")
        _expect(file.attrs["digest"] == content_digest(tables, streams), "its tables differ from their digest")
        _check_streams(tables, datasets)
        return ShardInfo(
            keys=tuple(tables["ids"]),
            frames=tuple(np.diff(tables["offsets"]).tolist()),
            checksums=tuple(tables["checksums"].tolist()),
            streams=streams,
            quarantined=dict(json.loads(pair) for pair in tables["quarantined"]),
            digest=str(file.attrs["digest"]),
            attrs={name: _plain(value) for name, value in file.attrs.items()},
            size_bytes=path.stat().st_size,
        )


def claim(part: Path, final: Path) -> bool:
    """Give a verified file its final name, unless a twin was first.

    Args:
        part: A complete, synced file on the same file system; gone afterwards.
        final: Name to claim.

    Returns:
        Whether this file won. The loser's is removed. On a file system without hard links a rename stands in: of two twins that
        both find the name free within microseconds the later stays, which is as whole as the other and holds the same.
    """
    try:
        os.link(part, final)
        won = True
    except FileExistsError:
        won = final.samefile(part)  # NFS may repeat a request that had succeeded
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        won = not final.exists()
        if won:
            part.replace(final)
    part.unlink(missing_ok=True)
    sync(final.parent)
    return won


def sync(path: Path) -> None:
    """Ask the disk to keep a file, or a folder's names."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def naming_damage(path: Path) -> Iterator[None]:
    """Turn whatever goes wrong while reading a shard into an error that names it."""
    if not path.exists():
        raise StoreError(f"The shard {path} is missing. Run the command that made the store again: it makes only what is missing.")
    try:
        yield
    except (OSError, KeyError, ValueError, TypeError, IndexError, RuntimeError, AttributeError, OverflowError) as error:
        raise StoreError(
            f"The shard {path} is damaged or cannot be read: {error}. "
            "Delete it and run the command that made the store again: it makes only what is missing."
        ) from error


def _common_streams(records: Sequence[Record]) -> dict[str, StreamInfo]:
    common: dict[str, StreamInfo] = {}
    for record in records:
        check_record(record)
        streams = {name: StreamInfo(as_stored(array).dtype.str, array.shape[1]) for name, array in sorted(record.streams.items())}
        common = common or streams
        if streams != common:
            raise StoreError(f"Record {record.key!r} has streams {streams}, but {records[0].key!r} has {common}; one shard holds one kind.")
    return common


def _fill(dataset: Any, name: str, records: Sequence[Record]) -> None:
    """Write in batches: record by record is slower, the whole shard at once doubles its memory."""
    row, left = 0, iter(records)
    while batch := list(islice(left, _ROWS_PER_WRITE)):
        block = np.concatenate([record.streams[name] for record in batch])
        dataset[row : row + len(block)] = block
        row += len(block)


def content_digest(tables: Mapping[str, Any], streams: Mapping[str, StreamInfo]) -> str:
    """Return the hash of a shard's content; the streams' bytes enter through their checksums."""
    content = {name: table if isinstance(table, list) else table.tolist() for name, table in tables.items()}
    specs = {name: [info.dtype, info.width] for name, info in streams.items()}
    return hashlib.sha256(json.dumps([content, specs], sort_keys=True).encode()).hexdigest()


def read_tables(file: Any) -> dict[str, Any]:
    """Return everything in an open shard but its streams."""
    tables: dict[str, Any] = {name: file[name][...] for name in ("offsets", "checksums")}
    tables.update({name: file[name].asstr()[...].tolist() for name in ("ids", "meta", "quarantined")})
    return tables


def _as_attribute(value: Any) -> Any:
    """Return what HDF5 stores: plain values as they are; the rest, and text that would be taken for the rest, as JSON."""
    plain = isinstance(value, (int, float)) or (isinstance(value, str) and not _is_json(value))
    return value if plain else json.dumps(value, sort_keys=True)


def _plain(value: Any) -> Any:
    """Return an attribute as it was given to `write_shard`."""
    if isinstance(value, str):
        return json.loads(value) if _is_json(value) else value
    return value.item() if isinstance(value, np.generic) else value


def _is_json(value: str) -> bool:
    return value == "null" or value[:1] in {"{", "[", '"'}


def _check_streams(tables: Mapping[str, Any], datasets: Mapping[str, Any]) -> None:
    offsets, names = tables["offsets"], sorted(datasets)
    for name in names:
        _expect(len(datasets[name]) == offsets[-1], f"stream {name!r} has {len(datasets[name])} frames, expected {offsets[-1]}")
    for start, stop in _rows_per_read(offsets, sum(dataset.dtype.itemsize * dataset.shape[1] for dataset in datasets.values())):
        first, last = offsets[start], offsets[stop]
        arrays = {name: datasets[name][first:last] for name in names}
        for name, array in arrays.items():
            _expect(array.dtype.kind != "f" or bool(np.isfinite(array).all()), f"stream {name!r} holds NaN or infinity")
        for row in range(start, stop):
            streams = {name: arrays[name][offsets[row] - first : offsets[row + 1] - first] for name in names}
            _expect(checksum(streams) == tables["checksums"][row], f"record {tables['ids'][row]!r} (row {row}) differs from its checksum")


def _rows_per_read(offsets: NDArray[np.int64], frame_bytes: int) -> Iterator[tuple[int, int]]:
    """Cut rows into ranges of some megabytes, so that the memory does not grow with the shard."""
    start, rows = 0, len(offsets) - 1
    while start < rows:
        fitting = np.searchsorted(offsets, offsets[start] + _BYTES_PER_READ // max(frame_bytes, 1), side="right") - 1
        stop = min(max(int(fitting), start + 1), rows)
        yield start, stop
        start = stop


def _expect(condition: bool, otherwise: str) -> None:
    if not condition:
        raise ValueError(otherwise)

"""A journal of records, one per attempt at a shard: what was appended before a death is still there after it.

A journal is 8 bytes of magic, then frames: length and CRC-32 (uint32 each), then the payload of one record. A frame goes out in
one write at the end of the file, so a killed process loses at most the records of the append it was in. `fsync` runs at most every
`sync_every_s`, so a node that loses power loses at most that much more; 0 syncs at each append.
"""

from __future__ import annotations

import json
import os
import struct
import time
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

import numpy as np

from lcm.store.record import Record, StoreError, as_stored, check_record

_MAGIC = b"LCMJRNL1"
_FRAME = struct.Struct("<II")  # length of the payload, its CRC-32
_HEADER = struct.Struct("<I")  # length of the JSON header in front of the arrays


class Journal:
    """The one writer of a new journal.

    Args:
        path: File to create; its folder is made.
        sync_every_s: Longest time in seconds for which appended records may wait for `fsync` while appends go on.

    Raises:
        StoreError: The file exists, so another attempt owns it.
    """

    def __init__(self, path: Path, *, sync_every_s: float = 1.0) -> None:
        self.path = path
        self._sync_every_s = sync_every_s
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o666)
        except FileExistsError:
            raise StoreError(f"The journal {path} exists: it belongs to another attempt. Give each attempt a name of its own.") from None
        self._size = 0
        self._synced_at = time.monotonic()
        self._write(_MAGIC)

    def append(self, record: Record) -> None:
        """Append one record."""
        self.extend([record])

    def extend(self, records: Sequence[Record]) -> None:
        """Append records in one write.

        Raises:
            StoreError: A record is not fit to be stored; nothing of the batch was appended.
            OSError: The disk refused; the journal is cut back to its last whole record.
        """
        for record in records:
            check_record(record)
        self._write(b"".join(_frame(encode(record)) for record in records))
        if time.monotonic() - self._synced_at >= self._sync_every_s:
            self.sync()

    def sync(self) -> None:
        """Ask the disk to keep what was appended."""
        os.fsync(self._file)
        self._synced_at = time.monotonic()

    def close(self) -> None:
        """Sync and close; closing twice is harmless."""
        if self._file >= 0:
            self.sync()
            os.close(self._file)
            self._file = -1

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(self._file, view) :]
        except OSError:
            os.ftruncate(self._file, self._size)  # a half frame would hide whatever is appended after it
            raise
        self._size += len(data)


def read_journal(path: Path) -> Iterator[Record]:
    """Yield the records of a journal, up to its end or to the first frame that is torn or damaged.

    Args:
        path: The journal; a missing, empty or foreign file yields nothing.
    """
    try:
        file = path.open("rb")
    except FileNotFoundError:  # a twin has committed and cleaned up
        return
    with file:
        if file.read(len(_MAGIC)) != _MAGIC:
            return
        size = os.fstat(file.fileno()).st_size
        while (payload := _read_frame(file, size)) is not None:
            yield decode(payload)


def encode(record: Record) -> bytes:
    """Return a record as bytes: a JSON header, then the arrays in the order of their names. No pickle."""
    arrays = {name: as_stored(record.streams[name]) for name in sorted(record.streams)}
    streams = [[name, array.dtype.str, list(array.shape)] for name, array in arrays.items()]
    header = json.dumps({"key": record.key, "meta": record.meta, "streams": streams}).encode()
    return b"".join([_HEADER.pack(len(header)), header, *(array.tobytes() for array in arrays.values())])


def decode(payload: bytes) -> Record:
    """Return the record that `encode` wrote; its arrays are read-only views of the payload."""
    (length,) = _HEADER.unpack_from(payload)
    start = _HEADER.size + length
    header = json.loads(payload[_HEADER.size : start])
    streams = {}
    for name, dtype, shape in header["streams"]:
        array = np.frombuffer(payload, dtype, count=shape[0] * shape[1], offset=start).reshape(shape)
        streams[name] = array
        start += array.nbytes
    return Record(header["key"], streams, header["meta"])


def _frame(payload: bytes) -> bytes:
    return _FRAME.pack(len(payload), zlib.crc32(payload)) + payload


def _read_frame(file: BinaryIO, size: int) -> bytes | None:
    """Return the next whole payload, or None where the journal ends, is torn or damaged."""
    head = file.read(_FRAME.size)
    if len(head) < _FRAME.size:
        return None
    length, crc = _FRAME.unpack(head)
    if length > size - file.tell():  # also keeps a damaged length from asking for gigabytes
        return None
    payload = file.read(length)
    return payload if len(payload) == length and zlib.crc32(payload) == crc else None

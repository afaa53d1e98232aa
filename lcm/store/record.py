"""One record of a store: what a clip became, its checksum and its checks.

Shapes: every stream is `[F, width]` and all streams of a record share F, the number of codec frames.
"""

from __future__ import annotations

import hashlib
import zlib
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lcm.errors import LcmError


class StoreError(LcmError):
    """A store, shard or plan is not what it should be; the message says which, where, and what to do."""


@dataclass(frozen=True)
class Record:
    """The stored result of one clip.

    Attributes:
        key: Name of the clip, unique in its store.
        streams: Arrays `[F, width]`, int16 for codes and float16 for latents, by name.
        meta: What else is known of the clip; JSON values only.
    """

    key: str
    streams: dict[str, NDArray[Any]]
    meta: dict[str, Any] = field(default_factory=dict)

    @property
    def frames(self) -> int:
        """Number of frames F that all streams share."""
        return int(next(iter(self.streams.values())).shape[0])


def check_record(record: Record) -> None:
    """Refuse a record that a store must not hold.

    Raises:
        StoreError: A stream is not `[F, width]` of a plain number type, streams differ in F, F is 0, or a value is NaN or infinite.
    """
    if not record.streams:
        raise StoreError(f"Record {record.key!r} has no streams; a record holds at least one array [F, width].")
    frames = {name: array.shape[0] if array.ndim == 2 else None for name, array in record.streams.items()}
    if None in frames.values() or len(set(frames.values())) != 1 or 0 in frames.values():
        shapes = {name: array.shape for name, array in record.streams.items()}
        raise StoreError(f"Record {record.key!r} has streams of shapes {shapes}; expected [F, width] with one F > 0 for all.")
    for name, array in record.streams.items():
        if array.dtype.kind not in "iuf":
            raise StoreError(f"Record {record.key!r}, stream {name!r} is of type {array.dtype}; expected integers or floats.")
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise StoreError(f"Record {record.key!r}, stream {name!r} holds NaN or infinity; it would poison what is trained on it.")


def as_stored(array: NDArray[Any]) -> NDArray[Any]:
    """Return the array as it lies on disk: C-ordered and little-endian."""
    return np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))


def checksum(streams: dict[str, NDArray[Any]]) -> int:
    """Return the CRC-32 over a record's streams in the order of their names."""
    crc = 0
    for name in sorted(streams):
        crc = zlib.crc32(as_stored(streams[name]).data, crc)
    return crc


def item_seed(key: str, seed: int) -> int:
    """Return the seed of one clip's randomness, from its key and the run's seed alone.

    Args:
        key: Name of the clip.
        seed: Seed of the whole run.

    Returns:
        An integer in [0, 2^63), fit for `torch.Generator.manual_seed` and `numpy.random.default_rng`.
    """
    return int.from_bytes(hashlib.sha256(f"{seed}\0{key}".encode()).digest()[:8], "little") >> 1

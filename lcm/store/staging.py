"""A copy of a finished store on the node's own disk, so that tasks do not all read the shared one.

Processes of a node that ask at once share the work and no lock: each takes a shard that nobody has copied yet, copies it under a name of
its own, verifies it and renames it. The index comes last; a copy is used only with it and every shard, else whoever asks completes it.
"""

from __future__ import annotations

import errno
import hashlib
import os
import random
import shutil
import sys
import uuid
from pathlib import Path

from lcm.store.index import Index, ShardEntry, read_index
from lcm.store.paths import StorePaths
from lcm.store.record import StoreError
from lcm.store.shard import sync, verify_shard

_MARGIN_BYTES = 1 << 30  # left to others on the node's disk
_FULL = {errno.ENOSPC, errno.EDQUOT}


def stage(folder: Path, scratch: Path) -> Path:
    """Return a verified copy of a finished store, made once for all processes that share the scratch folder.

    Args:
        folder: The store; finished.
        scratch: Folder on the node's own disk; may name variables, such as $TMPDIR.

    Returns:
        The copy, `scratch/IDENTITY-INDEX`: the identity of the content and a hash of the index. Or the store itself, with a line on
        standard error that says why, where the disk has too little room or cannot be written.

    Raises:
        StoreError: The store is not finished, or one of its shards is missing or damaged.
    """
    index, text = read_index(folder), StorePaths(folder).index.read_bytes()
    try:
        scratch = _resolved(scratch)
        copy = StorePaths(scratch / f"{index.identity}-{hashlib.sha256(text).hexdigest()[:8]}")
        if not _is_whole(copy, index, text):
            _complete(StorePaths(folder), copy, index, text)
    except (OSError, _NoRoomError) as error:
        print(f"warning: {folder} is read where it is, not from {scratch}: {error}", file=sys.stderr, flush=True)
        return folder
    return copy.folder


class _NoRoomError(Exception):
    """The copy does not fit."""


def _resolved(scratch: Path) -> Path:
    named = os.path.expandvars(scratch)
    if "$" in named:
        raise OSError(f"{scratch} names a variable that is not set here")
    Path(named).expanduser().mkdir(parents=True, exist_ok=True)
    return Path(named).expanduser()


def _is_whole(copy: StorePaths, index: Index, text: bytes) -> bool:
    """Say whether the copy is finished and still all there; what shards hold is checked by whoever reads them."""
    try:
        return copy.index.read_bytes() == text and not _missing(copy, index)
    except FileNotFoundError:
        return False


def _missing(copy: StorePaths, index: Index) -> list[ShardEntry]:
    there = {entry.name: entry.stat().st_size for entry in os.scandir(copy.shard_folder)} if copy.shard_folder.is_dir() else {}
    return [entry for entry in index.shards if there.get(entry.file) != entry.size_bytes]


def _complete(source: StorePaths, copy: StorePaths, index: Index, text: bytes) -> None:
    missing = _missing(copy, index)
    need, free = sum(entry.size_bytes for entry in missing), shutil.disk_usage(copy.folder.parent).free
    if need + _MARGIN_BYTES > free:
        raise _NoRoomError(f"it needs {need / 1e9:.1f} GB and {_MARGIN_BYTES / 1e9:.1f} GB to spare, {free / 1e9:.1f} GB are free")
    parts = copy.folder / "parts"
    for folder in (copy.shard_folder, parts):
        folder.mkdir(parents=True, exist_ok=True)
    random.shuffle(missing)  # so that processes that ask at once copy different shards
    try:
        others = [entry for entry in missing if not _copy_shard(source, copy, entry, parts, leave=True)]
        for entry in others:  # the other process may have died
            _copy_shard(source, copy, entry, parts, leave=False)
        _put(copy.index, text)
    except OSError as error:
        if error.errno in _FULL and not copy.index.exists() and not any(parts.iterdir()):
            shutil.rmtree(copy.folder, ignore_errors=True)  # others filled the disk meanwhile: give back what is of no use
        raise
    shutil.rmtree(parts, ignore_errors=True)  # what is in it died, or copies what is there by now


def _copy_shard(source: StorePaths, copy: StorePaths, entry: ShardEntry, parts: Path, *, leave: bool) -> bool:
    """Copy a shard unless it is there; with `leave` not while another process copies it, which returns False."""
    original, final = source.shard_folder / entry.file, copy.shard_folder / entry.file
    if _size(final) == entry.size_bytes:
        return True
    if leave and any(parts.glob(f"{entry.file}.*")):
        return False
    if not original.exists():
        raise StoreError(f"The shard {original} is missing. Run the command that made the store again: it makes only what is missing.")
    part = parts / f"{entry.file}.{uuid.uuid4().hex}"
    try:
        shutil.copyfile(original, part)
        _check_copy(part, original, entry)
        sync(part)  # a name must not outlive its content when the node loses power
        part.replace(final)
    except FileNotFoundError:
        if _size(final) != entry.size_bytes:  # else a twin has completed the copy and cleaned up
            raise
    finally:
        part.unlink(missing_ok=True)
    return True


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return -1


def _check_copy(part: Path, original: Path, entry: ShardEntry) -> None:
    """Verify a copy against the index; where it differs, find out whose fault that is."""
    try:
        if part.stat().st_size == entry.size_bytes and verify_shard(part).digest == entry.digest:
            return
    except StoreError:
        if not part.exists():  # a twin has cleaned up
            raise FileNotFoundError(errno.ENOENT, "removed by another process", str(part)) from None
    if verify_shard(original).digest != entry.digest:
        raise StoreError(f"The shard {original} is not the one that was indexed. Delete the store's index.json and run its command again.")
    raise OSError(errno.EIO, "the copy differs from its original", str(part))


def _put(path: Path, text: bytes) -> None:
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex}.part")
    part.write_bytes(text)
    part.replace(path)

"""All heartbeats of a store: a file a shard while it is made, one file for all when it is finished."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

from lcm.store import StorePaths, write_atomically
from slurm.progress import Progress

_READERS, _FILES_A_READER = 8, 250  # a shared file system answers in a millisecond; 20,000 files one by one would take 20 s


def read_all_progress(paths: StorePaths) -> Iterator[Progress]:
    """Yield the last heartbeat of every shard that has one that can be read, in no order; a file of its own is newer than the history."""
    seen = set()
    for progress in _heartbeats(paths.progress_folder):
        seen.add(progress.shard)
        yield progress
    if paths.history.exists():
        for progress in filter(None, map(_parse, paths.history.read_bytes().splitlines())):
            if progress.shard not in seen:
                yield progress


def fold(paths: StorePaths) -> None:
    """Put all heartbeats into one file and remove theirs: a store of 20,000 shards must not keep 20,000 inodes for them."""
    heard = sorted(read_all_progress(paths), key=lambda progress: progress.shard)
    write_atomically(paths.history, "".join(json.dumps(asdict(progress), ensure_ascii=False) + "\n" for progress in heard))
    shutil.rmtree(paths.progress_folder, ignore_errors=True)


def _heartbeats(folder: Path) -> Iterator[Progress]:
    files = [entry.path for entry in os.scandir(folder) if entry.name.endswith(".json")] if folder.is_dir() else []
    parts = [files[start : start + _FILES_A_READER] for start in range(0, len(files), _FILES_A_READER)]
    if len(parts) < 2:
        texts: Iterable[list[bytes]] = map(_read, parts)
    else:
        with ThreadPoolExecutor(_READERS) as readers:
            texts = list(readers.map(_read, parts))
    for part in texts:
        yield from filter(None, map(_parse, part))


def _read(files: Iterable[str]) -> list[bytes]:
    texts = []
    for name in files:
        try:
            texts.append(Path(name).read_bytes())
        except OSError:  # replaced or removed just now
            continue
    return texts


def _parse(text: bytes) -> Progress | None:
    """Return what `read_progress` would of a file with this text."""
    try:
        value = json.loads(text)
        return Progress(**{name: value[name] for name in value.keys() & Progress.__dataclass_fields__.keys()})
    except (ValueError, TypeError, AttributeError):
        return None

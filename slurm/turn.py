"""Let one command at a time submit for a folder. A courtesy, not a fence: what is made twice is committed once."""

from __future__ import annotations

import fcntl
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from slurm.progress import node_name

_SAY_AFTER_S, _POLL_S = 2.0, 0.2


@contextmanager
def turn(folder: Path, *, wait_s: float = 60.0) -> Iterator[None]:
    """Wait until no other command submits for a folder, but not for ever: where locks do not work, go on without.

    Args:
        folder: The folder; it is made.
        wait_s: Longest wait in seconds.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / ".turn"
    file = path.open("a+", encoding="utf-8")
    taken = threading.Event()
    # in a thread: on a network file system without a lock daemon even a call that must not wait can hang
    threading.Thread(target=_take, args=(file, path, taken, time.monotonic() + wait_s), daemon=True).start()
    if not taken.wait(wait_s + _SAY_AFTER_S):
        print(f"slurm: going on beside whoever holds {path}", flush=True)
    try:
        yield
    finally:
        with suppress(OSError):
            if taken.is_set():
                fcntl.flock(file, fcntl.LOCK_UN)
                file.close()


def _take(file: IO[str], path: Path, taken: threading.Event, until: float) -> None:
    said = time.monotonic() + _SAY_AFTER_S
    while time.monotonic() < until:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > said:
                said = until
                holder = path.read_text(encoding="utf-8").strip().splitlines()[-1:] or ["another command"]
                print(f"slurm: waiting, as {holder[0]} submits for {path.parent.parent}", flush=True)
            time.sleep(_POLL_S)
            continue
        except OSError:  # this file system has no locks
            break
        with suppress(OSError):
            file.truncate(0)
            file.write(f"process {os.getpid()} on {node_name()}\n")
            file.flush()
        break
    taken.set()

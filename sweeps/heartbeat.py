"""A file that is touched while its process lives, and how long it has not been, by the clock of whoever looks."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

BEAT_S = 5.0
STALE_S = 60.0


@contextmanager
def beating(path: Path, every_s: float = BEAT_S, then: Callable[[], bool] = lambda: True) -> Iterator[None]:
    """Touch a file while the block lasts, from a thread of its own.

    Args:
        path: The file; a disk that is full or away is no reason to stop.
        every_s: Seconds between two touches.
        then: Called after each but the first; returns whether to go on.
    """
    over = threading.Event()

    def touch() -> None:
        with suppress(OSError):
            path.touch()

    def live() -> None:
        while not over.wait(every_s):
            touch()
            if not then():
                return

    touch()
    thread = threading.Thread(target=live, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


class Silence:
    """How long a file has not been touched. Clocks of different machines are not compared.

    Args:
        path: The file.

    Attributes:
        broken: Whether it was touched since it is watched.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.broken = path, False
        self._seen, self._since = _touched(path), time.monotonic()

    def seconds(self) -> float:
        """Look; returns for how long it has not been touched while watched."""
        seen, now = _touched(self.path), time.monotonic()
        if seen != self._seen:
            self._seen, self._since, self.broken = seen, now, True
        return now - self._since


def _touched(path: Path) -> int | None:
    try:
        with path.open("rb") as file:  # opened, since NFS answers a bare stat from memory for up to a minute
            return os.fstat(file.fileno()).st_mtime_ns
    except OSError:
        return None

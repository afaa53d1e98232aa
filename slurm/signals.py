"""What SLURM asks of a running task by signals: USR2 to make room and come back, TERM to end.

USR2 comes before the time limit (`--signal`) and, on clusters that are set so, before a preemption. TERM comes from `scancel` and
from preemption; SLURM requeues what it preempts by itself, so a task that got TERM never asks to be started again.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType


@dataclass
class Stop:
    """Whether and how a task was asked to stop; looked at between batches.

    Attributes:
        again: Stop and ask to be requeued (USR2).
        end: Stop for good (TERM); it outweighs `again`.
        until: Value of `time.monotonic()` after which to stop, for a task that only measures; None never.
    """

    again: bool = False
    end: bool = False
    until: float | None = None

    @classmethod
    def within(cls, limit_s: float | None) -> Stop:
        """Return one that stops by itself after so many seconds; None never."""
        return cls(until=None if limit_s is None else time.monotonic() + limit_s)

    def __bool__(self) -> bool:
        return self.again or self.end or (self.until is not None and time.monotonic() >= self.until)

    @property
    def requeue(self) -> bool:
        """Whether the task should ask to be started again."""
        return self.again and not self.end

    @property
    def reason(self) -> str:
        """Why the task stops, in words."""
        if self.end:
            return "asked to end (TERM: scancel or preemption)"
        return "asked to make room (USR2: time limit or preemption)" if self.again else "its time to measure is over"


@contextmanager
def listen(stop: Stop | None = None) -> Iterator[Stop]:
    """Turn USR2 and TERM into a `Stop` while the context lasts. Only in a process's main thread."""
    stop = Stop() if stop is None else stop  # one that was not asked yet is false

    def hear(number: int, _: FrameType | None) -> None:
        if number == signal.SIGTERM:
            stop.end = True
        else:
            stop.again = True
        print(f"slurm: {stop.reason}; the batch at hand is finished first", flush=True)

    before = {number: signal.signal(number, hear) for number in (signal.SIGUSR2, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

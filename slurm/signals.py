"""What SLURM asks of a running task by signals: USR2 to make room and come back, TERM to end.

USR2 comes before the time limit (`--signal`) and, on clusters that are set so, before a preemption. TERM comes from `scancel` and
from preemption; SLURM requeues what it preempts by itself, so a task that got TERM never asks to be started again.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
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
        tell: Called as soon as a request is heard.
    """

    again: bool = False
    end: bool = False
    until: float | None = None
    tell: Callable[[], None] | None = None

    @classmethod
    def within(cls, limit_s: float | None) -> Stop:
        """Return one that stops by itself after so many seconds; None never."""
        return cls(until=None if limit_s is None else time.monotonic() + limit_s)

    def __bool__(self) -> bool:
        return self.again or self.end or (self.until is not None and time.monotonic() >= self.until)

    def hear(self, number: signal.Signals) -> None:
        """Take a request down."""
        if number == signal.SIGTERM:
            self.end = True
        else:
            self.again = True
        if self.tell is not None:
            self.tell()

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
def listen(stop: Stop | None = None, *, grace_s: float = 0.0, at_deadline: Callable[[], None] | None = None) -> Iterator[Stop]:
    """Turn USR2 and TERM into a `Stop` while the context lasts, at once, also while the main thread computes. Only in the main thread.

    Args:
        stop: What to set; default: a new one.
        grace_s: Seconds after USR2 until `at_deadline`.
        at_deadline: Called, in another thread, if the context lasts until then: a batch may take longer than there is time.
    """
    stop = Stop() if stop is None else stop  # one that was not asked yet is false
    over, (reading, writing) = threading.Event(), os.pipe()
    os.set_blocking(writing, False)
    # Python runs a handler between two of its own instructions, the C library writes the number down at once
    before_fd = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    before = {number: signal.signal(number, _leave_it_to_the_thread) for number in (signal.SIGUSR2, signal.SIGTERM)}
    thread = threading.Thread(target=_hear, args=(reading, stop, over, grace_s, at_deadline), daemon=True)
    thread.start()
    try:
        yield stop
    finally:
        over.set()
        for number, handler in before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(before_fd)
        os.close(writing)  # the thread reads the end of the pipe
        thread.join()
        os.close(reading)


def _hear(reading: int, stop: Stop, over: threading.Event, grace_s: float, at_deadline: Callable[[], None] | None) -> None:
    while number := os.read(reading, 1):
        if number[0] not in {signal.SIGUSR2, signal.SIGTERM}:
            continue
        first = not stop.again
        stop.hear(signal.Signals(number[0]))
        print(f"slurm: {stop.reason}; the batch at hand is finished first", flush=True)
        if stop.again and first and at_deadline is not None:
            threading.Thread(target=_at_deadline, args=(stop, over, grace_s, at_deadline), daemon=True).start()


def _at_deadline(stop: Stop, over: threading.Event, grace_s: float, call: Callable[[], None]) -> None:
    if not over.wait(grace_s) and not stop.end:
        print(f"slurm: the batch at hand takes longer than the {grace_s:g} s that there are; it is made again", flush=True)
        call()


def _leave_it_to_the_thread(_: int, __: FrameType | None) -> None:
    """Do nothing: a handler must be there, or the signal would end the process."""

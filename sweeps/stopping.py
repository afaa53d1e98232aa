"""Asking a point's process to stop: TERM and USR2 mean "keep what there is and end", Ctrl-C the same while training.

Outside a `deferred` block a request is raised at once, where the process is: preparing and evaluating only write whole files, and do
again what they did not finish. Inside one it is kept until the block ends; what is in it looks at `requested`. Only the first request
counts, but for a second Ctrl-C, which ends the process at once. Imports nothing heavy: entry points call `install` first of all.
"""

from __future__ import annotations

import atexit
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

TO_BE_CONTINUED = 75  # EX_TEMPFAIL of sysexits.h
_SIGNALS = (signal.SIGTERM, signal.SIGUSR2)


class Stopped(SystemExit):
    """The process was asked to stop, and what it made is kept: the same call goes on from there. Nothing handles it as an error."""

    def __init__(self) -> None:
        super().__init__(TO_BE_CONTINUED)


class _Requests:
    """The first request that this process got."""

    def __init__(self) -> None:
        self.number, self.deferred = 0, 0

    def hear(self, number: int, _: FrameType | None) -> None:
        """Take a signal down, and raise it where that is safe."""
        first, self.number = not self.number, self.number or number
        if number == signal.SIGINT and not (first and self.deferred):
            raise KeyboardInterrupt
        if first and not self.deferred:
            raise Stopped

    def honour(self) -> None:
        """Raise what was asked."""
        if self.number and not self.deferred:
            raise KeyboardInterrupt if self.number == signal.SIGINT else Stopped


_requests = _Requests()


def install(*, defer: bool = False) -> None:
    """Listen until the process ends.

    Args:
        defer: Whether requests are only taken down: the process looks at `requested`.
    """
    _requests.deferred += defer
    atexit.register(_ignore)
    _listen()


@contextmanager
def listening() -> Iterator[None]:
    """Listen while the block lasts, where nobody listens yet. A host's own handlers, such as submitit's, are left to it."""
    before = _listen()
    if before:
        _requests.number = 0
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def deferred() -> Iterator[None]:
    """Keep requests until the block has ended, then raise the first.

    Raises:
        Stopped: TERM or USR2 came.
        KeyboardInterrupt: Ctrl-C came; the second time at once.
    """
    _requests.deferred += 1
    try:
        yield
    finally:
        _requests.deferred -= 1
    honour()


def requested() -> bool:
    """Return whether this process was asked to stop."""
    return bool(_requests.number)


def honour() -> None:
    """Raise what was asked: a request that came while Python was cleaning an object up is printed and lost otherwise.

    Raises:
        Stopped, KeyboardInterrupt: As asked.
    """
    _requests.honour()


@contextmanager
def held_back() -> Iterator[None]:
    """Hold signals back while the block lasts; a process that is started in it holds them back until it listens, and so loses none."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _ignore() -> None:
    """Pass over what comes at the very end: Python takes its handlers away before it is gone, and a signal would then kill it."""
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def _listen() -> dict[int, Callable[..., Any] | int]:
    """Take over the signals that nobody handles; returns what was there. Only the main thread may."""
    if threading.current_thread() is not threading.main_thread():
        return {}
    before: dict[int, Callable[..., Any] | int] = {}
    free = {**dict.fromkeys(_SIGNALS, (signal.SIG_DFL, signal.SIG_IGN)), signal.SIGINT: (signal.default_int_handler,)}
    for number, handlers in free.items():
        handler = signal.getsignal(number)
        if handler is not None and handler in handlers:
            signal.signal(number, _requests.hear)
            before[number] = handler
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
    return before

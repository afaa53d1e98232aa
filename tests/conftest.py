"""For all tests."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

WATCHED = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)

# What a shell starts in the background ignores Ctrl-C, and so does all that it starts: the tests of interrupts must not depend on it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _signals_are_left_as_they_were() -> Iterator[None]:
    """A handler that is left behind fails another test, far away: name the one that left it."""
    before = {number: signal.getsignal(number) for number in WATCHED}
    yield
    after = {number: signal.getsignal(number) for number in WATCHED}
    for number, handler in before.items():
        if handler is not None:  # None was not set from Python, and cannot be set back
            signal.signal(number, handler)
    assert after == before

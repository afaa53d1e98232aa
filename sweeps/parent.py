"""Let a process end when the one that started it does, however that ends."""

from __future__ import annotations

import ctypes
import signal
import sys

_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None  # loaded here: after a fork nothing may be


def end_with_parent(number: int = signal.SIGTERM) -> None:
    """Ask Linux for a signal when the parent dies, also when it is killed: PR_SET_PDEATHSIG, in linux/prctl.h. Call it after a fork."""
    if _LIBC:
        _LIBC.prctl(1, number)

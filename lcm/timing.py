"""Time split into named sections, with the device's queue drained before and after each."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from lcm.errors import LcmError

SECTIONS = ("encode", "network", "decode", "copy")


class Stopwatch:
    """Add up the seconds spent in named sections.

    CUDA runs behind the caller's back: without synchronisation a section would be charged for the one before, or for
    nothing. Sections must not be nested, for their sum is the total.

    Args:
        device: Where the measured work runs; only CUDA needs synchronisation.
        sections: Valid names; each is reported, with 0 s where it was not entered.

    Example:
        >>> watch = Stopwatch("cpu")
        >>> with watch.section("network"):
        ...     _ = sum(range(10))
        >>> watch.seconds["decode"], watch.total_s == watch.seconds["network"]
        (0.0, True)
    """

    def __init__(self, device: torch.device | str = "cpu", sections: tuple[str, ...] = SECTIONS) -> None:
        self.device = torch.device(device)
        self.seconds: dict[str, float] = dict.fromkeys(sections, 0.0)
        self._open: str | None = None

    @contextmanager
    def section(self, name: str) -> Iterator[None]:
        """Measure the body; entering a section again adds to it. A body that raises is not counted.

        Raises:
            LcmError: If the name is unknown or another section is open.
        """
        self._check(name)
        self._open = name
        try:
            synchronise(self.device)
            start_s = time.perf_counter()
            yield
            synchronise(self.device)
            self.seconds[name] += time.perf_counter() - start_s
        finally:
            self._open = None

    @property
    def total_s(self) -> float:
        """The sum of all sections in seconds."""
        return sum(self.seconds.values())

    def scores(self, audio_s: float) -> dict[str, float]:
        """Return the record metrics: `time_<section>` and `time_total` in seconds, and `rtf`.

        Args:
            audio_s: Length of the audio that was processed, above 0.

        Raises:
            LcmError: If the length is not positive.
        """
        if not audio_s > 0:
            raise LcmError(f"Stopwatch: audio_s is {audio_s}: expected the seconds of audio processed, above 0. Leave out empty clips.")
        times = {f"time_{name}": seconds for name, seconds in self.seconds.items()}
        return {**times, "time_total": self.total_s, "rtf": self.total_s / audio_s}

    def reset(self) -> None:
        """Set all sections to 0 s."""
        self.seconds = dict.fromkeys(self.seconds, 0.0)

    def _check(self, name: str) -> None:
        if name not in self.seconds:
            raise LcmError(f"Stopwatch: unknown section {name!r}. Valid sections are: {', '.join(self.seconds)}.")
        if self._open is not None:
            raise LcmError(f"Stopwatch: section {name!r} begins inside {self._open!r}: time would count twice. End that one first.")


def synchronise(device: torch.device | str) -> None:
    """Wait until the device has finished all queued work; the CPU has no queue."""
    device = torch.device(device)
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def warm_up(work: Callable[[], object], device: torch.device | str = "cpu", *, repeats: int = 2) -> float:
    """Run the work before it is measured: kernels are chosen, memory is pooled, lazy imports are done.

    Args:
        work: What will be measured, on input of the same shape.
        device: Where it runs.
        repeats: Runs, at least 1.

    Returns:
        Seconds that the last run took.
    """
    seconds = 0.0
    for _ in range(max(1, repeats)):
        synchronise(device)
        start_s = time.perf_counter()
        work()
        synchronise(device)
        seconds = time.perf_counter() - start_s
    return seconds

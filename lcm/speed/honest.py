"""The honest protocol: synchronised, warmed up, codec included, systems taking turns, medians."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import median

import torch
from torch import Tensor

from lcm.audio import SAMPLE_RATE
from lcm.speed.timed import SECTIONS, Timed
from lcm.timing import Stopwatch, warm_up


@dataclass
class Timing:
    """What was measured of a system at one batch size.

    Attributes:
        system: Which.
        batch: Clips processed together.
        clip_s: Length of a clip.
        seconds: Of each section, for each round, for the whole batch.
    """

    system: Timed
    batch: int
    clip_s: float
    seconds: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in SECTIONS})

    def add(self, watch: Stopwatch) -> None:
        """Add a round."""
        for name in SECTIONS:
            self.seconds[name].append(watch.seconds[name])

    @property
    def rounds(self) -> int:
        """Measured rounds."""
        return len(self.seconds["network"])

    @property
    def bare_s(self) -> float:
        """Median seconds of the network alone, a clip."""
        return median(self.seconds["network"]) / self.batch

    @property
    def whole_s(self) -> float:
        """Median seconds with encoding and decoding, a clip."""
        return median(self._totals) / self.batch

    @property
    def spread(self) -> tuple[float, float]:
        """Fastest and slowest round with encoding and decoding, seconds a clip."""
        return min(self._totals) / self.batch, max(self._totals) / self.batch

    @property
    def _totals(self) -> list[float]:
        return [sum(parts) for parts in zip(*self.seconds.values(), strict=True)]

    def section_s(self, name: str) -> float:
        """Median seconds of a section, a clip."""
        return median(self.seconds[name]) / self.batch


@torch.no_grad()
def measure(
    systems: Sequence[Timed], audio: Tensor, *, batch: int, repeats: int, slow_repeats: int, tell: Callable[[str], object] = lambda _: None
) -> list[Timing]:
    """Time every system on one clip, and the cheap ones on a batch.

    Rounds go over all systems, so that a machine that slows down slows all of them. Slow systems are measured in the middle rounds.

    Args:
        systems: What is timed.
        audio: Clips [N, 1, T] with N >= batch.
        batch: Clips of a batch; 1 for none.
        repeats: Measured rounds of the cheap systems.
        slow_repeats: Measured rounds of the slow ones.
        tell: Called with each measurement's name before it begins.
    """
    clip_s = audio.shape[-1] / SAMPLE_RATE
    sizes = {1, batch}
    timings = [Timing(s, size, clip_s) for s in systems for size in sorted(sizes) if size == 1 or not s.slow]
    for timing in timings:
        tell(f"warming up {timing.system.label}")
        _warm(timing, audio)
    rounds = max(repeats, slow_repeats)
    first = (rounds - slow_repeats) // 2
    for number in range(rounds):
        for timing in timings:
            slow = timing.system.slow
            if first <= number < first + slow_repeats if slow else number < repeats:
                tell(timing.system.label)
                timing.add(_once(timing, audio, number))
    return timings


def _warm(timing: Timing, audio: Tensor) -> None:
    system, some = timing.system, audio[: timing.batch].to(timing.system.device)
    if system.warm:
        warm_up(lambda: system.warm(some) if system.warm else None, system.device, repeats=1)
    else:
        warm_up(lambda: system.run(some, Stopwatch(system.device, SECTIONS)), system.device)


def _once(timing: Timing, audio: Tensor, number: int) -> Stopwatch:
    """Time one round; each takes other clips, for all have one length."""
    start = number % (len(audio) - timing.batch + 1)
    watch = Stopwatch(timing.system.device, SECTIONS)
    timing.system.run(audio[start : start + timing.batch].to(timing.system.device), watch)
    return watch

"""Is a recording fit to use? Read it once, in bounded memory, and say what it is or what is wrong."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lcm.audio import HOP, SAMPLE_RATE, AudioError, stream
from lcm.corpus.bandwidth import detect_bandwidth_hz
from lcm.paths import sha256

SILENCE_RMS = 1e-4  # -80 dBFS: three steps of 16 bits, where dither ends
_BANDWIDTH_SECONDS = 60.0  # the beginning is enough to see where the spectrum ends


@dataclass(frozen=True)
class Limits:
    """What a recording must fulfil.

    Attributes:
        min_sample_rate_hz: Lowest sample rate.
        min_bandwidth_hz: Lowest true bandwidth.
        max_seconds: Longest duration, or None.
    """

    min_sample_rate_hz: int = 22_050
    min_bandwidth_hz: float = 0.0
    max_seconds: float | None = None


@dataclass(frozen=True)
class Recording:
    """What a recording is.

    Attributes:
        seconds: Duration.
        sha256: Digest of the file's bytes, hexadecimal.
        sample_rate_hz: Rate of the file.
        bandwidth_hz: Frequency above which it is empty, at most 12,000 and half the sample rate.
    """

    seconds: float
    sha256: str
    sample_rate_hz: int
    bandwidth_hz: float


def inspect(path: Path, limits: Limits) -> Recording:
    """Read a recording and check it.

    Args:
        path: The file.
        limits: What it must fulfil.

    Returns:
        What it is.

    Raises:
        AudioError: It is empty, truncated, silent, not audio, too short, too long, below the sample rate or the
            bandwidth, or contains NaN or infinity. `reason` begins with the kind, then a colon.
    """
    blocks, rate_hz = stream(path)
    if rate_hz < limits.min_sample_rate_hz:
        raise AudioError(path, f"sample rate too low: {rate_hz} Hz, expected at least {limits.min_sample_rate_hz} Hz")
    measure = _Measure(path, rate_hz)
    for block in blocks:
        measure.add(block)
    measure.check(limits)
    bandwidth_hz = detect_bandwidth_hz(np.concatenate(measure.beginning), rate_hz)
    if bandwidth_hz < limits.min_bandwidth_hz:
        raise AudioError(path, f"bandwidth too low: empty above {bandwidth_hz:.0f} Hz, expected at least {limits.min_bandwidth_hz:.0f} Hz")
    return Recording(round(measure.count / rate_hz, 6), sha256(path), rate_hz, bandwidth_hz)


class _Measure:
    """Running sums over the blocks of one recording, of its channels' mean: that is what is used later."""

    def __init__(self, path: Path, rate_hz: int) -> None:
        self.path, self.rate_hz = path, rate_hz
        self.count, self.total, self.squares = 0, 0.0, 0.0
        self.beginning: list[NDArray[np.float32]] = []

    def add(self, block: NDArray[np.float32]) -> None:
        """Add a block [T, C]."""
        if not np.isfinite(block).all():
            raise AudioError(self.path, f"not finite: NaN or infinity after {self.count / self.rate_hz:.1f} s or later")
        mono = block.mean(axis=1, dtype=np.float64)
        if self.count < _BANDWIDTH_SECONDS * self.rate_hz:
            self.beginning.append(mono.astype(np.float32))
        self.count += len(mono)
        self.total += float(mono.sum())
        self.squares += float(np.square(mono).sum())

    def check(self, limits: Limits) -> None:
        """Refuse what is too short, too long or silent."""
        seconds = self.count / self.rate_hz
        if seconds * SAMPLE_RATE < HOP:
            raise AudioError(self.path, f"too short: {1000 * seconds:.1f} ms, less than one frame of {1000 * HOP / SAMPLE_RATE:.1f} ms")
        if limits.max_seconds is not None and seconds > limits.max_seconds:
            raise AudioError(self.path, f"too long: {seconds:.1f} s, expected at most {limits.max_seconds:g} s")
        variance = self.squares / self.count - (self.total / self.count) ** 2  # a constant offset is silence too
        if variance < SILENCE_RMS**2:
            raise AudioError(self.path, f"silent: below {20 * np.log10(SILENCE_RMS):.0f} dBFS")

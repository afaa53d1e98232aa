"""Where a recording's content ends, whatever its sample rate says, measured block by block in constant memory.

The spectrum is the 95th percentile over frames of each bin's power, so that a few fricatives suffice; `edge` finds its upper end.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lcm.upscaling.edge import BIN_HZ, edge_hz

HIGHEST_HZ = 12_000.0  # Nyquist frequency of what is made
FULL_BAND_HZ = 9_500.0  # above it a 24 kHz recording misses little, and the model has nothing to add that it was trained for
_FRAME_S = 0.04
_FLOOR_DB, _LEVELS = -140, 200  # the histogram: 1 dB a level
_SILENT_DB = -100.0  # of the highest sample against full scale
_LOUD_DB = (-26.0, -8.0)  # power of the loud frames of the training speech


@dataclass(frozen=True)
class Bandwidth:
    """What was measured.

    Attributes:
        cutoff_hz: Upper edge of the content, at most 12,000 and half the sample rate.
        full_band: Whether nothing is missing that a model could add.
        silent: Whether nothing was heard; the cutoff is then half the sample rate.
        gain: Factor that brings the recording to a level that models are trained at; 1 where it is there.
    """

    cutoff_hz: float
    full_band: bool
    silent: bool = False
    gain: float = 1.0


class BandwidthMeter:
    """Collects a recording's spectrum.

    Args:
        sample_rate: In Hz.
    """

    def __init__(self, sample_rate: int) -> None:
        self.sample_rate = sample_rate
        self._size = max(2, round(_FRAME_S * sample_rate))
        self._window = np.hanning(self._size)
        self._rest: NDArray[np.float32] | None = None
        self._counts = np.zeros((self._size // 2 + 1, _LEVELS), dtype=np.int64)
        self._loudness = np.zeros(_LEVELS, dtype=np.int64)
        self._peak = 0.0

    def add(self, block: NDArray[np.float32]) -> None:
        """Take the next samples, [n, C] of any n."""
        if block.size:
            self._peak = max(self._peak, float(np.abs(block).max()))
        joined = block if self._rest is None else np.concatenate([self._rest, block])
        hop = self._size // 2
        frames = max(0, (len(joined) - self._size) // hop + 1)
        for start in range(0, frames, 64):  # bounds the memory of many channels
            self._count(joined, range(start, min(frames, start + 64)), hop)
        self._rest = joined[frames * hop :].copy()

    def _count(self, samples: NDArray[np.float32], frames: range, hop: int) -> None:
        power = np.stack([self._power(samples[i * hop : i * hop + self._size]) for i in frames])
        levels = _level(power)
        for bin_, column in enumerate(levels.T):
            self._counts[bin_] += np.bincount(column, minlength=_LEVELS)
        squares = [float(np.square(samples[i * hop : i * hop + self._size]).mean()) for i in frames]
        self._loudness += np.bincount(_level(np.array(squares)), minlength=_LEVELS)

    def _power(self, frame: NDArray[np.float32]) -> NDArray[np.float64]:
        spectrum = np.fft.rfft(frame * self._window[:, None], axis=0)
        power: NDArray[np.float64] = np.square(np.abs(spectrum)).mean(axis=1)
        return power

    def result(self) -> Bandwidth:
        """Return the bandwidth of what was added; a recording shorter than a frame is padded to one."""
        if not self._counts.any() and self._rest is not None and len(self._rest):
            padded = np.zeros((self._size, self._rest.shape[1]), np.float32)
            padded[: len(self._rest)] = self._rest[: self._size]
            self._count(padded, range(1), self._size // 2)
        top = min(self.sample_rate / 2, HIGHEST_HZ)
        if self._peak < 10 ** (_SILENT_DB / 20):
            return Bandwidth(top, full_band=False, silent=True)
        cutoff_hz = edge_hz(self._percentile()[: int(top / BIN_HZ)], top)
        return Bandwidth(cutoff_hz, full_band=cutoff_hz >= FULL_BAND_HZ, gain=self._gain())

    def _gain(self) -> float:
        """Return the factor that brings the loud frames into the range that training speech has."""
        below = np.cumsum(self._loudness)
        loud_db = float(np.argmax(below >= 0.95 * below[-1]) + _FLOOR_DB)
        wanted = min(max(loud_db, _LOUD_DB[0]), _LOUD_DB[1])
        return float(10 ** ((wanted - loud_db) / 20))

    def _percentile(self) -> NDArray[np.float64]:
        """Return each bin's 95th percentile in dB, to the width of a level."""
        below = np.cumsum(self._counts, axis=1)
        rank = 0.95 * below[:, -1:]
        at = np.argmax(below >= rank, axis=1)
        before = np.where(at > 0, below[np.arange(len(at)), np.maximum(at - 1, 0)], 0)
        inside = self._counts[np.arange(len(at)), at]
        level: NDArray[np.float64] = at + (rank[:, 0] - before) / np.maximum(inside, 1) - 0.5 + _FLOOR_DB
        return level


def _level(power: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the histogram's level of a power."""
    level: NDArray[np.int64] = np.clip(np.round(10 * np.log10(power + 1e-30)) - _FLOOR_DB, 0, _LEVELS - 1).astype(np.int64)
    return level

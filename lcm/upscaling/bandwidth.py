"""Where a recording's content ends, whatever its sample rate says, measured block by block in constant memory.

The corpus asks for a cliff, for which it leaves a recording out (`lcm.corpus.bandwidth`). Here a soft low-pass counts too: what is above
its edge is to be made anew. The spectrum is the 95th percentile over frames of each bin's power, so that a few fricatives suffice.

Two edges are looked for. A brick wall, a resampler's or a codec's, falls by tens of decibels within 350 Hz. A soft filter falls by 20 dB
within 1200 Hz, more than speech does by itself (about 12 dB), and long before its steepest place, which is
where it reaches the noise floor. The steep edge is taken where it is a wall, or where both agree.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

HIGHEST_HZ = 12_000.0  # Nyquist frequency of what is made
FULL_BAND_HZ = 9_500.0  # above it a 24 kHz recording misses little, and the model has nothing to add that it was trained for
NYQUISTS_HZ = (4_000.0, 5_512.5, 6_000.0, 8_000.0, 11_025.0)  # of common sample rates, whose filters make the edge
_FRAME_S, _BIN_HZ = 0.04, 25.0
_SHELF = 16  # bins before an edge that are compared with what follows: 400 Hz
_LOWEST_HZ = 2_500.0  # formants and nasals make edges of their own below
_STEEP = (350.0, 18.0)  # Hz and dB
_SOFT = ((350.0, 15.0), (700.0, 17.0), (1_200.0, 20.0))
_WALL_DB = 40.0  # a fall that only a resampler makes
_AGREE_HZ = 1_500.0
_FALLEN_DB = 6.0
_CLOSES = 0.965  # part of its Nyquist frequency at which a resampler has fallen by that
_MARGIN_HZ = 400.0  # an edge this near to the Nyquist frequency is that frequency's own filter
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
        cutoff_hz = edge_hz(self._percentile()[: int(top / _BIN_HZ)], top)
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


def edge_hz(level: NDArray[np.float64], top_hz: float) -> float:
    """Return the upper edge of a spectrum.

    Args:
        level: dB in bins of 25 Hz from 0 Hz.
        top_hz: Where the spectrum ends.

    Returns:
        Hz; `top_hz` where no edge is found below it.
    """
    steep, soft = _find(level, (_STEEP,), steepest=True), _find(level, _SOFT, steepest=False)
    if steep is not None and (steep[1] >= _WALL_DB or soft is None or abs(_fallen(level, steep[0]) - _fallen(level, soft[0])) <= _AGREE_HZ):
        edge = _fallen(level, steep[0]) / _CLOSES
        edge = next((nyquist for nyquist in NYQUISTS_HZ if abs(edge - nyquist) <= 0.025 * nyquist), edge)
    elif soft is not None:
        edge = _fallen(level, soft[0])
    else:
        return top_hz
    return min(edge, top_hz) if edge < top_hz - _MARGIN_HZ else top_hz


def _find(level: NDArray[np.float64], rules: Any, *, steepest: bool) -> tuple[int, float] | None:
    """Return the bin where a shelf ends and the fall after it: the largest fall, or the first that is large enough by any rule."""
    highest = np.maximum.accumulate(level[::-1])[::-1]
    sums = np.cumsum(np.concatenate([[0.0], level]))
    found: list[tuple[int, float]] = []
    for width_hz, fall_db in rules:
        gap = round(width_hz / _BIN_HZ)
        bins = np.arange(round(_LOWEST_HZ / _BIN_HZ), len(level) - gap)
        if len(bins):
            falls = (sums[bins] - sums[bins - _SHELF]) / _SHELF - highest[bins + gap]
            at = int(falls.argmax()) if steepest else int(np.argmax(falls >= fall_db))
            if falls[at] >= fall_db:
                found.append((int(bins[at]), float(falls[at])))
    return min(found, default=None)


def _fallen(level: NDArray[np.float64], start: int) -> float:
    """Return where the smoothed spectrum has fallen by 6 dB from the shelf that ends at a bin, in Hz."""
    smooth = np.convolve(np.pad(level, 3, mode="edge"), np.ones(7) / 7, "valid")
    shelf = level[start - _SHELF : start].mean()
    return (start + int(np.argmax(smooth[start:] <= shelf - _FALLEN_DB))) * _BIN_HZ

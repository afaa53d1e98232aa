"""Where a recording's content ends, whatever its sample rate says, measured block by block in constant memory.

The spectrum is the 95th percentile of each bin's power over the frames in which somebody speaks, so that a few fricatives suffice, however
much silence or noise is around them; `edge` finds its upper end. Who speaks is known at the end only: frames are counted by loudness.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from lcm.upscaling.edge import BIN_HZ, edge_hz

HIGHEST_HZ = 12_000.0  # Nyquist frequency of what is made
FULL_BAND_HZ = 9_500.0  # above it a 24 kHz recording misses little, and the model has nothing to add that it was trained for
_FRAME_S = 0.04
_FLOOR_DB, _LEVELS = -140, 200  # the histograms: 1 dB a level
_CLASS_DB = 5  # frames within so much loudness share a histogram
_LOUD_FRAMES, _LOUD_PART = 25, 0.05  # so many frames (half a second), or that part of a short recording, are its loud ones
_ACTIVE_DB = 35  # below the loud frames: speech's own range; what is weaker does not count
_HIGHEST_GAIN = 1e3
_SILENT_DB = -100.0  # of the highest sample against full scale
_LOUD_DB = (-20.0, -8.0)  # power that loud frames are brought to; training's own is -26 to -8


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
        self._bins = int(min(sample_rate / 2, HIGHEST_HZ) / BIN_HZ)
        self._window = np.hanning(self._size)
        self._rest: NDArray[np.float32] | None = None
        self._counts = np.zeros((_LEVELS // _CLASS_DB, self._bins, _LEVELS), dtype=np.int32)
        self._loudness = np.zeros(_LEVELS, dtype=np.int64)
        self._peak = 0.0

    def add(self, block: NDArray[np.float32]) -> None:
        """Take the next samples, [n, C] of any n."""
        if block.size:
            self._peak = max(self._peak, float(np.abs(block).max()))
        joined = block if self._rest is None else np.concatenate([self._rest, block])
        hop = self._size // 2
        frames = max(0, (len(joined) - self._size) // hop + 1)
        if frames:
            self._count(sliding_window_view(joined, self._size, axis=0)[::hop])
        self._rest = joined[frames * hop :].copy()

    def _count(self, frames: NDArray[np.float32]) -> None:
        """Count frames [n, C, size]."""
        at_once = max(1, 64 // frames.shape[1])  # bounds the memory of many channels
        for start in range(0, len(frames), at_once):
            some = frames[start : start + at_once].astype(np.float64)
            loudness = _level(np.square(some).mean(axis=(1, 2)))
            spectrum = np.fft.rfft(some * self._window, axis=2)[..., : self._bins]
            levels = _level((np.square(spectrum.real) + np.square(spectrum.imag)).mean(axis=1))
            cells = (loudness[:, None] // _CLASS_DB * self._bins + np.arange(self._bins)) * _LEVELS + levels
            np.add.at(self._counts.reshape(-1), cells.reshape(-1), np.int32(1))  # along one axis and of one type it is fast
            self._loudness += np.bincount(loudness, minlength=_LEVELS)

    def result(self) -> Bandwidth:
        """Return the bandwidth of what was added; a recording shorter than a frame is padded to one."""
        top = min(self.sample_rate / 2, HIGHEST_HZ)
        if self._peak < 10 ** (_SILENT_DB / 20):
            return Bandwidth(top, full_band=False, silent=True)
        if not self._loudness.any() and self._rest is not None:
            padded = np.zeros((1, self._rest.shape[1], self._size), np.float32)
            padded[0, :, : len(self._rest)] = self._rest.T
            self._count(padded)
        loud = self._loud()
        active = self._counts[max(0, loud - _ACTIVE_DB) // _CLASS_DB :].sum(axis=0)
        cutoff_hz = edge_hz(_percentile(active), top)
        wanted_db = min(max(loud + _FLOOR_DB, _LOUD_DB[0]), _LOUD_DB[1])
        gain = min(10 ** ((wanted_db - loud - _FLOOR_DB) / 20), _HIGHEST_GAIN)
        return Bandwidth(cutoff_hz, full_band=cutoff_hz >= FULL_BAND_HZ, gain=gain)

    def _loud(self) -> int:
        """Return the level that the loud frames reach."""
        above = np.cumsum(self._loudness[::-1])[::-1]
        return int(np.flatnonzero(above >= max(1, min(_LOUD_FRAMES, _LOUD_PART * above[0])))[-1])


def _percentile(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return each bin's 95th percentile in dB, to the width of a level, from counts [bins, levels]."""
    below = np.cumsum(counts, axis=1)
    rank = 0.95 * below[:, -1:]
    at = np.argmax(below >= rank, axis=1)
    before = np.where(at > 0, below[np.arange(len(at)), np.maximum(at - 1, 0)], 0)
    inside = counts[np.arange(len(at)), at]
    level: NDArray[np.float64] = at + (rank[:, 0] - before) / np.maximum(inside, 1) - 0.5 + _FLOOR_DB
    return level


def _level(power: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the histogram's level of a power."""
    level: NDArray[np.int64] = np.clip(np.round(10 * np.log10(power + 1e-30)) - _FLOOR_DB, 0, _LEVELS - 1).astype(np.int64)
    return level

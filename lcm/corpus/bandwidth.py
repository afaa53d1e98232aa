"""True bandwidth of a recording: where its spectrum ends, whatever its sample rate says.

A 22.05 kHz recording that was upsampled to 24 kHz has nothing above 11.025 kHz, and a metric or a loss
that looks there sees only rounding noise. Such an edge is a cliff: the loudest frames fall by tens of
decibels within a few hundred hertz, and stay down up to the Nyquist frequency. Speech, and microphones,
never fall like that.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

HIGHEST_HZ = 12_000.0  # Nyquist frequency of the 24 kHz inside
FRAME_S = 0.04
CLIFF_DB = 18.0  # measured: upsampled recordings fall by 26 to 70 dB, MP3-limited ones by 18 to 23 dB, whole ones by 3 to 15 dB
TRANSITION_HZ = 350.0  # what a resampler's filter takes to fall
SHELF_HZ = 400.0  # width of the band before the edge that is compared with everything after it
LOWEST_EDGE_HZ = 3_000.0  # below it, formants and nasals make cliffs of their own
FLOOR_DB = 3.0  # the cliff ends where the level is this near to what follows
MARGIN_HZ = 400.0  # an edge this near to the Nyquist frequency is that frequency's own filter
SOURCE_NYQUIST_HZ = (4_000.0, 8_000.0, 11_025.0)  # recordings once sampled at 8, 16 and 22.05 kHz
SNAP = 0.95  # resamplers' filters close this far below the Nyquist frequency: 0.955 to 0.99 seen

_GAP, _SHELF = round(TRANSITION_HZ * FRAME_S), round(SHELF_HZ * FRAME_S)  # in bins


def detect_bandwidth_hz(samples: NDArray[Any], sample_rate_hz: int) -> float:
    """Return the frequency above which a recording is empty.

    The spectrum is the 95th percentile over frames of the power in each bin, so that a few fricatives
    suffice. An edge counts if the mean level just before it is CLIFF_DB above the highest level after it.

    Args:
        samples: One channel, [T], in [-1, 1].
        sample_rate_hz: Rate of `samples`.

    Returns:
        Hz, at most 12,000 and at most half the sample rate. Half the sample rate where no cliff is found,
        which is also the answer for a clip with nothing to measure.
    """
    top = min(sample_rate_hz / 2, HIGHEST_HZ)
    level = _spectrum_db(samples, sample_rate_hz)[: int(top * FRAME_S)]
    fall_db, start = _steepest_fall(level)
    if fall_db < CLIFF_DB:
        return top
    floor_db = level[start + _GAP :].max()
    end = start + int(np.argmax(level[start:] <= floor_db + FLOOR_DB))
    return _snap(end / FRAME_S) if end / FRAME_S < top - MARGIN_HZ else top


def _snap(edge_hz: float) -> float:
    """Return the Nyquist frequency of a common source rate if the edge is its filter's, else the edge."""
    return next((nyquist for nyquist in SOURCE_NYQUIST_HZ if SNAP * nyquist <= edge_hz <= nyquist), edge_hz)


def _steepest_fall(level: NDArray[np.float64]) -> tuple[float, int]:
    """Return the largest fall from a shelf to everything after it, in dB, and the bin where the shelf ends."""
    bins = range(int(LOWEST_EDGE_HZ * FRAME_S), len(level) - _GAP)
    falls = [(float(level[k - _SHELF : k].mean() - level[k + _GAP :].max()), k) for k in bins]
    return max(falls, default=(0.0, 0))


def _spectrum_db(samples: NDArray[Any], sample_rate_hz: int) -> NDArray[np.float64]:
    """Return the 95th percentile over half-overlapping frames of the power spectrum, in dB."""
    size = round(FRAME_S * sample_rate_hz)
    padded = np.pad(samples, (0, max(0, size - len(samples))))
    frames = np.lib.stride_tricks.sliding_window_view(padded, size)[:: size // 2]
    power = np.abs(np.fft.rfft(frames * np.hanning(size), axis=1)) ** 2
    level: NDArray[np.float64] = 10 * np.log10(np.percentile(power, 95, axis=0) + 1e-12)
    return level

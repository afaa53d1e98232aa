"""The upper edge of a spectrum.

The corpus asks for a cliff, for which it leaves a recording out (`lcm.corpus.bandwidth`). Here a soft low-pass counts too: what is above
its edge is to be made anew.

Three edges are looked for. A brick wall, a resampler's or a codec's, falls by tens of decibels within 350 Hz. A soft filter falls by 20 dB
within 1200 Hz, more than speech does by itself (about 12 dB), and long before its steepest place, which is where it reaches the noise
floor. The steep edge is taken where it is a wall, or where both agree. The softest filters have no edge: of what they leave, the band
around 9.5 kHz is far weaker than in any recording of the whole band, and the content ends where its level begins to fall. There a low
edge costs little, as only what is missing is added (`missing`).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

BIN_HZ = 25.0
NYQUISTS_HZ = (4_000.0, 5_512.5, 6_000.0, 8_000.0, 11_025.0)  # of common sample rates, whose filters make the edge
_SHELF = 16  # bins before an edge that are compared with what follows: 400 Hz
_LOWEST_HZ = 2_500.0  # formants and nasals make edges of their own below
_STEEP = (350.0, 18.0)  # Hz and dB
_SOFT = ((350.0, 15.0), (700.0, 17.0), (1_200.0, 20.0))
_WALL_DB = 40.0  # a fall that only a resampler makes
_AGREE_HZ = 1_500.0
_FALLEN_DB = 6.0
_CLOSES = 0.965  # part of its Nyquist frequency at which a resampler has fallen by that
_MARGIN_HZ = 400.0  # an edge this near to the Nyquist frequency is that frequency's own filter
_VOICE_HZ, _FAINT_HZ = (2_500.0, 5_000.0), (9_000.0, 10_000.0)
_FAINT_DB = 27.0  # of 270 recordings of speech those that lose more from one band to the other are band-limited, but one
_FADED_DB = 10.0
_FADES_HZ = 7_000.0  # below this an edge that was found is taken for the right one


def edge_hz(level: NDArray[np.float64], top_hz: float) -> float:
    """Return the upper edge of a spectrum.

    Args:
        level: dB in bins of 25 Hz from 0 Hz.
        top_hz: Where the spectrum ends.

    Returns:
        Hz; `top_hz` where no edge is found below it.
    """
    edge, wall = _falls(level, top_hz)
    if edge > _FADES_HZ and not (wall and edge < _FAINT_HZ[0]):
        edge = min(edge, _fades(level))
    return min(edge, top_hz) if edge < top_hz - _MARGIN_HZ else top_hz


def _falls(level: NDArray[np.float64], top_hz: float) -> tuple[float, bool]:
    """Return the edge of a filter, and whether it is a wall; the top where there is none."""
    steep, soft = _find(level, (_STEEP,), steepest=True), _find(level, _SOFT, steepest=False)
    wall = steep is not None and steep[1] >= _WALL_DB
    if steep is not None and (wall or soft is None or abs(_fallen(level, steep[0]) - _fallen(level, soft[0])) <= _AGREE_HZ):
        edge = _fallen(level, steep[0]) / _CLOSES
        return next((nyquist for nyquist in NYQUISTS_HZ if abs(edge - nyquist) <= 0.025 * nyquist), edge), wall
    return (top_hz if soft is None else _fallen(level, soft[0])), False


def _fades(level: NDArray[np.float64]) -> float:
    """Return where a spectrum whose top is faint begins to fall, infinity where it is not, in Hz."""
    low, high = (level[round(start / BIN_HZ) : round(end / BIN_HZ)] for start, end in (_VOICE_HZ, _FAINT_HZ))
    if round(_FAINT_HZ[1] / BIN_HZ) > len(level) or low.mean() - high.mean() < _FAINT_DB:
        return np.inf
    smooth = np.convolve(np.pad(level, 10, mode="edge"), np.ones(21) / 21, "valid")
    strong = np.flatnonzero(smooth > low.mean() - _FADED_DB)
    return (int(strong[-1]) + 1) * BIN_HZ


def _find(level: NDArray[np.float64], rules: Any, *, steepest: bool) -> tuple[int, float] | None:
    """Return the bin where a shelf ends and the fall after it: the largest fall, or the first that is large enough by any rule."""
    highest = np.maximum.accumulate(level[::-1])[::-1]
    sums = np.cumsum(np.concatenate([[0.0], level]))
    found: list[tuple[int, float]] = []
    for width_hz, fall_db in rules:
        gap = round(width_hz / BIN_HZ)
        bins = np.arange(round(_LOWEST_HZ / BIN_HZ), len(level) - gap)
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
    return (start + int(np.argmax(smooth[start:] <= shelf - _FALLEN_DB))) * BIN_HZ

"""Baselines without a model: from the 12 kHz signal back to 24 kHz. Shapes: audio [T] at 24 kHz, [ceil(T / 2)] at 12 kHz.

Sample n at 12 kHz lies at sample 2 n at 24 kHz, in `decimate` and in every upsampler. For a degradation other than
24 -> 12 -> 24 kHz there is no 12 kHz signal: "sinc" is then the degraded signal itself.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lcm.audio import SAMPLE_RATE, resample
from lcm.errors import LcmError

LOW_RATE = SAMPLE_RATE // 2

Samples = NDArray[np.float32]


def decimate(samples: NDArray[Any]) -> Samples:
    """Resample [T] at 24 kHz to [ceil(T / 2)] at 12 kHz with soxr VHQ."""
    return _fit(resample(_one_channel(samples), SAMPLE_RATE, LOW_RATE), -(-len(samples) // 2))


def sinc(low: NDArray[Any], length: int | None = None) -> Samples:
    """Interpolate with soxr VHQ: what is there stays, nothing is added above 6 kHz.

    Args:
        low: [T] at 12 kHz.
        length: Samples wanted, 2 T - 1 or 2 T; 2 T when not given.

    Returns:
        [length] at 24 kHz.
    """
    low = _one_channel(low)
    return _fit(resample(low, LOW_RATE, SAMPLE_RATE), _wanted(low, length))


def linear(low: NDArray[Any], length: int | None = None) -> Samples:
    """Interpolate linearly; the last sample is held. Arguments and result as `sinc`."""
    low = _one_channel(low)
    middle = (low + np.append(low[1:], low[-1:])) / 2
    return np.stack([low, middle], axis=1).reshape(-1)[: _wanted(low, length)]


def zero_order_hold(low: NDArray[Any], length: int | None = None) -> Samples:
    """Repeat each sample: by its nature half a 24 kHz sample late. Arguments and result as `sinc`."""
    low = _one_channel(low)
    return np.repeat(low, 2)[: _wanted(low, length)]


UPSAMPLERS: dict[str, Callable[[NDArray[Any], int | None], Samples]] = {"sinc": sinc, "linear": linear, "zero_order_hold": zero_order_hold}
"""The systems of the records that are upsamplers, by name."""


def _one_channel(samples: NDArray[Any]) -> Samples:
    samples = np.asarray(samples, np.float32)
    if samples.ndim != 1:
        raise LcmError(f"Upsampling takes one channel, [T]; got shape {samples.shape}. Resample the channels one by one.")
    return samples


def _wanted(low: Samples, length: int | None) -> int:
    """Return the length to give, refusing one that the signal cannot have had."""
    if length is None:
        return 2 * len(low)
    if -(-length // 2) != len(low):
        raise LcmError(
            f"Upsampling {len(low)} samples at {LOW_RATE} Hz to {length}: expected {max(0, 2 * len(low) - 1)} or {2 * len(low)}. "
            "Give the length of the signal that was decimated."
        )
    return length


def _fit(samples: Samples, length: int) -> Samples:
    """Cut or zero-pad at the end: soxr rounds the length of an odd clip."""
    return np.pad(samples, (0, max(0, length - len(samples))))[:length]

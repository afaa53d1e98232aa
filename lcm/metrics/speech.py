"""Metrics of the waveform and of intelligibility, one value per item.

Shapes: samples [T] or [B, T] at 24 kHz; values [] or [B]. NaN means "not defined for this clip", never "bad".
"""

from __future__ import annotations

import warnings

import numpy as np
import torch
from torch import Tensor

from lcm.protocol import DEFAULT, Protocol

STOI_RATE_HZ = 10_000  # pystoi's own rate: nothing above 5 kHz reaches STOI


def si_sdr(estimate: Tensor, target: Tensor, *, protocol: Protocol = DEFAULT) -> Tensor:
    """Return the scale-invariant signal-to-distortion ratio.

    Args:
        estimate: Audio [T] or [B, T].
        target: Audio of the same shape.
        protocol: Value of a silent estimate.

    Returns:
        Ratio [] or [B] in dB, without removal of the mean; NaN for a silent target, -100 dB for a silent estimate.

    Source: Le Roux et al. (2019), eq. 4, as in torchmetrics.
    """
    from torchmetrics.functional.audio import scale_invariant_signal_distortion_ratio

    # In float64 torchmetrics' epsilon no longer caps the ratio of quiet clips.
    ratio = scale_invariant_signal_distortion_ratio(estimate.double(), target.double())
    ratio = torch.where(estimate.any(-1), ratio, protocol.silent_si_sdr_db)  # torchmetrics' epsilons would make it 0 dB
    return torch.where(target.any(-1), ratio, torch.nan).float()


def stoi(estimate: Tensor, target: Tensor, *, extended: bool = False, protocol: Protocol = DEFAULT) -> Tensor:
    """Return the short-time objective intelligibility, or its extended form.

    Args:
        estimate: Audio [T] or [B, T] at 24 kHz.
        target: Audio of the same shape.
        extended: True for ESTOI.
        protocol: Names the sample rate.

    Returns:
        Score [] or [B], about 0 to 1; NaN where less than 30 frames (0.4 s) of speech remain after pystoi has removed
        silence, where it would report 1e-5, and for a silent target or estimate.

    Source: Taal et al. (2011); Jensen & Taal (2016) for ESTOI; pystoi.
    """
    pairs = zip(torch.atleast_2d(estimate), torch.atleast_2d(target), strict=True)
    values = [stoi_pair(*to_stoi_rate(e, t, protocol=protocol), extended=extended) for e, t in pairs]
    return torch.tensor(values).reshape(estimate.shape[:-1])


def to_stoi_rate(estimate: Tensor, target: Tensor, *, protocol: Protocol = DEFAULT) -> tuple[np.ndarray, np.ndarray]:
    """Resample a pair [T] to 10 kHz with pystoi's own filter, so that STOI and ESTOI share the work."""
    from pystoi.utils import resample_oct

    arrays = (x.detach().cpu().double().numpy() for x in (estimate, target))
    low, high = (np.asarray(resample_oct(x, STOI_RATE_HZ, protocol.sample_rate_hz)) if x.size else x for x in arrays)
    return low, high


def stoi_pair(estimate: np.ndarray, target: np.ndarray, *, extended: bool) -> float:
    """Return STOI or ESTOI of a pair [T] at 10 kHz; NaN where it is not defined, see `stoi`."""
    from pystoi import stoi as measure

    if not (np.any(estimate) and np.any(target)):
        return float("nan")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", RuntimeWarning)
        try:
            value = float(measure(target, estimate, STOI_RATE_HZ, extended=extended))
        except (ValueError, IndexError):  # pystoi on a clip shorter than one of its frames
            return float("nan")
    too_short = any("Not enough STFT frames" in str(warning.message) for warning in caught)
    return float("nan") if too_short else value

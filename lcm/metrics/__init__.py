"""Metrics of an estimate against its target, as the evaluation protocol fixes them.

`score` gives every per-utterance metric in one call, sharing spectra; the functions are there singly for [T] or [B, T].
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from lcm.errors import LcmError
from lcm.metrics.distribution import FrechetDistance, FrechetResult
from lcm.metrics.spectral import fine_structure, hf_bias_db, log_power, log_spectral_distances, lsd, mr_stft, power_spectrogram
from lcm.metrics.speech import si_sdr, stoi, stoi_pair, to_stoi_rate
from lcm.protocol import DEFAULT, Protocol

__all__ = [
    "METRICS",
    "FrechetDistance",
    "FrechetResult",
    "fine_structure",
    "hf_bias_db",
    "lsd",
    "mr_stft",
    "power_spectrogram",
    "score",
    "si_sdr",
    "stoi",
]

_WHOLE = (
    "si_sdr",
    "stoi",
    "estoi",
    "lsd",
    "lsd_hf",
    "lsd_lf",
    "lsd_1e6",
    "lsd_hf_1e6",
    "lsd_lf_1e6",
    "mr_stft",
    "hf_bias",
    "fine_structure",
)
METRICS = (*_WHOLE, *DEFAULT.lsd_bands_hz)
"""Every per-utterance metric; last the log-spectral distance in each 500 Hz, see `lcm.records.BAND_METRICS`."""


def score(estimate: Tensor, target: Tensor, *, cutoff_hz: float, bandwidth_hz: float, protocol: Protocol = DEFAULT) -> dict[str, float]:
    """Return every per-utterance metric of one estimate.

    Args:
        estimate: Audio [T] at 24 kHz, samples in -1..1, of the target's length, not level-matched.
        target: Audio [T] at 24 kHz.
        cutoff_hz: The degradation's cutoff: LF lies below it, HF above.
        bandwidth_hz: Where the recording's content ends; nothing above counts in the LSDs, the bias and the fine structure.
        protocol: What the values depend on; records carry its version.

    Returns:
        One value per name of `METRICS`; NaN where a metric is not defined for this clip (silent target, too short, empty band,
        band above where the recording ends).

    Raises:
        LcmError: If the shapes differ, are not [T], or samples are not finite.
    """
    _check(estimate, target)
    estimate, target = estimate.detach().float(), target.detach().float()
    low, high = to_stoi_rate(estimate, target, protocol=protocol)
    values = {
        "si_sdr": float(si_sdr(estimate, target, protocol=protocol)),
        "stoi": stoi_pair(low, high, extended=False),
        "estoi": stoi_pair(low, high, extended=True),
        "mr_stft": float(mr_stft(estimate, target, protocol=protocol)),
    }
    values |= _spectral_scores(estimate, target, cutoff_hz, bandwidth_hz, protocol)
    return {name: values[name] for name in (*_WHOLE, *protocol.lsd_bands_hz)}


def _spectral_scores(estimate: Tensor, target: Tensor, cutoff_hz: float, bandwidth_hz: float, protocol: Protocol) -> dict[str, float]:
    """Return the metrics that share one spectrogram of each signal."""
    power = [power_spectrogram(x, protocol=protocol) for x in (estimate, target)]
    hf = protocol.hf_band_hz(cutoff_hz, bandwidth_hz)
    bands_hz = {"lsd": (0.0, hf[1]), "lsd_hf": hf, "lsd_lf": (0.0, min(hf))}
    steps_hz = {name: (low, min(high, hf[1])) for name, (low, high) in protocol.lsd_bands_hz.items()}
    values = _lsds(power, bands_hz | steps_hz, protocol.lsd_floor, protocol)
    values |= {f"{name}_1e6": value for name, value in _lsds(power, bands_hz, protocol.lsd_floor_16_bit, protocol).items()}
    level_hz = protocol.level_band_hz(cutoff_hz, bandwidth_hz)
    values["hf_bias"] = float(hf_bias_db(power[0], power[1], band_hz=level_hz, protocol=protocol))
    values["fine_structure"] = float(fine_structure(power[0], power[1], band_hz=level_hz, protocol=protocol))
    return values


def _lsds(power: Sequence[Tensor], bands_hz: Mapping[str, tuple[float, float]], floor: float, protocol: Protocol) -> dict[str, float]:
    """Return the log-spectral distance of two powers in each band."""
    estimate_log, target_log = (log_power(p, floor) for p in power)
    distances = log_spectral_distances(estimate_log, target_log, {name: protocol.bins(band_hz) for name, band_hz in bands_hz.items()})
    return {name: float(distance) for name, distance in distances.items()}


def _check(estimate: Tensor, target: Tensor) -> None:
    """Refuse what would give a number that means something else."""
    if estimate.shape != target.shape or estimate.ndim != 1:
        raise LcmError(
            f"score: estimate {list(estimate.shape)} and target {list(target.shape)}: expected two [T] of the same length. "
            "Pass one channel of one clip, trimmed or padded to the target's samples."
        )
    for name, samples in (("estimate", estimate), ("target", target)):
        bad = int((~torch.isfinite(samples)).sum())
        if bad:
            raise LcmError(
                f"score: the {name} holds {bad} samples of {len(samples)} that are NaN or infinite. Look at the system that made it."
            )

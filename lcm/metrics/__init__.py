"""Metrics of an estimate against its target, as the evaluation protocol fixes them.

`score` gives every per-utterance metric in one call, sharing spectra; the functions are there singly for [T] or [B, T].
"""

from __future__ import annotations

import torch
from torch import Tensor

from lcm.errors import LcmError
from lcm.metrics.distribution import FrechetDistance, FrechetResult
from lcm.metrics.spectral import fine_structure, hf_bias_db, log_power, log_spectral_distance, lsd, mr_stft, power_spectrogram
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

METRICS = (
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


def score(estimate: Tensor, target: Tensor, *, cutoff_hz: float, bandwidth_hz: float, protocol: Protocol = DEFAULT) -> dict[str, float]:
    """Return every per-utterance metric of one estimate.

    Args:
        estimate: Audio [T] at 24 kHz, samples in -1..1, of the target's length, not level-matched.
        target: Audio [T] at 24 kHz.
        cutoff_hz: The degradation's cutoff: LF lies below it, HF above.
        bandwidth_hz: Where the recording's content ends; nothing above counts in the LSDs, the bias and the fine structure.
        protocol: What the values depend on; records carry its version.

    Returns:
        One value per name of `METRICS`; NaN where a metric is not defined for this clip (silent target, too short, empty band).

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
    return {name: values[name] for name in METRICS}


def _spectral_scores(estimate: Tensor, target: Tensor, cutoff_hz: float, bandwidth_hz: float, protocol: Protocol) -> dict[str, float]:
    """Return the metrics that share one spectrogram of each signal."""
    power = [power_spectrogram(x, protocol=protocol) for x in (estimate, target)]
    hf = protocol.hf_band_hz(cutoff_hz, bandwidth_hz)
    bands = {"lsd": (0.0, hf[1]), "lsd_hf": hf, "lsd_lf": (0.0, min(hf))}
    values = {}
    for suffix, floor in (("", protocol.lsd_floor), ("_1e6", protocol.lsd_floor_16_bit)):
        logs = [log_power(p, floor) for p in power]
        for name, band_hz in bands.items():
            a, b = (x[protocol.bins(band_hz)] for x in logs)
            values[name + suffix] = float(log_spectral_distance(a, b))
    level_hz = protocol.level_band_hz(cutoff_hz, bandwidth_hz)
    values["hf_bias"] = float(hf_bias_db(power[0], power[1], band_hz=level_hz, protocol=protocol))
    values["fine_structure"] = float(fine_structure(power[0], power[1], band_hz=level_hz, protocol=protocol))
    return values


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

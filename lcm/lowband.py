"""Low-band copy and gain match: the degraded input keeps the band that it still holds.

Both use one linear-phase FIR low-pass, centred so that nothing moves in time. An FIR was chosen over a mask on the
whole clip's spectrum because its reach is finite (512 samples, 21 ms): chunks, streams and padded batches give the
same samples as the whole file.

Shapes: audio [..., T] at 24 kHz.
Sources: low-band replacement as in AudioSR (Liu et al. 2023) and FLowHigh (Yun et al. 2025); the raised-cosine
spectrum and its impulse response: Proakis, Digital Communications, eq. 9.2-26 and 9.2-27.
"""

from __future__ import annotations

import functools

import torch
from torch import Tensor
from torch.nn import functional as F

from lcm.audio import SAMPLE_RATE
from lcm.errors import LcmError

HALF_TAPS = 512  # reach of the filter on either side, in samples
_BLOCK = 4096
PASSBAND = 0.94  # soxr VHQ is flat to 0.94 of its cutoff and 6 dB down at 0.95: ending at the cutoff leaves a dark line
CROSSOVER_HZ = 300.0
GAIN_BANDS = ("full", "edge", "none")
EDGE_HZ = 1_500.0
MAX_GAIN = 10.0  # 20 dB: an estimate that faded further is a failure, not a level error


def low_band_copy(estimate: Tensor, degraded: Tensor, cutoff_hz: float, width_hz: float = CROSSOVER_HZ) -> Tensor:
    """Replace the estimate's low band by the degraded input's, with a complementary raised-cosine crossover.

    The crossover ends at 0.94 of the cutoff, where the degraded signal is still whole. Its two sides sum to one:
    copying a signal onto itself returns it.

    Args:
        estimate: Audio [..., T] at 24 kHz that is right above the cutoff.
        degraded: Audio [..., T] at 24 kHz, time-aligned to the estimate, that is right below the cutoff.
        cutoff_hz: The degradation's cutoff, above `width_hz` and at most 12,000.
        width_hz: Width of the crossover, above 0.

    Returns:
        Audio [..., T] of the estimate's dtype; gradients flow to both inputs.

    Raises:
        LcmError: If the shapes differ or the band is impossible.
    """
    _check_pair(estimate, degraded)
    return estimate + _low_pass(degraded - estimate, cutoff_hz, width_hz).to(estimate.dtype)


def gain_match(estimate: Tensor, degraded: Tensor, cutoff_hz: float, width_hz: float = CROSSOVER_HZ, *, band: str = "full") -> Tensor:
    """Scale the estimate so that its band below the cutoff has the degraded signal's energy.

    A silent degraded clip gives silence; a silent estimate stays as it is. The gain is at most 20 dB.

    Args:
        estimate: Audio [..., T] at 24 kHz; each item of the leading axes gets a gain of its own.
        degraded: Audio [..., T] at 24 kHz, time-aligned to the estimate.
        cutoff_hz: The degradation's cutoff, above `width_hz` and at most 12,000.
        width_hz: Width of the low-pass filter's slope, above 0.
        band: What is compared: `full`, all below the cutoff; `edge`, its upper 1.5 kHz, which fits the seam at the cost of
            SI-SDR where the estimate is too quiet there; `none`, nothing: the estimate is returned as it is.

    Returns:
        Audio [..., T] of the estimate's dtype; gradients flow to both inputs.

    Raises:
        LcmError: If the shapes differ or the band is impossible.
    """
    _check_pair(estimate, degraded)
    if band not in GAIN_BANDS:
        raise LcmError(f"Gain match: band {band!r} is unknown: choose one of {', '.join(GAIN_BANDS)} (evaluate.gain).")
    if band == "none":
        return estimate
    wanted, found = (_energy(audio, cutoff_hz, width_hz, edge=band == "edge") for audio in (degraded, estimate))
    tiny = torch.finfo(found.dtype).tiny
    # The square root's slope is infinite at 0: the inner `where` keeps that out of the gradient.
    ratio = wanted / found.clamp(min=tiny)
    gain = torch.where(ratio > 0, torch.where(ratio > 0, ratio, 1.0).sqrt(), 0.0)
    gain = torch.where(found > tiny, gain, 1.0)
    return estimate * gain.clamp(max=MAX_GAIN).to(estimate.dtype)


def _energy(audio: Tensor, cutoff_hz: float, width_hz: float, *, edge: bool) -> Tensor:
    """Return the energy of [..., T] below the cutoff, or in the upper EDGE_HZ below it, [..., 1]."""
    kept = _low_pass(audio, cutoff_hz, width_hz)
    if edge:
        kept = kept - _low_pass(audio, cutoff_hz - min(EDGE_HZ, 0.5 * cutoff_hz), width_hz)
    return kept.square().sum(-1, keepdim=True)


@functools.lru_cache(maxsize=4096)  # 4 kB each; random cutoffs are whole Hz between 4 and 8 kHz
def low_pass_taps(cutoff_hz: float, width_hz: float) -> Tensor:
    """Return the linear-phase low-pass, [2 * 512 + 1] taps, whose slope ends at 0.94 of the cutoff.

    Args:
        cutoff_hz: The degradation's cutoff in Hz, above `width_hz` and at most 12,000.
        width_hz: Width of the raised-cosine slope in Hz, above 0.

    Returns:
        Symmetric taps of unit gain at 0 Hz; do not change them in place, they are shared.

    Raises:
        LcmError: If the slope does not fit between 0 Hz and the cutoff.
    """
    if not 0 < width_hz < PASSBAND * cutoff_hz or cutoff_hz > SAMPLE_RATE / 2:
        raise LcmError(
            f"Low-band copy: cutoff_hz={cutoff_hz:g} with width_hz={width_hz:g} is no band at {SAMPLE_RATE} Hz: "
            f"expected 0 < width_hz < {PASSBAND} * cutoff_hz and cutoff_hz <= {SAMPLE_RATE // 2}. Change one of them."
        )
    middle = (PASSBAND * cutoff_hz - width_hz / 2) / SAMPLE_RATE
    width = width_hz / SAMPLE_RATE
    n = torch.arange(-HALF_TAPS, HALF_TAPS + 1, dtype=torch.float64)
    slope = torch.sinc(width * n + 0.5) + torch.sinc(width * n - 0.5)  # cos(pi w n) / (1 - (2 w n)^2), without its 0/0
    taps = 2 * middle * torch.sinc(2 * middle * n) * slope * (torch.pi / 4)
    # The response is cut at 512 samples: a Kaiser window brings the ripple of the cut below -120 dB.
    taps = taps * torch.kaiser_window(len(n), periodic=False, beta=6.0, dtype=torch.float64)
    return (taps / taps.sum()).float()


def _low_pass(audio: Tensor, cutoff_hz: float, width_hz: float) -> Tensor:
    """Filter audio [..., T] in float32 with reflected ends; a clip shorter than the filter's reach ends in zeros."""
    taps = low_pass_taps(float(cutoff_hz), float(width_hz)).to(audio.device)
    rows = audio.float().reshape(-1, audio.shape[-1])
    mirrored = min(HALF_TAPS, rows.shape[-1] - 1)
    rows = F.pad(rows, (mirrored, mirrored), mode="reflect")
    rows = F.pad(rows, (HALF_TAPS - mirrored, HALF_TAPS - mirrored))
    count, valid = rows.shape[-1] - 2 * HALF_TAPS, _BLOCK - 2 * HALF_TAPS  # overlap-save: short transforms stay in the cache
    blocks = F.pad(rows, (0, -count % valid)).unfold(-1, _BLOCK, valid)
    filtered = torch.fft.irfft(torch.fft.rfft(blocks) * torch.fft.rfft(taps, n=_BLOCK), n=_BLOCK)
    aligned: Tensor = filtered[..., 2 * HALF_TAPS :].flatten(-2)[..., :count]
    return aligned.reshape(audio.shape)


def _check_pair(estimate: Tensor, degraded: Tensor) -> None:
    """Refuse inputs that would be broadcast silently."""
    if estimate.shape != degraded.shape or estimate.shape[-1] < 1:
        raise LcmError(
            f"Low-band copy: estimate {list(estimate.shape)} and degraded {list(degraded.shape)} differ in shape or are empty: "
            "expected the same [..., T] with T >= 1. Trim or pad them to the same samples first."
        )

"""PESQ as a loss, by the optional package torch-pesq (Schmidt et al., audiolabs): P.862 without time alignment.

Shapes: audio [B, T] at 24 kHz.
"""

from __future__ import annotations

from functools import lru_cache
from importlib import import_module
from typing import Any

import torch
from torch import Tensor

from lcm.compat import import_encodec
from lcm.errors import LcmError

TAIL = 4096  # samples in which the responses of PESQ's filters fall below 1e-12 of their peak
DITHER = 1e-5  # deviation, -100 dB: PESQ divides by the level of each signal


def pesq(estimate: Tensor, target: Tensor, cutoff_hz: Tensor) -> Tensor:
    """Return the points that each clip loses on the raw P.862 scale: 0 is perfect, 4.5 less it is the raw score.

    A training term: a PESQ that is reported for a model trained with it must be flagged as optimised. ROSE-CD weighs it by
    5e-4. Both signals get the same faint noise, so that a silent one has a finite loss and gradient.

    Args:
        estimate: [B, T], at least 8064 samples.
        target: [B, T].
        cutoff_hz: Unused; every audio term is given it.

    Returns:
        [B].

    Raises:
        LcmError: torch-pesq is not installed.
    """
    noise = DITHER * torch.randn(estimate.shape[-1], generator=torch.Generator().manual_seed(0)).to(estimate)
    loss: Tensor = _module(estimate.device)(target + noise, estimate + noise)
    return loss.to(estimate.dtype)


@lru_cache(maxsize=2)
def _module(device: torch.device) -> Any:
    import_encodec()  # makes torchaudio importable beside any torch build
    try:
        inner = import_module("torch_pesq.loss")
    except ImportError as error:
        raise LcmError(
            f"losses.pesq needs the package torch-pesq ({error}): run `pip install lcm-superres[pesq]`, or set losses.pesq=0."
        ) from error
    # Without torchaudio's compiled extension its lfilter is a Python loop over samples that overwrites what its own backward
    # needs ("modified by an inplace operation"). torch-pesq looks the function up in its module, so another can take its place.
    inner.lfilter = iir  # type: ignore[attr-defined]  # the module's own global
    return inner.PesqLoss(1.0, sample_rate=24_000).to(device)


def iir(waveform: Tensor, a_coeffs: Tensor, b_coeffs: Tensor, clamp: bool = True) -> Tensor:
    """Filter [..., T] by the recursive filter b / a, differentiably, at once and not sample by sample.

    The response is sampled at the frequencies of an FFT that is longer than the signal by `TAIL`: its impulse response then
    wraps around where it has died out. Arguments are those of `torchaudio.functional.lfilter`.

    Source: Oppenheim & Schafer, Discrete-Time Signal Processing, section 8.4 (sampling the Fourier transform).
    """
    length = waveform.shape[-1]
    size = 1 << (length + TAIL - 1).bit_length()
    response = torch.fft.rfft(b_coeffs.double(), size) / torch.fft.rfft(a_coeffs.double(), size)
    spectrum = torch.fft.rfft(waveform, size) * response.to(torch.complex64 if waveform.dtype == torch.float32 else torch.complex128)
    filtered: Tensor = torch.fft.irfft(spectrum, size)[..., :length]
    return torch.clamp(filtered, -1, 1) if clamp else filtered

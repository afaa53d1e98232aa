"""Named, weighted loss terms. The waveform terms act on the decoded student: gradients pass the frozen decoder.

Shapes: audio [B, T], states [B, C, F], masks [B, F].
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass
class LossConfig:
    """Weights of the auxiliary terms; 0 switches a term off at no cost.

    Attributes:
        waveform_l1: Mean absolute waveform error, relative to the clip's level.
        mr_stft: Multi-resolution STFT loss (Yamamoto et al. 2020; auraloss).
        hf_log_magnitude: L1 of the log magnitude at 6-12 kHz.
        si_sdr: Negative SI-SDR in units of 10 dB (Le Roux et al. 2019).
        token_ce: Cross-entropy of the codebook logits, in nats.
    """

    waveform_l1: float = 0.0
    mr_stft: float = 0.0
    hf_log_magnitude: float = 0.0
    si_sdr: float = 0.0
    token_ce: float = 0.0

    @property
    def on(self) -> dict[str, float]:
        """The terms with a weight, by name."""
        return {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name) != 0}

    @property
    def needs_audio(self) -> bool:
        """Whether any term looks at decoded audio."""
        return any(name != "token_ce" for name in self.on)


def pseudo_huber(error: Tensor, mask: Tensor, block_weights: Tensor, *, dimension: int) -> Tensor:
    """Return the pseudo-Huber distance a clip, [B]: per frame over channels, mean over real frames.

    Args:
        error: [B, N * D, F].
        mask: True where a frame is real, [B, F].
        block_weights: [N], mean 1.
        dimension: D.

    Source: Song & Dhariwal 2023 (iCT), eq. 7, c = 0.00054 sqrt(d) with d per frame, so that crop length does not matter.
    """
    squared = (error.unflatten(1, (-1, dimension)).square().sum(2) * block_weights[:, None]).sum(1)
    c = 0.00054 * error.shape[1] ** 0.5
    return masked_mean((squared + c * c).sqrt() - c, mask)


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Return the mean of [B, F] over real frames, [B]."""
    return (values * mask).sum(-1) / mask.sum(-1).clamp_min(1)


def waveform_l1(estimate: Tensor, target: Tensor) -> Tensor:
    """Return the mean absolute error over the clip's mean level; 0 is perfect, 1 is silence."""
    return ((estimate - target).abs().mean(-1) / target.abs().mean(-1).clamp_min(1e-4)).mean()


@lru_cache(maxsize=1)
def _mr_stft() -> Any:
    from auraloss.freq import MultiResolutionSTFTLoss

    return MultiResolutionSTFTLoss()


def mr_stft(estimate: Tensor, target: Tensor) -> Tensor:
    """Return auraloss' multi-resolution STFT loss at its defaults (1024, 2048, 512)."""
    loss: Tensor = _mr_stft()(estimate[:, None], target[:, None])
    return loss


def hf_log_magnitude(estimate: Tensor, target: Tensor) -> Tensor:
    """Return the mean absolute difference of log10 power (floor 1e-6) at 6-12 kHz, hann 2048, hop 512."""
    window = torch.hann_window(2048, device=estimate.device)
    both = torch.stft(torch.cat([estimate, target]), 2048, 512, window=window, return_complex=True)[:, 512:]
    a, b = torch.log10(both.real.square() + both.imag.square() + 1e-6).chunk(2)
    return (a - b).abs().mean()


def si_sdr(estimate: Tensor, target: Tensor) -> Tensor:
    """Return the negative SI-SDR in units of 10 dB, mean over clips; a silent clip is bounded by the floor."""
    scale = (estimate * target).sum(-1, keepdim=True) / target.square().sum(-1, keepdim=True).clamp_min(1e-6)
    signal = scale * target
    ratio = (signal.square().sum(-1) + 1e-8) / ((estimate - signal).square().sum(-1) + 1e-8)
    return -torch.log10(ratio).mean()


def token_ce(logits: Tensor, codes: Tensor, mask: Tensor) -> Tensor:
    """Return the cross-entropy of logits [B, K, F, bins] against codes [B, K, F] over real frames, in nats."""
    loss = F.cross_entropy(logits.flatten(0, 2), codes.flatten(), reduction="none").unflatten(0, codes.shape)
    return masked_mean(loss.mean(1), mask).mean()


AUDIO_TERMS = {f.__name__: f for f in (waveform_l1, mr_stft, hf_log_magnitude, si_sdr)}

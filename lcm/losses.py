"""Named, weighted loss terms, each per clip. The audio terms act on the decoded student: gradients pass the frozen decoder.

Shapes: audio [B, T] at 24 kHz, masks [B, F], results [B]. `lcm.auxiliary` chooses what of each clip a term sees.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional as F

from lcm.errors import LcmError
from lcm.pesq_loss import pesq

TERMS = ("waveform_l1", "mr_stft", "hf_log_magnitude", "si_sdr", "token_ce", "pesq")


@dataclass
class LossConfig:
    """Weights of the auxiliary terms; 0 switches a term off at no cost.

    On the command line of a sweep: `losses.mr_stft=0.5`; `+losses.auto.mr_stft=0.3` or `+losses.auto={mr_stft:0.3,si_sdr:0.1}`
    (hydra wants the plus, since it adds keys); in YAML: `losses: {auto: {mr_stft: 0.3}}`.

    Attributes:
        waveform_l1: Mean absolute waveform error, relative to the clip's level.
        mr_stft: Multi-resolution STFT loss (Yamamoto et al. 2020).
        hf_log_magnitude: L1 of the log power from the clip's cutoff to 12 kHz, in units of 10 dB.
        si_sdr: Negative SI-SDR in units of 10 dB (Le Roux et al. 2019).
        token_ce: Cross-entropy of the codebook logits, in nats.
        pesq: Lost points of raw P.862 PESQ; needs `pip install lcm-superres[pesq]`. Flag a reported metric that was optimised.
        copied: Whether the waveform terms (waveform_l1, si_sdr) hear the estimate with the original's low band in place of
            its own, as the low-band copy after decoding leaves it: what will be replaced is then not paid for.
        auto: Term -> share of the consistency gradient's norm that its weight is calibrated to; its own weight stays 0.
        auto_every: Steps between calibrations.

    Raises:
        LcmError: `auto` names no term, a term that has a weight too, or a share that is not above 0.
    """

    waveform_l1: float = 0.0
    mr_stft: float = 0.0
    hf_log_magnitude: float = 0.0
    si_sdr: float = 0.0
    token_ce: float = 0.0
    pesq: float = 0.0
    copied: bool = True
    auto: dict[str, float] = field(default_factory=dict)
    auto_every: int = 200

    def __post_init__(self) -> None:
        for name, share in self.auto.items():
            if name not in TERMS:
                raise LcmError(f"losses.auto names {name!r}, which is no term: choose of {', '.join(TERMS)}.")
            if getattr(self, name) != 0:
                raise LcmError(f"losses.{name}={getattr(self, name)} and losses.auto.{name}={share} both set one weight: drop one of them.")
            if not 0 < share < float("inf"):
                raise LcmError(f"losses.auto.{name}={share} must be a share above 0 of the consistency gradient's norm, such as 0.3.")
        if self.auto_every < 1:
            raise LcmError(f"losses.auto_every={self.auto_every} must be at least 1 step.")

    @property
    def on(self) -> dict[str, float]:
        """The terms with a weight or an automatic one, by name; automatic weights are 0.0 until they are calibrated."""
        return {name: getattr(self, name) for name in TERMS if getattr(self, name) != 0 or name in self.auto}

    @property
    def needs_audio(self) -> bool:
        """Whether any term looks at decoded audio."""
        return any(name in AUDIO_TERMS for name in self.on)


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Return the mean of [B, F] over real frames, [B]; 0 for a clip without any."""
    return torch.where(mask, values, 0.0).sum(-1) / mask.sum(-1).clamp_min(1)


def token_ce(logits: Tensor, codes: Tensor, mask: Tensor) -> Tensor:
    """Return the cross-entropy of logits [B, K, F, bins] against codes [B, K, F] over real frames, in nats, [B]."""
    loss = F.cross_entropy(logits.flatten(0, 2), codes.flatten(), reduction="none").unflatten(0, codes.shape)
    return masked_mean(loss.mean(1), mask)


def waveform_l1(estimate: Tensor, target: Tensor, cutoff_hz: Tensor) -> Tensor:
    """Return the mean absolute error over the clip's mean level (floor 1e-4); 0 is perfect, 1 is silence."""
    return (estimate - target).abs().mean(-1) / target.abs().mean(-1).clamp_min(1e-4)


MR_STFT_RESOLUTIONS = ((1024, 120, 600), (2048, 240, 1200), (512, 50, 240))
"""FFT size, hop and window in samples: auraloss's defaults, which the metric uses too."""


def mr_stft(estimate: Tensor, target: Tensor, cutoff_hz: Tensor) -> Tensor:
    """Return the multi-resolution STFT loss: spectral convergence + L1 of natural log magnitudes, mean over resolutions.

    Source: Yamamoto et al. 2020, eq. 2-6. Equals auraloss's on one clip; on several, auraloss's spectral convergence is a
    norm over the whole batch, so that a loud clip would outvote the others.
    """
    # Four clips at a time stay in the processor's cache: half the time of 16 at once, measured on a CPU.
    parts = list(zip(estimate.split(4), target.split(4), strict=True))
    each = [torch.cat([_stft_distance(*part, *sizes) for part in parts]) for sizes in MR_STFT_RESOLUTIONS]
    return torch.stack(each).mean(0)


def _stft_distance(estimate: Tensor, target: Tensor, *sizes: int) -> Tensor:
    x, y = (_powers(audio, *sizes).clamp_min(1e-8).sqrt().flatten(1) for audio in (estimate, target))  # the floor is auraloss's
    distance: Tensor = torch.linalg.vector_norm(y - x, dim=1) / torch.linalg.vector_norm(y, dim=1) + (y.log() - x.log()).abs().mean(1)
    return distance


HF_SIZE, HF_HOP, HF_FLOOR = 2048, 512, 1e-8
UNKNOWN_CUTOFF_HZ = 4000.0
"""Where the high band starts for a clip whose cutoff is not told (0 Hz): the lowest cutoff that is trained on."""


def hf_log_magnitude(estimate: Tensor, target: Tensor, cutoff_hz: Tensor) -> Tensor:
    """Return the mean absolute difference of log10 power between the clip's cutoff and 12 kHz: 1 is 10 dB.

    Args:
        estimate: [B, T].
        target: [B, T].
        cutoff_hz: Where each clip's missing band starts, in Hz, [B]; 0 counts as 4000.

    Source: the protocol's STFT (hann 2048, hop 512) and its power floor of 1e-8, so that quiet frames count as they do in
    LSD; an L1 form of the log-spectral distance (Gray & Markel 1976), as AP-BWE's amplitude loss (Lu et al. 2024) but on
    the missing band alone.
    """
    a, b = (torch.log10(_powers(audio, HF_SIZE, HF_HOP, HF_SIZE) + HF_FLOOR) for audio in (estimate, target))
    centres_hz = torch.linspace(0, 12_000, HF_SIZE // 2 + 1, device=estimate.device)
    start_hz = torch.where(cutoff_hz > 0, cutoff_hz, UNKNOWN_CUTOFF_HZ).to(estimate.device)
    return masked_mean((a - b).abs().mean(-1), centres_hz >= start_hz[:, None])


def _powers(audio: Tensor, size: int, hop: int, window: int) -> Tensor:
    """Return the un-normalised power spectrum [B, bins, frames] of [B, T], with a Hann window; sizes in samples."""
    hann = torch.hann_window(window, device=audio.device)
    spectrum = torch.stft(audio, size, hop, window, hann, return_complex=True)
    return spectrum.real.square() + spectrum.imag.square()


def si_sdr(estimate: Tensor, target: Tensor, cutoff_hz: Tensor) -> Tensor:
    """Return the negative SI-SDR in units of 10 dB.

    Signal and error each get a floor of -80 dB of mean power: it bounds the value and the gradient where a clip or its
    estimate is silent, and caps speech at -20 dB at 60 dB.

    Source: Le Roux et al. 2019, eq. 3.
    """
    scale = (estimate * target).mean(-1, keepdim=True) / target.square().mean(-1, keepdim=True).clamp_min(1e-8)
    signal = scale * target
    return -torch.log10((signal.square().mean(-1) + 1e-8) / ((estimate - signal).square().mean(-1) + 1e-8))


AudioTerm = Callable[[Tensor, Tensor, Tensor], Tensor]
"""From estimate [B, T], target [B, T] and cutoff_hz [B] to a loss a clip, [B]."""

AUDIO_TERMS: dict[str, AudioTerm] = {f.__name__: f for f in (waveform_l1, mr_stft, hf_log_magnitude, si_sdr, pesq)}

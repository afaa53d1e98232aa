"""Spectral encoder and decoder of `encodec_small`: MDCT frames and ConvNeXt blocks at 75 Hz.

Shapes: audio [B, 1, T], latents [B, D, F] with F = ceil(T / 320) at 24 kHz.
Sources: MDCT with a sine window (Princen & Bradley 1986); ConvNeXt blocks (Liu et al. 2022, as in Vocos).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

HOP = 320
FRAME = 2 * HOP
POWER = 0.7  # magnitudes are compressed as |x|^0.7 before quantisation: a loudness-like weighting
SCALE = 8.0  # brings the compressed coefficients of speech near unit variance


def mdct_basis(hop: int = HOP) -> Tensor:
    """Return the windowed, orthonormal MDCT basis, [2 * hop, hop]."""
    n = torch.arange(2 * hop, dtype=torch.float64)
    k = torch.arange(hop, dtype=torch.float64)
    window = torch.sin(math.pi / (2 * hop) * (n + 0.5))
    phase = math.pi / hop * (n[:, None] + 0.5 + hop / 2) * (k[None, :] + 0.5)
    return (math.sqrt(2 / hop) * window[:, None] * torch.cos(phase)).float()


class Mdct(nn.Module):
    """MDCT analysis and synthesis on frames centred like EnCodec's: frame f covers samples 320 f - 160 .. 320 f + 480."""

    basis: Tensor
    envelope: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("basis", mdct_basis(), persistent=False)
        rising = torch.sin(math.pi / (2 * FRAME) * (2 * torch.arange(HOP) + 1)).square()
        self.register_buffer("envelope", rising[HOP // 2 :], persistent=False)

    def analyse(self, audio: Tensor) -> Tensor:
        """Transform audio [B, 1, T] into coefficients [B, F, 320]."""
        length = audio.shape[-1]
        frames = -(-length // HOP)
        padded = F.pad(audio[:, 0], (HOP // 2, frames * HOP - length + HOP // 2))
        coefficients: Tensor = padded.unfold(-1, FRAME, HOP) @ self.basis
        return coefficients

    def synthesise(self, coefficients: Tensor) -> Tensor:
        """Invert `analyse`: [B, F, 320] to [B, 1, 320 F]. Exact for zero signal outside the clip."""
        frames = coefficients @ self.basis.t()
        first, second = frames[..., :HOP], frames[..., HOP:]
        total = F.pad(first, (0, 0, 0, 1)) + F.pad(second, (0, 0, 1, 0))
        audio = total.flatten(1)[:, HOP // 2 : -(HOP // 2)]
        # The outermost half hop is covered by one frame only: divide by its squared window.
        head = audio[:, : HOP // 2] / self.envelope
        tail = audio[:, -(HOP // 2) :] / self.envelope.flip(0)
        return torch.cat([head, audio[:, HOP // 2 : -(HOP // 2)], tail], dim=1)[:, None]


class ConvNeXtBlock(nn.Module):
    """Depthwise convolution, then a pointwise MLP, with a residual path: [B, F, C] to [B, F, C]."""

    def __init__(self, width: int, kernel: int = 7, expansion: int = 3) -> None:
        super().__init__()
        self.kernel = kernel
        self.depthwise = nn.Parameter(torch.randn(kernel, width) / math.sqrt(kernel))
        self.norm = nn.LayerNorm(width)
        self.up = nn.Linear(width, expansion * width)
        self.down = nn.Linear(expansion * width, width)
        self.gain = nn.Parameter(torch.full((width,), 0.1))

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block."""
        half = self.kernel // 2
        padded = F.pad(x, (0, 0, half, half))
        mixed = sum((padded[:, k : k + x.shape[1]] * self.depthwise[k] for k in range(self.kernel)), torch.zeros(()))
        update: Tensor = self.down(F.gelu(self.up(self.norm(mixed))))
        return x + self.gain * update


class SpectralEncoder(nn.Module):
    """Audio [B, 1, T] to latents [B, 128, ceil(T / 320)]."""

    ratios = (8, 5, 4, 2)  # what EncodecModel derives the 75 Hz frame rate from
    hop_length = HOP
    deviation: Tensor

    def __init__(self, dimension: int = 128, width: int = 256, depth: int = 3) -> None:
        super().__init__()
        self.dimension = dimension
        self.mdct = Mdct()
        self.register_buffer("deviation", torch.ones(HOP))
        self.skip = nn.Linear(HOP, dimension, bias=False)
        self.inward = nn.Linear(HOP, width)
        self.blocks = nn.Sequential(*[ConvNeXtBlock(width) for _ in range(depth)])
        self.norm = nn.LayerNorm(width)
        self.outward = nn.Linear(width, dimension)
        nn.init.eye_(self.skip.weight)
        nn.init.normal_(self.outward.weight, std=0.01)

    def compress(self, audio: Tensor) -> Tensor:
        """Return compressed MDCT coefficients [B, F, 320], always in float32: bf16 would bury the high band in rounding."""
        with torch.autocast(audio.device.type, enabled=False):
            c = self.mdct.analyse(audio.float())
            return SCALE * c * (c.square() + 1e-10).pow((POWER - 1) / 2)

    def forward(self, audio: Tensor) -> Tensor:
        """Encode."""
        c = self.compress(audio)
        hidden = self.norm(self.blocks(self.inward(c / self.deviation)))
        residual = self.outward(hidden)
        with torch.autocast(audio.device.type, enabled=False):
            latents: Tensor = self.skip(c) + residual.float()
        return latents.transpose(1, 2)


class SpectralDecoder(nn.Module):
    """Latents [B, 128, F] to audio [B, 1, 320 F]."""

    deviation: Tensor

    def __init__(self, dimension: int = 128, width: int = 256, depth: int = 6) -> None:
        super().__init__()
        self.mdct = Mdct()
        self.register_buffer("deviation", torch.ones(HOP))
        self.skip = nn.Linear(dimension, HOP, bias=False)
        self.inward = nn.Linear(dimension, width)
        self.blocks = nn.Sequential(*[ConvNeXtBlock(width) for _ in range(depth)])
        self.norm = nn.LayerNorm(width)
        self.outward = nn.Linear(width, HOP)
        nn.init.eye_(self.skip.weight)
        nn.init.normal_(self.outward.weight, std=0.01)

    def forward(self, latents: Tensor) -> Tensor:
        """Decode."""
        z = latents.transpose(1, 2)
        hidden = self.norm(self.blocks(self.inward(z)))
        residual = self.outward(hidden)
        with torch.autocast(latents.device.type, enabled=False):  # rounding here would be louder than the high band
            c = (self.skip(z.float()) + self.deviation * residual.float()) / SCALE
            return self.mdct.synthesise(c * (c.square() + 1e-10).pow((1 / POWER - 1) / 2))

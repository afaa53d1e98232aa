"""`encodec_small`'s encoder and decoder for inference on a CPU: the same sums, fewer passes over memory.

Scales (gain, deviation, level) are folded into the linear layers beside them, the shifted sums are one depthwise convolution, the MDCT and
its overlap-add are convolutions over two hops, and all of them work on channels last. Clips go one by one: a batch leaves the cache.

Shapes: audio [B, 1, T], latents [B, 128, F], in between [1, F, C].
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lcm.channels_last import Pointwise, convolve, two_dimensional
from lcm.spectral import HOP, POWER, SCALE, ConvNeXtBlock, SpectralDecoder, SpectralEncoder

_FLOOR = 1e-10  # as in lcm.spectral


class _Block(nn.Module):
    """ConvNeXtBlock; adds to its input in place."""

    def __init__(self, block: ConvNeXtBlock) -> None:
        super().__init__()
        self.depthwise = two_dimensional(block.depthwise.detach().t()[:, None])  # [C, 1, 1, kernel]
        self.padding, self.norm = block.kernel // 2, block.norm
        self.up = Pointwise.of(block.up)
        self.down = Pointwise(block.gain[:, None] * block.down.weight, block.gain * block.down.bias)

    def forward(self, x: Tensor) -> Tensor:
        mixed = convolve(x, self.depthwise, None, groups=x.shape[-1], padding=self.padding)
        return x.add_(self.down(F.gelu(self.up(self.norm(mixed)))))


class FastEncoder(nn.Module):
    """SpectralEncoder."""

    def __init__(self, encoder: SpectralEncoder) -> None:
        super().__init__()
        first, second = encoder.mdct.basis[:HOP].t(), encoder.mdct.basis[HOP:].t()
        self.basis = two_dimensional(torch.stack([first, second], dim=-1))  # [320, 320, 1, 2]: a frame is two hops
        self.inward = Pointwise(encoder.inward.weight / encoder.deviation, encoder.inward.bias)
        self.blocks = nn.Sequential(*[_Block(b) for b in _blocks(encoder)])
        self.norm, self.outward, self.skip = encoder.norm, Pointwise.of(encoder.outward), Pointwise.of(encoder.skip)

    @torch.no_grad()
    def forward(self, audio: Tensor) -> Tensor:
        """Encode."""
        return torch.cat([self._one(clip) for clip in audio]).transpose(1, 2)

    def _one(self, audio: Tensor) -> Tensor:
        length = audio.shape[-1]
        padded = F.pad(audio, (HOP // 2, -length % HOP + HOP // 2))
        c = _power(convolve(padded.view(1, -1, HOP), self.basis, None), POWER).mul_(SCALE)
        hidden = self.blocks(self.inward(c))
        latents: Tensor = self.skip(c)
        return latents.add_(self.outward(self.norm(hidden)))


class FastDecoder(nn.Module):
    """SpectralDecoder."""

    envelope: Tensor

    def __init__(self, decoder: SpectralDecoder) -> None:
        super().__init__()
        first, second = decoder.mdct.basis[:HOP], decoder.mdct.basis[HOP:]
        self.basis = two_dimensional(torch.stack([second, first], dim=-1))  # a hop is the end of one frame and the start of the next
        self.register_buffer("envelope", decoder.mdct.envelope, persistent=False)
        self.inward = Pointwise.of(decoder.inward)
        self.blocks = nn.Sequential(*[_Block(b) for b in _blocks(decoder)])
        scale = decoder.deviation / SCALE
        self.norm, self.skip = decoder.norm, Pointwise(decoder.skip.weight / SCALE)
        self.outward = Pointwise(scale[:, None] * decoder.outward.weight, scale * decoder.outward.bias)

    @torch.no_grad()
    def forward(self, latents: Tensor) -> Tensor:
        """Decode."""
        return torch.cat([self._one(clip[None].transpose(1, 2).contiguous()) for clip in latents])

    def _one(self, z: Tensor) -> Tensor:
        hidden = self.blocks(self.inward(z))
        c = _power(self.skip(z).add_(self.outward(self.norm(hidden))), 1 / POWER)
        hops = convolve(F.pad(c, (0, 0, 1, 1)), self.basis, None)
        audio = hops.reshape(1, -1)[:, HOP // 2 : -(HOP // 2)]
        audio[:, : HOP // 2] /= self.envelope  # covered by one frame only
        audio[:, -(HOP // 2) :] /= self.envelope.flip(0)
        return audio[:, None]


def _power(c: Tensor, exponent: float) -> Tensor:
    """Return c |c|^(exponent - 1) in place; log and exp are several times faster than pow."""
    return c.mul_(c.square().add_(_FLOOR).log_().mul_((exponent - 1) / 2).exp_())


def _blocks(side: SpectralEncoder | SpectralDecoder) -> list[ConvNeXtBlock]:
    return [block for block in side.blocks if isinstance(block, ConvNeXtBlock)]

"""The LCM-MCB network: a transformer trunk and a cascade of block heads.

Shapes: state [B, N * D, F], condition [B, D, F], denoised state [B, N * D, F], logits [B, K, F, bins].
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lcm.attention import WindowedAttention
from lcm.schedule import c_in, c_noise, c_out, c_skip, fourier_features

CUTOFF_UNIT_HZ = 1000.0


@dataclass
class NetworkConfig:
    """Size of the network.

    Attributes:
        width: Channels W of the trunk.
        depth: Transformer layers.
        heads: Attention heads.
        window: Frames of attention to either side; the receptive field is depth * window (+ 1) frames.
        head_width: Hidden channels of each block head.
        kernel: Frames mixed by the input convolution; odd.
        bins: Codes per codebook.
        logits: Whether the heads carry token logits; training sets it where a token loss has a weight.
    """

    width: int = 192
    depth: int = 6
    heads: int = 6
    window: int = 32
    head_width: int = 384
    kernel: int = 3
    bins: int = 1024
    logits: bool = False


class Layer(nn.Module):
    """Pre-norm transformer layer, modulated by adaptive layer norm (Peebles & Xie 2023; shared table as in PixArt)."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        width = config.width
        self.attention = WindowedAttention(width, config.heads, config.window)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.table = nn.Parameter(torch.zeros(6, width))

    def forward(self, x: Tensor, modulation: Tensor, mask: Tensor | None) -> Tensor:
        """Transform x [B, F, W] by modulation [B, 6, W]."""
        shift_a, scale_a, gate_a, shift_m, scale_m, gate_m = (modulation + self.table)[:, :, None].unbind(1)
        norm = F.layer_norm(x, x.shape[-1:])
        x = x + (1 + gate_a) * self.attention(norm * (1 + scale_a) + shift_a, mask)
        norm = F.layer_norm(x, x.shape[-1:])
        update: Tensor = self.down(F.gelu(self.up(norm * (1 + scale_m) + shift_m), approximate="tanh"))
        return x + (1 + gate_m) * update


class BlockHead(nn.Module):
    """Predict one block from the trunk and the blocks already predicted; logits over its codebooks on demand."""

    def __init__(self, config: NetworkConfig, dimension: int, before: int, codebooks: int) -> None:
        super().__init__()
        self.trunk = nn.Linear(config.width, config.head_width)
        self.previous = nn.Linear(before * dimension, config.head_width, bias=False) if before else None
        self.out = nn.Linear(config.head_width, dimension)
        self.logits = nn.Linear(config.head_width, codebooks * config.bins) if config.logits else None
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def hidden(self, trunk: Tensor, previous: Tensor | None) -> Tensor:
        """Mix trunk features [B, F, W] and earlier blocks [B, F, before * D]."""
        mixed: Tensor = self.trunk(trunk)
        if self.previous is not None and previous is not None:
            mixed = mixed + self.previous(previous)
        return F.gelu(mixed, approximate="tanh")


@dataclass
class Prediction:
    """What the network says: the denoised state [B, N * D, F] and, if asked, logits [B, K, F, bins]."""

    state: Tensor
    logits: Tensor | None = None


class LcmMcb(nn.Module):
    """f(x, sigma, c): the denoised state of noisy codebook blocks, given the degraded audio's latents.

    Args:
        config: Sizes.
        partition: Codebooks per block.
        dimension: Latent channels D of the codec.

    Source: preconditioning of Karras et al. 2022 (EDM), eq. 7; f(x, 0) = x exactly.
    """

    def __init__(self, config: NetworkConfig, partition: tuple[int, ...], dimension: int) -> None:
        super().__init__()
        self.config, self.partition, self.dimension = config, partition, dimension
        width, blocks = config.width, len(partition)
        self.state_in = nn.Conv1d(blocks * dimension, width, config.kernel, padding=config.kernel // 2)
        self.condition_in = nn.Conv1d(dimension, width, config.kernel, padding=config.kernel // 2)
        self.noise = nn.Sequential(nn.Linear(64, width), nn.SiLU(), nn.Linear(width, width))
        self.cutoff = nn.Linear(64, width)
        self.modulate = nn.Linear(width, 6 * width)
        self.layers = nn.ModuleList([Layer(config) for _ in range(config.depth)])
        self.heads = nn.ModuleList([BlockHead(config, dimension, i, size) for i, size in enumerate(partition)])
        nn.init.zeros_(self.modulate.weight)
        nn.init.zeros_(self.modulate.bias)

    @property
    def receptive_frames(self) -> int:
        """Frames to either side that can change an output frame."""
        return self.config.depth * self.config.window + self.config.kernel // 2

    def forward(
        self, x: Tensor, sigma: Tensor, condition: Tensor, cutoff_hz: Tensor, mask: Tensor | None = None, *, logits: bool = False
    ) -> Prediction:
        """Denoise.

        Args:
            x: Noisy state [B, N * D, F].
            sigma: Noise level [B], > 0; at 0 the answer is x itself and the network must not be asked.
            condition: Standardised latents of the degraded audio [B, D, F].
            cutoff_hz: Bandwidth of the degraded audio [B], in Hz.
            mask: True where a frame is real [B, F]; None means all.
            logits: Whether to compute token logits.
        """
        level = sigma[:, None, None]
        trunk = self._trunk(x * c_in(level), sigma, condition, cutoff_hz, mask)
        skip, out = c_skip(level).transpose(1, 2), c_out(level).transpose(1, 2)
        noisy = x.transpose(1, 2).unflatten(-1, (len(self.partition), self.dimension))
        done: list[Tensor] = []
        scores: list[Tensor] = []
        for i, head in enumerate(self.heads):
            assert isinstance(head, BlockHead)  # ModuleList does not carry its type
            hidden = head.hidden(trunk, torch.cat(done, -1) if done else None)
            done.append(skip * noisy[:, :, i] + out * head.out(hidden))
            if logits and head.logits is not None:
                scores.append(head.logits(hidden).unflatten(-1, (self.partition[i], self.config.bins)))
        state = torch.cat(done, -1).transpose(1, 2)
        return Prediction(state, torch.cat(scores, 2).transpose(1, 2) if scores else None)

    def _trunk(self, scaled: Tensor, sigma: Tensor, condition: Tensor, cutoff_hz: Tensor, mask: Tensor | None) -> Tensor:
        if mask is not None:
            scaled, condition = scaled * mask[:, None], condition * mask[:, None]
        hidden = (self.state_in(scaled) + self.condition_in(condition)).transpose(1, 2)
        label = self.noise(fourier_features(c_noise(sigma), 32)) + self.cutoff(fourier_features(cutoff_hz / CUTOFF_UNIT_HZ / 12, 32))
        modulation = self.modulate(F.silu(label)).unflatten(-1, (6, -1))
        for layer in self.layers:
            hidden = layer(hidden, modulation, mask)
        return F.layer_norm(hidden, hidden.shape[-1:])

"""The LCM-MCB network: a transformer trunk and a cascade of block heads.

Shapes: state [B, N * D, F], condition [B, D, F], denoised state [B, N * D, F], logits [B, K, F, bins].
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from lcm.attention import WindowedAttention
from lcm.errors import LcmError
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
        cascade: Whether head b sees the blocks already predicted; otherwise the heads are independent.
        conditioning: How the degraded audio enters: `concat` (channels, frame by frame), `film` (its mean over time
            modulates every layer: all that a global vector can say) or `cross` (windowed cross-attention in every layer).
    """

    width: int = 192
    depth: int = 6
    heads: int = 6
    window: int = 32
    head_width: int = 384
    kernel: int = 3
    bins: int = 1024
    logits: bool = False
    cascade: bool = True
    conditioning: str = "concat"


CONDITIONINGS = ("concat", "film", "cross")


def check(config: NetworkConfig) -> None:
    """Refuse sizes that do not fit together.

    Raises:
        LcmError: It names the settings.
    """
    if config.conditioning not in CONDITIONINGS:
        raise LcmError(f"network.conditioning={config.conditioning!r} is unknown: choose one of {', '.join(CONDITIONINGS)}.")
    if config.heads < 1 or config.width % (2 * config.heads):
        raise LcmError(f"network.width={config.width} must be a multiple of 2 * network.heads = {2 * config.heads} (rotary pairs).")
    if config.kernel % 2 == 0 or min(config.kernel, config.depth, config.window, config.head_width) < 1:
        raise LcmError(f"network.kernel={config.kernel} must be odd, and depth, window and head_width at least 1.")


class Layer(nn.Module):
    """Pre-norm transformer layer, modulated by adaptive layer norm (Peebles & Xie 2023; shared table as in PixArt)."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        width = config.width
        self.attention = WindowedAttention(width, config.heads, config.window)
        self.cross = WindowedAttention(width, config.heads, config.window) if config.conditioning == "cross" else None
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.table = nn.Parameter(torch.zeros(6, width))

    def forward(self, x: Tensor, modulation: Tensor, mask: Tensor | None, context: Tensor | None) -> Tensor:
        """Transform x [B, F, W] by modulation [B, 6, W]; `context` [B, F, W] is what cross-attention looks at."""
        shift_a, scale_a, gate_a, shift_m, scale_m, gate_m = (modulation + self.table)[:, :, None].unbind(1)
        norm = F.layer_norm(x, x.shape[-1:])
        x = x + (1 + gate_a) * self.attention(norm * (1 + scale_a) + shift_a, mask)
        if self.cross is not None:
            x = x + self.cross(F.layer_norm(x, x.shape[-1:]), mask, context)
        norm = F.layer_norm(x, x.shape[-1:])
        update: Tensor = self.down(F.gelu(self.up(norm * (1 + scale_m) + shift_m), approximate="tanh"))
        return x + (1 + gate_m) * update


class BlockHead(nn.Module):
    """Predict one block from the trunk and a running sum of what earlier blocks said; logits over its codebooks on demand.

    The running sum keeps a cascade cheap: each block is projected once for all later heads, so that the work grows with
    the number of blocks and not with its square.
    """

    def __init__(self, config: NetworkConfig, dimension: int, codebooks: int, *, says: bool) -> None:
        super().__init__()
        self.trunk = nn.Linear(config.width, config.head_width)
        self.out = nn.Linear(config.head_width, dimension)
        self.say = nn.Linear(dimension, config.head_width, bias=False) if says else None
        self.logits = nn.Linear(config.head_width, codebooks * config.bins) if config.logits else None
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)


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
        check(config)
        self.config, self.partition, self.dimension = config, partition, dimension
        width, blocks = config.width, len(partition)
        self.checkpointing = False  # of activations, in training
        self.state_in = nn.Conv1d(blocks * dimension, width, config.kernel, padding=config.kernel // 2)
        self.condition_in = nn.Conv1d(dimension, width, config.kernel, padding=config.kernel // 2)
        self.noise = nn.Sequential(nn.Linear(64, width), nn.SiLU(), nn.Linear(width, width))
        self.cutoff = nn.Linear(64, width)
        self.modulate = nn.Linear(width, 6 * width)
        self.layers = nn.ModuleList([Layer(config) for _ in range(config.depth)])
        says = [config.cascade and i + 1 < blocks for i in range(blocks)]
        self.heads = nn.ModuleList([BlockHead(config, dimension, size, says=s) for size, s in zip(partition, says, strict=True)])
        nn.init.zeros_(self.modulate.weight)
        nn.init.zeros_(self.modulate.bias)

    @property
    def receptive_frames(self) -> int:
        """Frames to either side that can change an output frame; with `film` all can, through the mean over time."""
        return self.config.depth * self.config.window + self.config.kernel // 2

    def forward(
        self, x: Tensor, sigma: Tensor, condition: Tensor, cutoff_hz: Tensor, mask: Tensor | None = None,
        *, logits: bool = False, forced: Tensor | None = None,
    ) -> Prediction:  # fmt: skip
        """Denoise.

        Args:
            x: Noisy state [B, N * D, F].
            sigma: Noise level [B], > 0; at 0 the answer is x itself and the network must not be asked.
            condition: Standardised latents of the degraded audio [B, D, F].
            cutoff_hz: Bandwidth of the degraded audio [B], in Hz; 0 says that it is not known.
            mask: True where a frame is real [B, F]; None means all.
            logits: Whether to compute token logits.
            forced: True state [B, N * D, F] that later heads see in place of earlier heads' predictions.
        """
        level = sigma[:, None, None]
        trunk = self._trunk(x * c_in(level), c_noise(sigma), condition, cutoff_hz, mask)
        skip, out = c_skip(level), c_out(level)
        return self._heads(trunk, skip.transpose(1, 2) * x.transpose(1, 2), out.transpose(1, 2), logits=logits, forced=forced)

    def velocity(self, x: Tensor, time: Tensor, condition: Tensor, cutoff_hz: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return the velocity [B, N * D, F] of flow matching at time [B] in 0 (noise) .. 1 (data), without preconditioning."""
        trunk = self._trunk(x, 2 * time - 1, condition, cutoff_hz, mask)
        return self._heads(trunk, torch.zeros_like(x).transpose(1, 2), torch.ones_like(time)[:, None, None]).state

    def _heads(self, trunk: Tensor, skip: Tensor, out: Tensor, *, logits: bool = False, forced: Tensor | None = None) -> Prediction:
        """Predict block by block from trunk [B, F, W]; `skip` [B, F, N * D] is what passes the network by."""
        done: list[Tensor] = []
        scores: list[Tensor] = []
        said: Tensor | float = 0.0
        past = skip.split(self.dimension, dim=-1)
        true = None if forced is None else forced.transpose(1, 2).split(self.dimension, dim=-1)
        for i, head in enumerate(self.heads):
            assert isinstance(head, BlockHead)  # ModuleList does not carry its type
            hidden = F.gelu(head.trunk(trunk) + said, approximate="tanh")
            done.append(past[i] + out * head.out(hidden))
            if head.say is not None:
                said = said + head.say(done[i] if true is None else true[i])
            if logits and head.logits is not None:
                scores.append(head.logits(hidden).unflatten(-1, (self.partition[i], self.config.bins)))
        state = torch.cat(done, -1).transpose(1, 2)
        return Prediction(state, torch.cat(scores, 2).transpose(1, 2) if scores else None)

    def _trunk(self, scaled: Tensor, label: Tensor, condition: Tensor, cutoff_hz: Tensor, mask: Tensor | None) -> Tensor:
        if mask is not None:
            scaled, condition = scaled * mask[:, None], condition * mask[:, None]
        hidden, told = self.state_in(scaled).transpose(1, 2), self.condition_in(condition).transpose(1, 2)
        context = told if self.config.conditioning == "cross" else None
        embedding = self.noise(fourier_features(label, 32)) + self.cutoff(fourier_features(cutoff_hz / CUTOFF_UNIT_HZ / 12, 32))
        if self.config.conditioning == "concat":  # a convolution over joined channels is the sum of two convolutions
            hidden = hidden + told
        if self.config.conditioning == "film":
            embedding = embedding + _mean_over_time(told, mask)
        modulation = self.modulate(F.silu(embedding)).unflatten(-1, (6, -1))
        for layer in self.layers:
            if self.checkpointing and torch.is_grad_enabled():
                hidden = checkpoint(layer, hidden, modulation, mask, context, use_reentrant=False)
            else:
                hidden = layer(hidden, modulation, mask, context)
        return F.layer_norm(hidden, hidden.shape[-1:])


def _mean_over_time(x: Tensor, mask: Tensor | None) -> Tensor:
    """Return the mean of [B, F, W] over real frames, [B, W]."""
    if mask is None:
        return x.mean(1)
    return (x * mask[..., None]).sum(1) / mask.sum(1, keepdim=True).clamp_min(1)

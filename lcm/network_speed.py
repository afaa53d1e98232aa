"""The network for inference on a CPU: the same function with fewer passes over memory.

Attention works on blocks of 32 frames and the window to either side of them, not on a masked 1024 x 1088 matrix; the adaptive layer norm's
shift, scale and gate are folded into the layer norm and the linear layers beside it, once a clip; rotary positions are one complex product,
made for all layers at once; linear layers and convolutions work on channels last. Clips go one by one, always in float32.

Shapes: as in lcm.network; in between [1, F, W].
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lcm.channels_last import Pointwise, convolve, two_dimensional
from lcm.model import Model
from lcm.network import CUTOFF_UNIT_HZ, BlockHead, Layer, LcmMcb
from lcm.schedule import fourier_features

_BLOCK = 32  # frames that are attended from at a time


def fast_model(model: Model) -> Model:
    """Return a copy for inference whose state is the model's to about 1e-5; weights are copied, block statistics shared.

    The copy passes no gradients and does not move to another device. What would not gain is returned as it is: models on a GPU,
    token classifiers, and networks whose condition comes in by FiLM or cross-attention.
    """
    network = model.network
    on_cpu = model.blocks.mean.device.type == "cpu"
    if not on_cpu or not isinstance(network, LcmMcb) or isinstance(network, FastLcmMcb) or network.config.conditioning != "concat":
        return model
    faster = copy.copy(model)
    faster._modules = {**model._modules, "network": FastLcmMcb(network)}
    return faster


class FastLcmMcb(LcmMcb):
    """LCM-MCB with another trunk; heads are the same sums on faster layers.

    Args:
        network: The network, on the CPU and conditioned by concatenation; it stays as it is.
    """

    def __init__(self, network: LcmMcb) -> None:
        nn.Module.__init__(self)
        self.config, self.partition, self.dimension, self.checkpointing = network.config, network.partition, network.dimension, False
        state, condition = network.state_in, network.condition_in
        self._inward = two_dimensional(torch.cat([state.weight, condition.weight], dim=1).detach())
        self._inward_bias = (state.bias + condition.bias).detach() if state.bias is not None and condition.bias is not None else None
        self.noise, self.cutoff, self.modulate = network.noise, network.cutoff, network.modulate
        self.layers = nn.ModuleList([_Layer(layer) for layer in network.layers if isinstance(layer, Layer)])
        self.heads = nn.ModuleList([_head(head) for head in network.heads])

    @torch.no_grad()
    def forward(self, *given: Any, **named: Any) -> Any:
        """Denoise."""
        return super().forward(*given, **named)

    def _trunk(self, scaled: Tensor, label: Tensor, condition: Tensor, cutoff_hz: Tensor, mask: Tensor | None) -> Tensor:
        if mask is not None:
            scaled, condition = scaled * mask[:, None], condition * mask[:, None]
        told = self.noise(fourier_features(label, 32)) + self.cutoff(fourier_features(cutoff_hz / CUTOFF_UNIT_HZ / 12, 32))
        modulation = self.modulate(F.silu(told)).unflatten(-1, (6, -1))
        joined = torch.cat([scaled, condition], dim=1).transpose(1, 2).contiguous()
        cis = _rotations(joined.shape[1], self.config.width // self.config.heads)
        real = torch.ones(joined.shape[:2], dtype=torch.bool) if mask is None else mask
        with torch.autocast("cpu", enabled=False):  # there are no complex numbers in bf16, and float32 is as fast here
            clips = zip(joined.split(1), modulation.float(), real, strict=True)
            return torch.cat([self._one(*clip, cis) for clip in clips])

    def _one(self, joined: Tensor, modulation: Tensor, real: Tensor, cis: Tensor) -> Tensor:
        hidden = convolve(joined, self._inward, self._inward_bias, padding=self.config.kernel // 2)
        seen = _visible(real, self.config.window)
        for layer in self.layers:
            hidden = layer(hidden, modulation, seen, cis)
        return F.layer_norm(hidden, hidden.shape[-1:])


class _Layer(nn.Module):
    """lcm.network.Layer of one clip; adds to its input in place."""

    def __init__(self, layer: Layer) -> None:
        super().__init__()
        attention = layer.attention
        self.heads, self.window, self.table = attention.heads, attention.window, layer.table.detach()
        self.qkv = Pointwise(*_interleaved(attention.qkv.weight.detach(), attention.qkv.bias.detach(), attention.heads))
        self.up = Pointwise.of(layer.up)
        self.out, self.down = Pointwise.of(attention.out), Pointwise.of(layer.down)

    def forward(self, x: Tensor, modulation: Tensor, seen: Tensor, cis: Tensor) -> Tensor:
        shift_a, scale_a, gate_a, shift_m, scale_m, gate_m = (modulation + self.table).unbind(0)
        width = x.shape[-1:]
        norm = F.layer_norm(x, width, 1 + scale_a, shift_a)
        x.add_(_gated(self.out, self._attend(self.qkv(norm), seen, cis), 1 + gate_a))
        norm = F.layer_norm(x, width, 1 + scale_m, shift_m)
        return x.add_(_gated(self.down, F.gelu(self.up(norm), approximate="tanh"), 1 + gate_m))

    def _attend(self, qkv: Tensor, seen: Tensor, cis: Tensor) -> Tensor:
        """Mix qkv [1, F, 3 W] to [1, F, W]."""
        frames, width = qkv.shape[1], qkv.shape[2] // 3
        q, k, v = qkv.view(frames, 3, self.heads, -1).unbind(1)
        q, k = _rotated(q, cis), _rotated(k, cis)
        after = len(seen) * _BLOCK - frames
        q = F.pad(q, (0, 0, 0, 0, 0, after)).view(-1, _BLOCK, *q.shape[1:]).transpose(1, 2)  # [blocks, H, 32, d]
        k, v = (self._windows(part, after) for part in (k, v))
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=seen)
        return mixed.transpose(1, 2).reshape(1, -1, width)[:, :frames].contiguous()

    def _windows(self, x: Tensor, after: int) -> Tensor:
        """Return what each block sees of [F, H, d], as a view [blocks, H, 32 + 2 window, d] of the padded frames."""
        padded = F.pad(x, (0, 0, 0, 0, self.window, self.window + after))
        return padded.unfold(0, _BLOCK + 2 * self.window, _BLOCK).transpose(2, 3)


def _visible(real: Tensor, window: int) -> Tensor:
    """Return 0 where a block's frame sees another and -inf elsewhere, [blocks, 1, 32, 32 + 2 window]; every frame sees itself."""
    frames = len(real)
    blocks = -(-frames // _BLOCK)
    query, key = torch.arange(_BLOCK)[:, None], torch.arange(-window, _BLOCK + window)
    padded = F.pad(real, (window, window + blocks * _BLOCK - frames))
    near = ((query - key).abs() <= window) & padded.unfold(0, _BLOCK + 2 * window, _BLOCK)[:, None]
    return torch.zeros(near.shape).masked_fill_(~(near | (query == key)), -torch.inf)[:, None]


def _gated(layer: Pointwise, x: Tensor, gate: Tensor) -> Tensor:
    """Return gate * layer(x) with the gate in the weights."""
    bias = None if layer.bias is None else gate * layer.bias
    return convolve(x, layer.weight * gate[:, None, None, None], bias)


def _interleaved(weight: Tensor, bias: Tensor, heads: int) -> tuple[Tensor, Tensor]:
    """Order the rows of queries and keys so that rotary pairs are neighbours: products of the two stay what they are."""
    width = weight.shape[1]
    order = torch.arange(width).view(heads, 2, -1).transpose(1, 2).reshape(-1)
    order = torch.cat([order, order + width, torch.arange(2 * width, 3 * width)])
    return weight[order], bias[order]


def _rotations(frames: int, size: int) -> Tensor:
    """Return the rotary positions as complex numbers [F, 1, size / 2]. Su et al. 2021 (RoFormer), eq. 34."""
    frequency = 10_000.0 ** (-torch.arange(size // 2) / (size // 2))
    angle = torch.arange(frames)[:, None] * frequency
    return torch.complex(angle.cos(), angle.sin())[:, None]


def _rotated(x: Tensor, cis: Tensor) -> Tensor:
    """Turn pairs of [F, H, d]."""
    pairs = torch.view_as_complex(x.unflatten(-1, (-1, 2)))
    return torch.view_as_real(pairs * cis).flatten(-2)


def _head(head: nn.Module) -> BlockHead:
    assert isinstance(head, BlockHead)  # ModuleList does not carry its type
    faster = copy.copy(head)
    faster._modules = {k: Pointwise.of(v) if isinstance(v, nn.Linear) else v for k, v in head._modules.items()}
    return faster

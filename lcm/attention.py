"""Windowed self- and cross-attention with rotary positions: [B, F, W] to [B, F, W].

Each frame sees `window` frames to either side, so a stack of depth L has a finite receptive field of L * window frames
to either side, and chunks that carry that much context agree with the whole file.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_QUERY_CHUNK = 1024  # bounds the attention matrix of long files to 1024 x (1024 + 2 * window)


def rotate(x: Tensor, offset: int = 0) -> Tensor:
    """Apply rotary position embedding to [B, H, F, d]. Source: Su et al. 2021 (RoFormer), eq. 34."""
    half = x.shape[-1] // 2
    frequency = 10_000.0 ** (-torch.arange(half, device=x.device) / half)
    angle = (torch.arange(x.shape[-2], device=x.device) + offset)[:, None] * frequency
    cos, sin = angle.cos().to(x.dtype), angle.sin().to(x.dtype)
    a, b = x[..., :half], x[..., half:]
    return torch.cat([a * cos - b * sin, a * sin + b * cos], dim=-1)


class WindowedAttention(nn.Module):
    """Multi-head attention inside a window of frames.

    Args:
        width: Channels W.
        heads: Attention heads; divides `width`.
        window: Frames seen to either side.
    """

    def __init__(self, width: int, heads: int, window: int) -> None:
        super().__init__()
        self.heads, self.window = heads, window
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor, mask: Tensor | None = None, context: Tensor | None = None) -> Tensor:
        """Attend.

        Args:
            x: [B, F, W].
            mask: True where a frame is real, [B, F]; padding is never attended to. None means all real.
            context: What is attended to, time-aligned [B, F, W]; None means x itself.
        """
        q, k, v = (_heads(part, self.heads) for part in self._project(x, context))
        q, k = rotate(q), rotate(k)
        frames = x.shape[1]
        pieces = [self._attend(q, k, v, mask, start, min(frames, start + _QUERY_CHUNK)) for start in range(0, frames, _QUERY_CHUNK)]
        mixed: Tensor = self.out(torch.cat(pieces, dim=2).transpose(1, 2).flatten(2))
        return mixed

    def _project(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, ...]:
        if context is None:
            return tuple(self.qkv(x).chunk(3, dim=-1))
        width = x.shape[-1]
        query = F.linear(x, self.qkv.weight[:width], self.qkv.bias[:width])
        return (query, *F.linear(context, self.qkv.weight[width:], self.qkv.bias[width:]).chunk(2, dim=-1))

    def _attend(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, start: int, stop: int) -> Tensor:
        first, last = max(0, start - self.window), min(k.shape[2], stop + self.window)
        query = torch.arange(start, stop, device=q.device)[:, None]
        key = torch.arange(first, last, device=q.device)[None, :]
        allowed = (query - key).abs() <= self.window
        if mask is not None:  # a padded query still sees itself, so that no row is empty
            allowed = (allowed & mask[:, None, None, first:last]) | (query == key)
        return F.scaled_dot_product_attention(q[:, :, start:stop], k[:, :, first:last], v[:, :, first:last], attn_mask=allowed)


def _heads(x: Tensor, heads: int) -> Tensor:
    """Split [B, F, W] into [B, H, F, W / H]."""
    split: Tensor = x.unflatten(-1, (heads, -1))
    return split.transpose(1, 2)

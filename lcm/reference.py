"""The reference system's student, reproduced as a baseline row: a token classifier, not a consistency model.

One pass per codebook through a shared transformer without positions, one linear head per codebook, argmax.
Shapes: codes [B, K, F], logits [B, K, F, bins].
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass
class ReferenceConfig:
    """Size of the classifier.

    The defaults are the reference's but for the feed-forward width, which is PyTorch's default. The reference's own, in every
    script that trained or was evaluated (lcm2.py, lcm3.py, lcm_stable.py), is 4 * width = 1024: so in `+preset=paper`.

    Attributes:
        width: d_model.
        depth: Encoder layers.
        heads: Attention heads.
        feedforward: Hidden width of the layers.
        dropout: PyTorch's default.
        bins: Vocabulary.
    """

    width: int = 256
    depth: int = 6
    heads: int = 8
    feedforward: int = 2048
    dropout: float = 0.1
    bins: int = 1024


class TokenClassifier(nn.Module):
    """Map the degraded audio's tokens to the original's, codebook by codebook."""

    def __init__(self, config: ReferenceConfig, n_q: int) -> None:
        super().__init__()
        self.config, self.n_q = config, n_q
        self.embedding = nn.Embedding(config.bins, config.width)
        layer = nn.TransformerEncoderLayer(config.width, config.heads, config.feedforward, config.dropout, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, config.depth, enable_nested_tensor=False)
        self.heads = nn.ModuleList([nn.Linear(config.width, config.bins) for _ in range(n_q)])

    def forward(self, codes: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return logits [B, K, F, bins] of degraded codes [B, K, F]; `mask` [B, F] is True where a frame is real."""
        padding = None if mask is None else ~mask
        passes = [self.encoder(self.embedding(codes[:, k]), src_key_padding_mask=padding) for k in range(self.n_q)]
        return torch.stack([head(hidden) for head, hidden in zip(self.heads, passes, strict=True)], dim=1)

"""Codebook blocks: partition K codebooks, standardise each block's latent, and go back to tokens.

Shapes: codes [B, K, F], latents [B, D, F], state [B, N * D, F] for N blocks.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from lcm.codec import Codec
from lcm.errors import LcmError

PRIORS = ("normal", "condition")
SIGMA_DATA = 0.5  # deviation of the standardised state; Karras et al. 2022 (EDM), table 1


def check_partition(partition: Sequence[int], n_q: int) -> tuple[int, ...]:
    """Return the partition as a tuple.

    Args:
        partition: Codebooks per block, coarse to fine, such as [1, 1, 2, 4].
        n_q: Codebooks K of the codec.

    Raises:
        LcmError: The blocks do not add up to K, or one is empty.
    """
    if not partition or min(partition) < 1 or sum(partition) != n_q:
        raise LcmError(
            f"blocks.partition={list(partition)} must be positive sizes that add up to the codec's {n_q} codebooks, e.g. [{n_q}]."
        )
    return tuple(int(size) for size in partition)


class Blocks(nn.Module):
    """Maps codes to the standardised state x and back.

    Block b's latent is the sum of its codebooks' vectors. Each channel of each block is centred and scaled to deviation
    SIGMA_DATA: channels differ by a factor of 27 in deviation, and with one scale for all the quiet ones, which carry the
    high band, drown in noise and vanish from the loss.

    With `prior="condition"` the state is the residual to the degraded audio's own blocks, the `anchor`: noise is then drawn
    around the condition, N(c, 1), instead of N(0, 1) (as in CoMoSpeech, Ye et al. 2023, and FLowHigh, Yun et al. 2025).

    Args:
        partition: Codebooks per block.
        dimension: Latent channels D.
        prior: `normal` or `condition`.
        weights: Loss weight of each block, scaled to mean 1; empty means by variance.

    Attributes:
        mean: Per-channel means, [N, D].
        deviation: Per-channel deviations, [N, D].
        condition_mean, condition_deviation: The same for the condition (the degraded audio's full latent).
    """

    mean: Tensor
    deviation: Tensor
    condition_mean: Tensor
    condition_deviation: Tensor

    def __init__(self, partition: Sequence[int], dimension: int, prior: str = "normal", weights: Sequence[float] = ()) -> None:
        super().__init__()
        if prior not in PRIORS:
            raise LcmError(f"blocks.prior={prior!r} is unknown: choose one of {', '.join(PRIORS)}.")
        if weights and (len(weights) != len(partition) or min(weights) < 0 or sum(weights) <= 0):
            raise LcmError(f"blocks.weights={list(weights)} must be {len(partition)} numbers >= 0, one a block, not all 0; or empty.")
        self.partition, self.dimension, self.prior, self.weights = tuple(partition), dimension, prior, tuple(weights)
        self.register_buffer("mean", torch.zeros(len(partition), dimension))
        self.register_buffer("deviation", torch.ones(len(partition), dimension))
        self.register_buffer("condition_mean", torch.zeros(dimension))
        self.register_buffer("condition_deviation", torch.ones(dimension))

    @property
    def bounds(self) -> list[tuple[int, int]]:
        """First and one-past-last codebook of each block."""
        stops = torch.tensor(self.partition).cumsum(0).tolist()
        return [(stop - size, stop) for stop, size in zip(stops, self.partition, strict=True)]

    def block_latents(self, codec: Codec, codes: Tensor) -> Tensor:
        """Return unstandardised block latents [B, N, D, F] of codes [B, K, F]."""
        vectors = codec.codebook_latents(codes)
        return torch.stack([vectors[:, a:b].sum(1) for a, b in self.bounds], dim=1)

    @torch.no_grad()
    def fit(self, codec: Codec, pairs: Iterable[tuple[Tensor, Tensor]]) -> None:
        """Measure the statistics on (hr codes, lr codes) pairs, [1, K, F] each, without padding."""
        hr, lr = zip(*pairs, strict=True)
        anchors = [self.anchor(codec, c) for c in lr]
        blocks = torch.cat([_less(self.block_latents(codec, c), a)[0] for c, a in zip(hr, anchors, strict=True)], dim=-1)
        condition = torch.cat([codec.latents(c)[0] for c in lr], dim=-1)
        self.mean.copy_(blocks.mean(-1))
        self.deviation.copy_(_deviation(blocks, self.mean))
        self.condition_mean.copy_(condition.mean(-1))
        self.condition_deviation.copy_(_deviation(condition, self.condition_mean))

    def anchor(self, codec: Codec, lr_codes: Tensor) -> Tensor | None:
        """Return what the state is a residual to: the degraded audio's blocks [B, N, D, F], or None for the normal prior."""
        return self.block_latents(codec, lr_codes) if self.prior == "condition" else None

    def to_state(self, codec: Codec, codes: Tensor, anchor: Tensor | None = None) -> Tensor:
        """Return the standardised state [B, N * D, F] of codes [B, K, F]."""
        return self.standardise(_less(self.block_latents(codec, codes), anchor))

    def standardise(self, blocks: Tensor) -> Tensor:
        """Return the state [B, N * D, F] of block latents (or residuals) [B, N, D, F]."""
        return ((blocks - self.mean[..., None]) * (SIGMA_DATA / self.deviation)[..., None]).flatten(1, 2)

    def condition(self, codec: Codec, codes: Tensor) -> Tensor:
        """Return the standardised condition [B, D, F] of the degraded audio's codes [B, K, F]."""
        return (codec.latents(codes) - self.condition_mean[:, None]) * (SIGMA_DATA / self.condition_deviation)[:, None]

    def unstandardise(self, state: Tensor, anchor: Tensor | None = None) -> Tensor:
        """Return block latents [B, N, D, F] of a state [B, N * D, F]."""
        blocks: Tensor = state.unflatten(1, (len(self.partition), self.dimension))
        residual = blocks * (self.deviation / SIGMA_DATA)[..., None] + self.mean[..., None]
        return residual if anchor is None else residual + anchor

    def to_latents(self, state: Tensor, anchor: Tensor | None = None) -> Tensor:
        """Return decoder latents [B, D, F]: the sum of the blocks."""
        return self.unstandardise(state, anchor).sum(1)

    def to_codes(self, codec: Codec, state: Tensor, anchor: Tensor | None = None) -> Tensor:
        """Requantise block by block into codes [B, K, F]. Exact for blocks of one codebook, greedy for wider ones."""
        blocks = self.unstandardise(state, anchor)
        return torch.cat([codec.requantise(blocks[:, i], a, b) for i, (a, b) in enumerate(self.bounds)], dim=1)

    def loss_weights(self) -> Tensor:
        """Return weights [N], mean 1: the given ones, or proportional to block variance, since late blocks are nearly noise."""
        chosen = self.mean.new_tensor(self.weights) if self.weights else self.deviation.square().mean(1)
        return chosen / chosen.mean()


def _less(blocks: Tensor, anchor: Tensor | None) -> Tensor:
    return blocks if anchor is None else blocks - anchor


def _deviation(latents: Tensor, mean: Tensor) -> Tensor:
    """Return the deviation of [..., F] over frames; a channel that never moves counts as one that hardly does."""
    deviation = (latents - mean[..., None]).square().mean(-1).sqrt()
    return deviation.clamp_min(max(1e-3 * float(deviation.max()), 1e-6))

"""Distances between states: per frame over channels, then the mean over real frames, so that crop length does not matter.

Shapes: error [B, N * D, F], mask [B, F], block weights [N] with mean 1, result [B].
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from lcm.losses import masked_mean


def pseudo_huber(squared: Tensor, scale: float) -> Tensor:
    """Return sqrt(d^2 + c^2) - c of squared frame distances. Song & Dhariwal 2023 (iCT), eq. 7: c = 0.00054 sqrt(channels)."""
    return (squared + scale * scale).sqrt() - scale


def cauchy(squared: Tensor, scale: float) -> Tensor:
    """Return log(1 + d^2 / 2c^2): impulsive outliers of a latent weigh little. Dao et al. 2025 (sLCT), eq. 8."""
    return (1 + squared / (2 * scale * scale)).log()


def l2(squared: Tensor, scale: float) -> Tensor:
    """Return d^2; `scale` has no part in it."""
    return squared


DISTANCES: dict[str, tuple[Callable[[Tensor, float], Tensor], float]] = {
    "pseudo_huber": (pseudo_huber, 0.00054),
    "cauchy": (cauchy, 0.03),
    "l2": (l2, 1.0),
}
"""Name -> function and its default scale per square root of a channel."""


def distance(name: str, error: Tensor, mask: Tensor, block_weights: Tensor, *, dimension: int, scale: float | None = None) -> Tensor:
    """Return a distance a clip, [B].

    Args:
        name: `pseudo_huber`, `cauchy` or `l2`.
        error: [B, N * D, F].
        mask: True where a frame is real, [B, F].
        block_weights: [N], mean 1.
        dimension: D.
        scale: c per square root of a channel, > 0; None takes the distance's own.
    """
    function, default = DISTANCES[name]
    squared = (error.unflatten(1, (-1, dimension)).square().sum(2) * block_weights[:, None]).sum(1)
    return masked_mean(function(squared, (scale or default) * error.shape[1] ** 0.5), mask)

"""Random numbers of a training step, keyed to (seed, step, place of the clip in the global batch).

One process, two processes and accumulated micro-batches therefore draw the same numbers for the same clip.
"""

from __future__ import annotations

import torch
from torch import Tensor


class Draws:
    """One generator a clip.

    Args:
        seed: Seed of the run.
        step: Number of the step.
        first: Place of the first clip in the global batch.
        count: Clips in this part of it.
    """

    def __init__(self, seed: int, step: int, first: int, count: int) -> None:
        keys = [((seed * 1_000_003 + step) * 65_537 + first + i) % 2**63 for i in range(count)]
        self._generators = [torch.Generator().manual_seed(key) for key in keys]

    def normal(self, *shape: int) -> Tensor:
        """Draw standard normal numbers, [count, *shape]."""
        return torch.stack([torch.randn(shape, generator=g) for g in self._generators])

    def uniform(self) -> Tensor:
        """Draw numbers in [0, 1), [count]."""
        return torch.stack([torch.rand((), generator=g) for g in self._generators])

"""Random numbers of a training step, keyed to (seed, step, place of the clip in the global batch).

One process, two processes and accumulated micro-batches therefore draw the same numbers for the same clip.
"""

from __future__ import annotations

import numpy as np
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
        self._generators = [np.random.default_rng((seed, step, first + i)) for i in range(count)]

    def normal(self, *shape: int) -> Tensor:
        """Draw standard normal numbers, [count, *shape]."""
        return torch.from_numpy(np.stack([np.asarray(g.standard_normal(shape, dtype=np.float32)) for g in self._generators]))

    def uniform(self) -> Tensor:
        """Draw numbers in [0, 1), [count]."""
        return torch.tensor([g.random(dtype=np.float32) for g in self._generators])

"""Where the noise of a reverse process comes from: the process' global generator as in audiocraft, or a seed a clip."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

_BAND = 0x9E3779B97F4A7C15  # odd, so that bands of one seed never share a generator


class Noise(Protocol):
    """Standard normal noise [B, 1, T] for one band, draw after draw: the initial state, then each step's."""

    def draw(self, band: int, like: Tensor) -> Tensor:
        """Return the next draw of a band, with the shape, device and type of a tensor."""


class GlobalNoise:
    """The global generator, as audiocraft draws: bands one after another."""

    def draw(self, band: int, like: Tensor) -> Tensor:
        """Return the next draw."""
        return torch.randn_like(like)


class SeededNoise:
    """A generator for each clip and band: a clip's noise depends on its seed alone, not on its neighbours or the order of the bands."""

    def __init__(self, seeds: Sequence[int], device: torch.device) -> None:
        self._seeds, self._device = list(seeds), device
        self._generators: dict[int, list[torch.Generator]] = {}

    def draw(self, band: int, like: Tensor) -> Tensor:
        """Return the next draw of a band, a row a clip."""
        if band not in self._generators:
            self._generators[band] = [self._generator(seed, band) for seed in self._seeds]
        rows = [torch.randn(like.shape[1:], generator=g, device=self._device, dtype=like.dtype) for g in self._generators[band]]
        return torch.stack(rows)

    def _generator(self, seed: int, band: int) -> torch.Generator:
        return torch.Generator(self._device).manual_seed((seed + (band + 1) * _BAND) % 2**63)

"""Noise levels, preconditioning and step grids, each with its equation's source. Sigmas are in units of the state."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from lcm.blocks import SIGMA_DATA
from lcm.errors import LcmError


@dataclass
class ScheduleConfig:
    """Noise levels of training and sampling.

    Attributes:
        sigma_min: Smallest level of the sampling grid; > 0.
        sigma_max: Level of pure noise. The state has deviation 0.5 and the condition says most of it, so 10 is noise enough.
        rho: Curvature of the Karras grid.
        log_mean, log_std: ln(sigma) of training is normal with these. ECT uses (-1.1, 2.0), EDM (-1.2, 1.2).
    """

    sigma_min: float = 0.002
    sigma_max: float = 10.0
    rho: float = 7.0
    log_mean: float = -1.1
    log_std: float = 2.0


def c_skip(sigma: Tensor) -> Tensor:
    """Return the skip scale; 1 at sigma = 0. Karras et al. 2022, table 1."""
    return SIGMA_DATA**2 / (sigma.square() + SIGMA_DATA**2)


def c_out(sigma: Tensor) -> Tensor:
    """Return the output scale; 0 at sigma = 0, so f(x, 0) = x exactly. Karras et al. 2022, table 1."""
    return sigma * SIGMA_DATA / (sigma.square() + SIGMA_DATA**2).sqrt()


def c_in(sigma: Tensor) -> Tensor:
    """Return the input scale. Karras et al. 2022, table 1."""
    return 1 / (sigma.square() + SIGMA_DATA**2).sqrt()


def c_noise(sigma: Tensor) -> Tensor:
    """Return the noise label ln(sigma) / 4, clamped where it would diverge. Karras et al. 2022, table 1."""
    return sigma.clamp_min(1e-4).log() / 4


def edm_weight(sigma: Tensor) -> Tensor:
    """Return lambda(sigma) = 1 / c_out^2, which makes the loss of the raw network unit-weighted. EDM, table 1."""
    return (sigma.square() + SIGMA_DATA**2) / (sigma * SIGMA_DATA).square()


def karras_grid(config: ScheduleConfig, steps: int) -> Tensor:
    """Return sigma_max .. sigma_min in `steps` levels and a final 0, [steps + 1]. Karras et al. 2022, eq. 5."""
    if steps == 1:
        return torch.tensor([config.sigma_max, 0.0])
    ramp = torch.linspace(0, 1, steps, dtype=torch.float64)
    high, low = config.sigma_max ** (1 / config.rho), config.sigma_min ** (1 / config.rho)
    return torch.cat([(high + ramp * (low - high)) ** config.rho, torch.zeros(1, dtype=torch.float64)]).float()


def consistency_levels(config: ScheduleConfig, steps: int, *, second: float = 0.8) -> list[float]:
    """Return the levels of n-step consistency sampling: sigma_max, then from `second` down in thirds.

    Source: multistep sampling of Song et al. 2023, algorithm 1; `second` was measured (0.8 for sigma_data 0.5).
    """
    second = min(second, config.sigma_max / 3)
    fall = min(3.0, (second / config.sigma_min) ** (1 / max(1, steps - 2)))
    return [config.sigma_max, *(second * fall**-i for i in range(steps - 1))]


def sigma_of(config: ScheduleConfig, normal: Tensor) -> Tensor:
    """Map standard normal draws [B] to log-normal training levels, clamped to [sigma_min, sigma_max]. Karras et al. 2022, sec. 5."""
    return (config.log_mean + config.log_std * normal).exp().clamp(config.sigma_min, config.sigma_max)


def level_grid(config: ScheduleConfig, levels: int, spacing: str) -> Tensor:
    """Return sigma_max .. sigma_min in `levels` levels and a final 0, [levels + 1].

    Raises:
        LcmError: The spacing is neither `karras` nor `linear`.
    """
    if spacing not in ("karras", "linear"):
        raise LcmError(f"objective.grid={spacing!r} is unknown: choose karras or linear.")
    if spacing == "karras":
        return karras_grid(config, levels)
    return torch.cat([torch.linspace(config.sigma_max, config.sigma_min, levels), torch.zeros(1)])


def draw_sigma_index(config: ScheduleConfig, grid: Tensor, uniform: Tensor, *, log_normal: bool) -> Tensor:
    """Draw places i of the grid, [B], such that (grid[i], grid[i + 1]) are the neighbours of a training step.

    Args:
        config: Mean and deviation of ln(sigma) for `log_normal`.
        grid: Decreasing levels that end with 0, [N + 1].
        uniform: Draws in [0, 1), [B].
        log_normal: Weigh the levels by the discretised log-normal of Song & Dhariwal 2023 (iCT), eq. 10, instead of evenly.
    """
    count = len(grid) - 1
    if not log_normal:
        return (uniform * count).long().clamp_max(count - 1)
    edges = (grid.clamp_min(1e-9).log() - config.log_mean) / (config.log_std * math.sqrt(2))
    mass = (torch.erf(edges[:-1]) - torch.erf(edges[1:])).clamp_min(1e-8)
    return torch.searchsorted(mass.cumsum(0) / mass.sum(), uniform.to(mass)).clamp_max(count - 1)


def ct_levels(step: int, steps: int, *, start: int, end: int) -> int:
    """Return the grid's N at a training step: `start`, doubled at even intervals up to `end`. Song & Dhariwal 2023 (iCT), eq. 11."""
    doublings = max(0, math.ceil(math.log2(end / start)))
    interval = max(1, steps // (doublings + 1))
    return min(start << min(step // interval, doublings), end)


def ect_stage(step: int, steps: int, stages: int) -> int:
    """Return the curriculum stage 0 .. stages - 1 of a training step."""
    return min(stages - 1, step * stages // max(1, steps))


def ect_r(t: Tensor, stage: int, *, q: float = 2.0, k: float = 8.0, b: float = 1.0) -> Tensor:
    """Map level t to the lower level r of Easy Consistency Tuning; 0 means that the target is the data.

    r = t * max(0, 1 - q^-(stage + 1) * (1 + k * sigmoid(-b t))). Source: Geng et al. 2024 (ECT), eq. 16.
    """
    return t * (1 - q ** -(stage + 1) * (1 + k * torch.sigmoid(-b * t))).clamp_min(0)


def frame_noise(channels: int, frames: int, *, seed: int, start: int = 0, block: int = 64) -> Tensor:
    """Return standard normal noise [channels, frames] that depends on the seed and the absolute frame alone.

    Chunks, streams and whole files therefore draw the same noise for the same frame.
    """
    first, last = start // block, (start + max(frames, 1) - 1) // block
    pieces = [_noise_block(channels, block, seed, i) for i in range(first, last + 1)]
    offset = start - first * block
    return torch.cat(pieces, dim=1)[:, offset : offset + frames]


def _noise_block(channels: int, block: int, seed: int, index: int) -> Tensor:
    mixed = (seed * 1_000_003 + index * 7_919 + 12_345) % (2**63 - 1)
    return torch.randn(block, channels, generator=torch.Generator().manual_seed(mixed)).t()


def fourier_features(value: Tensor, count: int) -> Tensor:
    """Embed a scalar [B] as cosines and sines [B, 2 * count] of geometrically spaced frequencies."""
    frequencies = torch.exp(torch.linspace(0, math.log(100.0), count, device=value.device))
    angles = value[:, None] * frequencies
    return torch.cat([angles.cos(), angles.sin()], dim=-1)

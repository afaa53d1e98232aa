"""Sampling: 1..n-step consistency models and Heun teachers.

Shapes: noise and states [B, N * D, F], condition [B, D, F], cutoff_hz [B].
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor

from lcm.network import LcmMcb, Prediction
from lcm.schedule import ScheduleConfig, consistency_levels, karras_grid

Denoiser = Callable[[Tensor, float], Tensor]


def denoiser(model: LcmMcb, condition: Tensor, cutoff_hz: Tensor, mask: Tensor | None = None) -> Denoiser:
    """Bind the condition: (x, sigma) to the denoised state. At sigma = 0 it is x, without a call."""

    def denoise(x: Tensor, sigma: float) -> Tensor:
        if sigma == 0:
            return x
        prediction: Prediction = model(x, x.new_full((x.shape[0],), sigma), condition, cutoff_hz, mask)
        return prediction.state

    return denoise


@torch.no_grad()
def sample_consistency(denoise: Denoiser, noises: Sequence[Tensor], levels: Sequence[float]) -> Tensor:
    """Sample in len(levels) network calls.

    Args:
        denoise: The bound consistency function.
        noises: One standard normal tensor per level.
        levels: Decreasing noise levels, the first is sigma_max.

    Source: Song et al. 2023, algorithm 1.
    """
    x = denoise(levels[0] * noises[0], levels[0])
    for sigma, noise in zip(levels[1:], noises[1:], strict=True):
        x = denoise(x + sigma * noise, sigma)
    return x


@torch.no_grad()
def sample_heun(denoise: Denoiser, noise: Tensor, sigmas: Sequence[float]) -> Tensor:
    """Solve the probability-flow ODE by Heun's second-order method in 2 (n - 1) - 1 network calls for n levels.

    Args:
        denoise: The bound denoiser of a diffusion teacher.
        noise: Standard normal [B, N * D, F].
        sigmas: Decreasing levels that end with 0.

    Source: Karras et al. 2022, algorithm 1 without churn.
    """
    x = noise * sigmas[0]
    for here, there in pairwise(sigmas):
        slope = (x - denoise(x, here)) / here
        euler = x + (there - here) * slope
        if there > 0:
            slope = 0.5 * (slope + (euler - denoise(euler, there)) / there)
            euler = x + (there - here) * slope
        x = euler
    return x


def guided_velocity(model: LcmMcb, condition: Tensor, cutoff_hz: Tensor, guidance: float) -> Denoiser:
    """Bind the condition of a flow model: (x, time) to the velocity, by classifier-free guidance where the scale is not 1.

    Source: Ho & Salimans 2022, eq. 6, in the form v_none + scale (v_condition - v_none).
    """

    def velocity(x: Tensor, time: float) -> Tensor:
        times = x.new_full((x.shape[0],), time)
        told = model.velocity(x, times, condition, cutoff_hz)
        if guidance == 1:
            return told
        untold = model.velocity(x, times, torch.zeros_like(condition), cutoff_hz)
        return untold + guidance * (told - untold)

    return velocity


@torch.no_grad()
def sample_flow(velocity: Denoiser, noise: Tensor, steps: int) -> Tensor:
    """Integrate a flow from noise at time 0 to data at time 1 in `steps` Euler steps. Lipman et al. 2023, eq. 1."""
    x = noise
    for i in range(steps):
        x = x + velocity(x, i / steps) / steps
    return x


def heun_calls(steps: int) -> int:
    """Return the network calls of an n-step Heun run: the last step, to 0, is an Euler step."""
    return 2 * steps - 1


def teacher_sigmas(schedule: ScheduleConfig, steps: int) -> list[float]:
    """Return the Karras grid of a Heun teacher, steps + 1 levels."""
    return [float(s) for s in karras_grid(schedule, steps)]


def student_levels(schedule: ScheduleConfig, steps: int) -> list[float]:
    """Return the levels of an n-step consistency sampler."""
    return consistency_levels(schedule, steps)

"""Consistency objectives: f(x_t, t) follows f(x_r, r). They differ in how (x_t, x_r) is made, and in the target network.

With D the end of the trajectory that leads through x_t, x_r = x_t + (r - t) (x_t - D) / t. ECT and CT take the data itself
for D, CD the teacher's denoiser (Euler) or a Heun step with it; ROSE-CD draws x_r with noise of its own.
Shapes: states [B, N * D, F], levels [B].
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor

from lcm.errors import LcmError
from lcm.model import Model
from lcm.network import Prediction
from lcm.objectives.base import Step, wide
from lcm.schedule import ct_levels, draw_sigma_index, ect_r, ect_stage, level_grid, sigma_of


def towards(x_t: Tensor, t: Tensor, r: Tensor, denoised: Tensor) -> Tensor:
    """Move x_t from level t to r along the line to its denoised end: one Euler step. Karras et al. 2022, eq. 4."""
    return x_t + wide((r - t) / t) * (x_t - denoised)


def ect(step: Step) -> tuple[Tensor, Prediction]:
    """Easy Consistency Tuning: shared noise, r approaches t by stages. Geng et al. 2024, algorithm 1; weight 1 / (t - r)."""
    config = step.config
    t = sigma_of(step.model.spec.schedule, step.draws.normal()).to(step.x0)
    r = ect_r(t, ect_stage(step.index, step.total, config.stages), q=config.q, k=config.k, b=config.b)
    return _shared_noise(step, t, r)


def ct(step: Step) -> tuple[Tensor, Prediction]:
    """Improved consistency training on a grid of N levels that doubles. Song & Dhariwal 2023 (iCT), eq. 10-13; weight 1 / (t - r)."""
    t, r = _grid_pair(step, ct_levels(step.index, step.total, start=step.config.n_start or step.config.n, end=step.config.n))
    return _shared_noise(step, t, r)


def _shared_noise(step: Step, t: Tensor, r: Tensor) -> tuple[Tensor, Prediction]:
    x_t = step.x0 + wide(t) * step.noise()
    prediction = step.predict(x_t, t)
    target = step.follow(towards(x_t, t, r, step.x0), r)
    return step.distance(prediction.state - target) / (t - r), prediction


def cd(step: Step) -> tuple[Tensor, Prediction]:
    """Consistency distillation: x_r is the teacher's ODE step from x_t. Song et al. 2023, algorithm 2, eq. 17."""
    if step.teacher is None:
        raise LcmError("objective cd steps along a teacher's trajectory: give a latent teacher (teacher.name=latent).")
    t, r = _grid_pair(step, step.config.n)
    x_t = step.x0 + wide(t) * step.noise()
    prediction = step.predict(x_t, t)
    target = step.follow(_solve(step, step.teacher, x_t, t, r), r)
    return step.distance(prediction.state - target), prediction


def _solve(step: Step, teacher: Model, x: Tensor, t: Tensor, r: Tensor) -> Tensor:
    """Return the teacher's point at level r of the trajectory through x at t, in `solver_steps` steps."""
    edges = [torch.lerp(t, r, i / step.config.solver_steps) for i in range(step.config.solver_steps + 1)]  # ends at r exactly
    for here, there in pairwise(edges):
        x = _heun_step(step, teacher, x, here, there)
    return x


def _heun_step(step: Step, teacher: Model, x: Tensor, t: Tensor, r: Tensor) -> Tensor:
    """Take one step of Heun's method, or of Euler's where asked and where r = 0. Karras et al. 2022, algorithm 1."""
    slope = (x - step.ask(teacher, x, t)) / wide(t)
    euler = x + wide(r - t) * slope
    if step.config.solver == "euler":
        return euler
    low = r.clamp_min(teacher.spec.schedule.sigma_min)
    end = (euler - step.ask(teacher, euler, low)) / wide(low)
    return torch.where(wide(r) > 0, x + wide(r - t) * 0.5 * (slope + end), euler)


def rose(step: Step) -> tuple[Tensor, Prediction]:
    """ROSE-CD's randomised trajectory: x_t and x_r carry independent noise; L2 and an averaged target are its customary choices."""
    t, r = _grid_pair(step, step.config.n)
    first, second = step.noise(), step.noise()
    prediction = step.predict(step.x0 + wide(t) * first, t)
    target = step.follow(step.x0 + wide(r) * second, r)
    return step.distance(prediction.state - target), prediction


def pairs(step: Step) -> tuple[Tensor, Prediction]:
    """Learn the teacher's stored (noise, output) pairs in one call at sigma_max; clips with another target get noise of their own.

    Source: the regression of Liu et al. 2023 (rectified flow, InstaFlow's one-step distillation) on a teacher's couplings.
    """
    schedule = step.model.spec.schedule
    sigma = step.x0.new_full((len(step.x0),), schedule.sigma_max)
    stored = step.batch.noise
    if stored.shape[1:] != step.x0.shape[1:]:
        raise LcmError(
            f"objective pairs needs stored noise of the state's shape {list(step.x0.shape[1:])}, got {list(stored.shape[1:])}: "
            "set data.target=teacher or mix, and blocks.partition to the teacher's."
        )
    noise = torch.where(step.batch.from_teacher[:, None, None], stored.to(step.x0), step.noise())
    prediction = step.predict(schedule.sigma_max * noise, sigma)
    return step.distance(prediction.state - step.x0), prediction


def _grid_pair(step: Step, levels: int) -> tuple[Tensor, Tensor]:
    """Draw neighbours t > r of the grid, [B] each; r may be 0."""
    schedule, config = step.model.spec.schedule, step.config
    grid = level_grid(schedule, levels, config.grid)
    index = draw_sigma_index(schedule, grid, step.draws.uniform(), log_normal=config.name == "ct")
    return grid[index].to(step.x0), grid[index + 1].to(step.x0)

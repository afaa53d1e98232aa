"""Consistency training against closed forms, on a mixture of two normals in one dimension (see conftest.py)."""

from itertools import pairwise

import pytest
import torch

from lcm.objectives import ObjectiveConfig, objective_of
from lcm.objectives.consistency import _heun_step
from lcm.schedule import level_grid


def config(name, **values):
    return ObjectiveConfig(name, distance="l2", **values)


def wasserstein(a, b):
    """Return the mean distance of sorted samples."""
    return float((a.sort().values - b.sort().values).abs().mean())


def map_error(toys, student):
    """Return the root mean square distance of one-step samples to the ends of their exact trajectories."""
    x, y = toys.one_step(student)
    return float((y - toys.mixture.ode_end(x, student.spec.schedule.sigma_max)).square().mean().sqrt())


def target_error(toys, student):
    """Return the one-step samples' Wasserstein-1 distance to the data."""
    return wasserstein(toys.one_step(student)[1], toys.mixture.sample(20_000, seed=77))


def solve(toys, config, grid, x, sigma):
    """Follow the exact denoiser's trajectory down the grid by cd's own steps, from each clip's level to 0."""
    teacher = toys.world(toys.exact(toys.mixture.denoise))
    step = toys.step(config, teacher, x)
    for here, there in pairwise(grid):
        level = torch.full((len(x),), float(here))
        moved = _heun_step(step, teacher, x, level, torch.full((len(x),), float(there)))
        x = torch.where(sigma >= here * 0.999, moved, x)
    return x


def test_the_mixtures_denoiser_leads_to_the_data_along_its_quantiles(toys):
    # The closed forms of this file agree with each other: 200 Heun steps end where the quantile map says.
    x = toys.schedule.sigma_max * torch.randn(64, 1, 16, generator=torch.Generator().manual_seed(0))
    end = solve(toys, config("cd"), level_grid(toys.schedule, 200, "karras"), x, torch.full_like(x, toys.schedule.sigma_max))
    assert torch.allclose(end, toys.mixture.ode_end(x, toys.schedule.sigma_max), atol=5e-3)


@pytest.mark.parametrize("solver", ["euler", "heun"])
def test_the_solver_run_down_the_grid_is_the_fixed_point_of_consistency_distillation(toys, solver):
    # Song et al. 2023, theorem 1: a student of zero loss answers with the end of the solver's own trajectory.
    settings = config("cd", n=8, solver=solver)
    grid = level_grid(toys.schedule, settings.n, settings.grid)
    student = toys.world(toys.exact(lambda x, sigma: solve(toys, settings, grid, x, sigma)))
    teacher = toys.world(toys.exact(toys.mixture.denoise))
    x0 = toys.mixture.sample(toys.clips, 1, toys.frames)
    loss, _ = objective_of(settings)[1](toys.step(settings, student, x0, teacher=teacher))
    assert float(loss.max()) < 1e-9
    shifted = toys.world(toys.exact(lambda x, sigma: solve(toys, settings, grid, x, sigma) + 0.1 * sigma))
    loss, _ = objective_of(settings)[1](toys.step(settings, shifted, x0, teacher=teacher))
    assert float(loss.mean()) > 1e-5


@pytest.mark.parametrize(("solver", "fall"), [("euler", 1.7), ("heun", 3.0)])
def test_the_fixed_points_error_falls_with_n_at_the_solvers_order(toys, solver, fall):
    settings = config("cd", solver=solver)
    x = toys.schedule.sigma_max * torch.randn(256, 1, 16, generator=torch.Generator().manual_seed(0))
    high, exact = torch.full_like(x, toys.schedule.sigma_max), toys.mixture.ode_end(x, toys.schedule.sigma_max)
    errors = [
        float((solve(toys, settings, level_grid(toys.schedule, n, "karras"), x, high) - exact).square().mean().sqrt()) for n in (10, 20, 40)
    ]
    assert errors[0] > fall * errors[1] > fall * fall * errors[2]


def test_a_little_distillation_spreads_one_step_samples_over_both_modes(toys):
    student = toys.train(config("cd", n=16), steps=150, mixture=toys.mixture)
    mean = toys.one_step(toys.world(toys.exact(toys.mixture.denoise)))[1]  # what a one-step denoiser gives
    assert target_error(toys, student) < 0.5 * wasserstein(mean, toys.mixture.sample(20_000, seed=77))


@pytest.mark.slow
@pytest.mark.parametrize("ema", [0.0, 0.95])
def test_consistency_distillation_reaches_the_target_and_its_exact_trajectories(toys, ema):
    student = toys.train(config("cd", n=18, target_ema=ema), steps=2000, mixture=toys.mixture)
    assert target_error(toys, student) < 0.06
    assert map_error(toys, student) < 0.08


@pytest.mark.slow
def test_on_one_budget_distillation_follows_the_trajectories_closer_with_more_levels(toys):
    few, some, many = (
        map_error(toys, toys.train(config("cd", n=n, solver="euler"), steps=2000, mixture=toys.mixture)) for n in (4, 16, 64)
    )
    assert few > 2 * some
    assert some > many


@pytest.mark.slow
@pytest.mark.parametrize(("name", "values"), [("ect", {"stages": 8}), ("ct", {"n_start": 10, "n": 80})])
def test_consistency_training_without_a_teacher_reaches_the_target(toys, name, values):
    student = toys.train(ObjectiveConfig(name, **values), steps=2000, mixture=toys.mixture)
    assert target_error(toys, student) < 0.12  # 0.39 is the mean's, 0.15 to 0.20 two stages', 0.005 a second sample's


@pytest.mark.slow
def test_independent_noise_alone_ends_at_the_mean(toys):
    # With x_r drawn apart from x_t the best answer to L2 is E[x0 | x_t]: without auxiliary terms `rose` is a regression.
    student = toys.train(config("rose", n=30, grid="linear", target_ema=0.95), steps=1000, mixture=toys.mixture)
    x, y = toys.one_step(student)
    mean = toys.mixture.denoise(x, torch.full_like(x, student.spec.schedule.sigma_max))
    assert float((y - mean).square().mean().sqrt()) < 0.1
    assert float(y.std()) < 0.1 < float(toys.mixture.sample(1000).std())

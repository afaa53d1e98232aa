"""What each objective does with one batch, against closed forms."""

from dataclasses import replace

import pytest
import torch

from lcm.errors import LcmError
from lcm.network import LcmMcb, NetworkConfig
from lcm.objectives import ObjectiveConfig, objective_of
from lcm.objectives.base import wide
from lcm.objectives.consistency import _heun_step, _solve, towards
from lcm.sampler import sample_heun
from lcm.schedule import ect_r, level_grid
from lcm.training.optim import update_ema


@pytest.fixture
def x0(toys):
    return toys.mixture.sample(toys.clips, 1, toys.frames)


def run(toys, config, student, x0, **values):
    return objective_of(config)[1](toys.step(config, student, x0, **values))


def recorder(toys, answer):
    """Return a world that notes every (x, sigma) it is asked and answers by a formula."""
    asked = []
    return asked, toys.world(toys.exact(lambda x, sigma: asked.append((x, sigma[:, 0, 0])) or answer(x, sigma)))


def test_moving_towards_the_data_itself_only_lowers_the_noise(x0):
    noise, t, r = torch.randn_like(x0), torch.full((len(x0),), 3.0), torch.full((len(x0),), 0.7)
    assert torch.allclose(towards(x0 + 3.0 * noise, t, r, x0), x0 + 0.7 * noise, atol=1e-5)


@pytest.mark.parametrize("name", ["ect", "ct"])
def test_training_without_a_teacher_asks_one_noise_at_two_levels(toys, x0, name):
    asked, student = recorder(toys, lambda x, sigma: 0 * x)
    run(toys, ObjectiveConfig(name, n=18), student, x0, index=999)
    (x_t, t), (x_r, r) = asked
    above = r > toys.schedule.sigma_min  # below, the student is asked as if at sigma_min
    assert above.any()
    assert bool((r <= t).all())
    assert torch.allclose(((x_t - x0) / wide(t))[above], ((x_r - x0) / wide(r))[above], atol=1e-3)


def test_rose_asks_two_independent_noises(toys, x0):
    asked, student = recorder(toys, lambda x, sigma: 0 * x)
    run(toys, ObjectiveConfig("rose", n=30, grid="linear"), student, x0)
    (x_t, t), (x_r, r) = asked
    above = r > toys.schedule.sigma_min
    noises = torch.stack([((x_t - x0) / wide(t))[above].flatten(), ((x_r - x0) / wide(r))[above].flatten()])
    assert torch.allclose(noises.std(1), torch.ones(2), atol=0.1)
    assert abs(float(torch.corrcoef(noises)[0, 1])) < 0.1


@pytest.mark.parametrize("name", ["cd", "ct", "rose"])
def test_grid_objectives_ask_neighbours_of_the_grid(toys, x0, name):
    asked, student = recorder(toys, lambda x, sigma: 0 * x)
    config = ObjectiveConfig(name, n=5, solver="euler")
    run(toys, config, student, x0, teacher=toys.world(toys.exact(toys.mixture.denoise)))
    grid = level_grid(toys.schedule, 5, "karras")
    lower = dict(zip(grid[:-1].tolist(), grid[1:].tolist(), strict=True))
    t, r = asked[0][1].tolist(), asked[1][1].tolist()
    assert set(t) <= set(lower)
    assert len(set(t)) > 2
    assert all(b == pytest.approx(max(lower[a], toys.schedule.sigma_min)) for a, b in zip(t, r, strict=True))


@pytest.mark.parametrize("name", ["ect", "ct", "rose", "diffusion"])
def test_where_the_data_are_a_point_that_point_is_the_only_answer_without_cost(toys, name):
    x0, config = torch.full((toys.clips, 1, toys.frames), 0.3), ObjectiveConfig(name, distance="l2")
    exact, wrong = (toys.world(toys.exact(lambda x, sigma, point=point: torch.full_like(x, point))) for point in (0.3, 0.4))
    assert float(run(toys, config, exact, x0)[0].max()) < 1e-9
    assert float(run(toys, config, wrong, x0)[0].max()) > 5e-3


def test_a_teacher_step_of_cd_is_the_samplers_heun_step(toys, x0):
    teacher = toys.world(toys.exact(toys.mixture.denoise))
    step = toys.step(ObjectiveConfig("cd"), teacher, x0)
    x, t = x0 + 2.0 * torch.randn_like(x0), torch.full((len(x0),), 2.0)
    for there in (1.2, 0.0):
        ours = _heun_step(step, teacher, x, t, torch.full((len(x0),), there))
        theirs = sample_heun(lambda x, s: toys.mixture.denoise(x, torch.full_like(x, s)), x / 2.0, [2.0, there])
        assert torch.allclose(ours, theirs, atol=1e-5)


@pytest.mark.parametrize("solver", ["heun", "euler"])
def test_several_teacher_steps_come_closer_to_the_trajectory_and_end_exactly_at_the_lower_level(toys, x0, solver):
    # Normal data of deviation 0.5: D = x / (1 + 4 s^2) and x / sqrt(0.25 + s^2) is kept along a trajectory.
    teacher = toys.world(toys.exact(lambda x, s: x * 0.25 / (0.25 + s.square())))
    t, r = torch.full((len(x0),), 2.0), torch.full((len(x0),), 0.5)
    exact = x0 * (0.5 / 4.25) ** 0.5
    errors = [
        float((_solve(toys.step(ObjectiveConfig("cd", solver=solver, solver_steps=n), teacher, x0), teacher, x0, t, r) - exact).abs().max())
        for n in (10, 20)
    ]
    order = {"heun": 4, "euler": 2}[solver]
    assert 0.8 * order < errors[0] / errors[1] < 1.25 * order


@pytest.mark.parametrize("steps", [1, 3, 5, 7])
def test_the_last_teacher_step_to_zero_ends_at_the_denoised_point(toys, x0, steps):
    # With no second slope at 0: rounding must not make the last level 1e-9 instead, where the corrector would count.
    teacher = toys.world(toys.exact(lambda x, sigma: x * 0.25 / (0.25 + sigma.square())))
    t, zero = 4 * torch.rand(len(x0)) + 0.5, torch.zeros(len(x0))
    out = _solve(toys.step(ObjectiveConfig("cd", solver_steps=steps), teacher, x0), teacher, x0, t, zero)
    before = x0
    if steps > 1:
        before = _solve(toys.step(ObjectiveConfig("cd", solver_steps=steps - 1), teacher, x0), teacher, x0, t, t / steps)
    assert torch.allclose(out, teacher.network(before, t / steps, None, None, None).state, atol=1e-5)


def test_cd_without_a_teacher_says_what_to_set(toys, x0):
    with pytest.raises(LcmError, match=r"teacher\.name=latent"):
        run(toys, ObjectiveConfig("cd"), toys.world(toys.learner()), x0)


def test_the_averaged_target_is_followed_where_there_is_one(toys, x0):
    student = toys.world(toys.exact(lambda x, sigma: torch.full_like(x, 0.3)))
    target = toys.world(toys.exact(lambda x, sigma: torch.full_like(x, 0.5)))
    loss, _ = run(toys, ObjectiveConfig("rose", n=4, grid="linear", distance="l2"), student, x0, target=target)
    assert float(loss.min()) > 0
    assert float(loss.median()) == pytest.approx(0.04, rel=1e-4)


def test_no_gradient_reaches_the_target_or_the_teacher(toys, x0):
    student, target, teacher = (toys.world(toys.learner()) for _ in range(3))
    run(toys, ObjectiveConfig("cd", target_ema=0.9), student, x0, target=target, teacher=teacher)[0].mean().backward()
    assert all(p.grad is not None for p in student.parameters())
    assert all(p.grad is None for model in (target, teacher) for p in model.parameters())


def test_the_average_forgets_its_start_geometrically(toys):
    average, model = toys.world(toys.learner(4)), toys.world(toys.learner(4))
    start = [p.clone() for p in average.parameters()]
    for _ in range(7):
        update_ema(average, model, 0.9)
    for a, s, m in zip(average.parameters(), start, model.parameters(), strict=True):
        assert torch.allclose(a, 0.9**7 * s + (1 - 0.9**7) * m, atol=1e-6)


@pytest.mark.parametrize("name", ["ect", "ct"])
def test_the_weight_is_one_over_the_gap_of_levels(toys, x0, name):
    asked, student = recorder(toys, lambda x, sigma: x0 + sigma)  # its error against its own target is the gap, against the data t
    loss, _ = run(toys, ObjectiveConfig(name, n=6, distance="l2"), student, x0)
    (_, t), (_, asked_r) = asked
    zero = t == toys.schedule.sigma_min if name == "ct" else ect_r(t, 0) == 0
    gap = t - torch.where(zero, 0.0, asked_r)
    sure = zero | (asked_r > toys.schedule.sigma_min) | (name == "ct")  # in between, ect is asked at sigma_min for a lower r
    assert 0 < int(zero.sum()) < int(sure.sum())
    assert torch.allclose(loss[sure], gap[sure], rtol=1e-3)  # gap^2 / gap


def test_pairs_ask_the_stored_noise_at_the_highest_level_and_fresh_noise_elsewhere(toys, x0):
    asked, student = recorder(toys, lambda x, sigma: 0 * x)
    stored, taught = torch.randn_like(x0), torch.arange(toys.clips) % 2 == 0
    run(toys, ObjectiveConfig("pairs"), student, x0, noise=stored, from_teacher=taught)
    [(x, sigma)] = asked
    assert bool((sigma == toys.schedule.sigma_max).all())
    assert torch.equal(x[taught], toys.schedule.sigma_max * stored[taught])
    assert not torch.isclose(x[~taught], toys.schedule.sigma_max * stored[~taught], atol=1e-3).any(-1).all()
    assert float(x[~taught].std()) == pytest.approx(toys.schedule.sigma_max, rel=0.1)


def test_pairs_of_another_shape_are_refused_with_the_setting_to_change(toys, x0):
    with pytest.raises(LcmError, match=r"data\.target=teacher"):
        run(toys, ObjectiveConfig("pairs"), toys.world(toys.learner()), x0, noise=torch.zeros(len(x0), 0, toys.frames))


def test_regression_asks_silence_at_the_highest_level_whatever_the_seed(toys, x0):
    asked, student = recorder(toys, lambda x, sigma: 0 * x)
    a, b = (run(toys, ObjectiveConfig("regression"), student, x0, seed=s)[0] for s in (0, 1))
    assert all(bool((x == 0).all() and (sigma == toys.schedule.sigma_max).all()) for x, sigma in asked)
    assert torch.equal(a, b)


def test_the_optimal_denoiser_costs_diffusion_less_than_its_neighbours(toys, x0):
    def loss(change):
        student = toys.world(toys.exact(lambda x, sigma: toys.mixture.denoise(x, sigma) + change(x, sigma)))
        return float(run(toys, ObjectiveConfig("diffusion"), student, x0)[0].mean())

    best = loss(lambda x, s: 0 * x)
    for size in (-0.1, 0.1):
        assert best < loss(lambda x, s, size=size: size * s)
        assert best < loss(lambda x, s, size=size: size * s * x)


class PointFlow(LcmMcb):
    """The exact velocity where all data are at one point: towards it, in the time that is left."""

    point = 0.3

    def velocity(self, x, time, condition, cutoff_hz, mask=None):
        self.heard = condition
        return (self.point - x) / wide(1 - time)


@pytest.fixture
def flow_world(toys):
    return toys.world(PointFlow(NetworkConfig(8, 1, 1, 2, 8), (1,), 1))


def test_the_exact_velocity_costs_flow_nothing_and_ends_at_the_data(toys, flow_world):
    x0 = torch.full((toys.clips, 1, toys.frames), 0.3)
    loss, prediction = run(toys, ObjectiveConfig("flow"), flow_world, x0)
    assert float(loss.max()) < 1e-6
    assert torch.allclose(prediction.state, x0, atol=1e-5)
    assert float(run(toys, ObjectiveConfig("flow"), flow_world, x0 + 0.1)[0].min()) > 0.009  # (0.1 / time left)^2


@pytest.mark.parametrize(("share", "low", "high"), [(0.0, 0, 0), (0.15, 0.05, 0.3), (1.0, 1, 1)])
def test_flow_hides_the_condition_from_the_asked_share_of_clips(toys, x0, flow_world, share, low, high):
    config = ObjectiveConfig("flow", p_uncond=share, guidance=1.0)
    step = replace(toys.step(config, flow_world, x0), condition=torch.ones_like(x0))
    objective_of(config)[1](step)
    hidden = (flow_world.network.heard == 0).all(-1).all(-1)
    assert low <= float(hidden.float().mean()) <= high
    assert bool((flow_world.network.heard[~hidden] == 1).all())

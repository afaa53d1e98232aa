import pytest
import torch

from lcm.blocks import SIGMA_DATA
from lcm.network import LcmMcb, NetworkConfig
from lcm.sampler import denoiser, guided_velocity, heun_calls, sample_consistency, sample_flow, sample_heun, teacher_sigmas
from lcm.schedule import ScheduleConfig

ONE = torch.ones(1, 1, 1, dtype=torch.float64)


def normal_denoiser(x, sigma):
    """The optimal denoiser of x0 ~ N(0, SIGMA_DATA^2); its flow keeps x / sqrt(SIGMA_DATA^2 + sigma^2)."""
    return x * SIGMA_DATA**2 / (SIGMA_DATA**2 + sigma**2)


def test_at_zero_noise_the_answer_is_the_input_without_a_call():
    def never(*_):
        raise AssertionError("the network was asked at sigma = 0")

    x = torch.randn(1, 128, 5)
    assert torch.equal(denoiser(never, x, torch.ones(1))(x, 0.0), x)


def test_heun_is_of_second_order_on_an_ode_with_a_known_solution():
    exact = 10.0 * ((SIGMA_DATA**2 + 0.1**2) / (SIGMA_DATA**2 + 100.0)) ** 0.5
    errors = []
    for steps in (20, 40):
        sigmas = torch.logspace(1, -1, steps + 1, dtype=torch.float64).tolist()
        errors.append(abs(float(sample_heun(normal_denoiser, ONE, sigmas)) - exact))
    assert 3.2 < errors[0] / errors[1] < 4.8


def test_the_teachers_grid_ends_at_the_data_with_second_order():
    exact = 10.0 * SIGMA_DATA / (SIGMA_DATA**2 + 100.0) ** 0.5
    errors = [abs(float(sample_heun(normal_denoiser, ONE, teacher_sigmas(ScheduleConfig(), n))) / exact - 1) for n in (18, 36)]
    assert errors[0] < 0.03
    assert errors[0] / errors[1] > 3.5


def test_heun_makes_two_calls_a_step_and_one_at_the_end():
    calls = []
    sample_heun(lambda x, s: calls.append(s) or x * 0.5, ONE, [10.0, 1.0, 0.1, 0.0])
    assert calls == [10.0, 1.0, 1.0, 0.1, 0.1]
    assert len(calls) == heun_calls(3)


def test_a_consistency_sampler_makes_one_call_a_level():
    calls = []
    sample_consistency(lambda x, s: calls.append(s) or x * 0, [ONE] * 3, [10.0, 0.8, 0.3])
    assert calls == [10.0, 0.8, 0.3]


@pytest.mark.parametrize("steps", [1, 2, 4])
def test_an_exact_consistency_function_samples_the_data_in_any_number_of_steps(steps):
    # x0 ~ N(0, 0.25): f(x, s) = x / sqrt(1 + 4 s^2); each further step draws noise again and must keep the deviation
    noises = [torch.randn(1, 1, 100_000, generator=torch.Generator().manual_seed(i)) for i in range(steps)]
    levels = [80.0, *(0.8 / 3**i for i in range(steps - 1))]
    x = sample_consistency(lambda x, s: x * SIGMA_DATA / (SIGMA_DATA**2 + s**2) ** 0.5, noises, levels)
    assert float(x.std()) == pytest.approx(SIGMA_DATA, rel=0.01)


def normal_velocity(mean, deviation):
    """The marginal velocity from N(0, 1) to N(mean, deviation^2): E[x1 - x0 | t x1 + (1 - t) x0 = x]."""

    def velocity(x, time):
        variance = (time * deviation) ** 2 + (1 - time) ** 2
        return mean + (time * deviation**2 - (1 - time)) / variance * (x - time * mean)

    return velocity


def test_the_exact_velocity_carries_noise_to_the_data_at_eulers_order():
    noise = torch.randn(1, 1, 2000, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    exact = 0.7 + 0.3 * noise  # the flow of normals keeps quantiles
    errors = [float((sample_flow(normal_velocity(0.7, 0.3), noise, n) - exact).abs().max()) for n in (100, 200)]
    assert errors[1] < 0.03
    assert 1.7 < errors[0] / errors[1] < 2.3


def test_a_flow_is_asked_at_even_times_from_zero():
    times = []
    sample_flow(lambda x, t: times.append(t) or 0 * x, ONE, 4)
    assert times == [0.0, 0.25, 0.5, 0.75]


@pytest.fixture
def flow_model():
    torch.manual_seed(0)
    network = LcmMcb(NetworkConfig(width=16, depth=1, heads=2, window=4, head_width=16), (1, 1), 4)
    for head in network.heads:
        torch.nn.init.normal_(head.out.weight, std=0.3)
    return network.eval()


def test_guidance_of_one_is_the_conditional_velocity_and_of_zero_the_unconditional(flow_model):
    x, condition, cutoff = torch.randn(2, 8, 10), torch.randn(2, 4, 10), torch.full((2,), 6000.0)
    times = torch.full((2,), 0.3)
    told, untold = (flow_model.velocity(x, times, c, cutoff) for c in (condition, 0 * condition))
    assert not torch.allclose(told, untold, atol=1e-2)
    for scale, expected in ((1.0, told), (0.0, untold), (2.0, 2 * told - untold)):
        assert torch.allclose(guided_velocity(flow_model, condition, cutoff, scale)(x, 0.3), expected, atol=1e-5)


def test_without_guidance_a_flow_costs_one_call_a_step(flow_model):
    calls = []
    flow_model.layers[0].register_forward_hook(lambda *_: calls.append(1))
    x, condition, cutoff = torch.randn(2, 8, 10), torch.randn(2, 4, 10), torch.full((2,), 6000.0)
    for guidance, expected in ((1.0, 3), (2.0, 6)):
        calls.clear()
        sample_flow(guided_velocity(flow_model, condition, cutoff, guidance), x, 3)
        assert len(calls) == expected

import torch

from lcm.blocks import SIGMA_DATA
from lcm.model import transfer
from lcm.sampler import denoiser, heun_calls, sample_consistency, sample_heun


def inputs(frames=40, batch=2, blocks=1):
    torch.manual_seed(1)
    return torch.randn(batch, 128 * blocks, frames), torch.randn(batch, 128, frames), torch.full((batch,), 6000.0)


def test_a_padded_batch_gives_what_its_clips_give_one_by_one(make_model):
    network = make_model().network
    x, condition, cutoff = inputs()
    mask = torch.ones(2, 40, dtype=torch.bool)
    mask[1, 25:] = False
    sigma = torch.tensor([0.5, 2.0])
    together = network(x, sigma, condition, cutoff, mask).state
    alone = network(x[1:, :, :25], sigma[1:], condition[1:, :, :25], cutoff[1:]).state
    assert torch.allclose(together[1, :, :25], alone[0], atol=1e-5)


def test_frames_beyond_the_receptive_field_change_nothing(make_model):
    network = make_model().network
    x, condition, cutoff = inputs(frames=80, batch=1)
    far = x.clone()
    far[:, :, network.receptive_frames + 1 :] += 1.0
    sigma = torch.ones(1)
    a, b = (network(v, sigma, condition, cutoff).state[..., 0] for v in (x, far))
    assert torch.allclose(a, b, atol=1e-5)
    assert not torch.allclose(network(x + 0.1, sigma, condition, cutoff).state[..., 0], a, atol=1e-3)


def test_long_inputs_are_attended_in_chunks_without_a_trace(make_model, monkeypatch):
    network = make_model().network
    x, condition, cutoff = inputs(frames=100, batch=1)
    whole = network(x, torch.ones(1), condition, cutoff).state
    monkeypatch.setattr("lcm.attention._QUERY_CHUNK", 32)
    assert torch.allclose(network(x, torch.ones(1), condition, cutoff).state, whole, atol=1e-5)


def test_the_condition_and_the_cutoff_reach_the_output(make_model):
    network = make_model().network
    torch.nn.init.normal_(network.modulate.weight, std=0.1)
    x, condition, cutoff = inputs()
    base = network(x, torch.ones(2), condition, cutoff).state
    assert not torch.allclose(network(x, torch.ones(2), condition + 1, cutoff).state, base, atol=1e-3)
    assert not torch.allclose(network(x, torch.ones(2), condition, cutoff - 2000).state, base, atol=1e-5)


def test_later_blocks_see_the_earlier_predictions(make_model):
    network = make_model(partition=(2, 6)).network
    x, condition, cutoff = inputs(blocks=2)
    before = network(x, torch.ones(2), condition, cutoff).state
    network.heads[0].out.bias.data += 1.0
    after = network(x, torch.ones(2), condition, cutoff).state
    assert not torch.allclose(before[:, 128:], after[:, 128:], atol=1e-4)


def test_a_student_of_the_same_partition_starts_as_its_teacher(make_model):
    teacher, student = make_model("diffusion", seed=1), make_model(seed=2)
    transfer(teacher, student)
    x, condition, cutoff = inputs()
    a, b = (m.network(x, torch.ones(2), condition, cutoff).state for m in (teacher, student))
    assert torch.equal(a, b)


def test_a_student_of_other_blocks_starts_with_the_teachers_trunk_features(make_model):
    teacher, student = make_model("diffusion", seed=1), make_model(partition=(2, 6), seed=2)
    transfer(teacher, student)
    blocks = torch.randn(1, 2, 128, 40)
    ratio = (student.blocks.deviation / teacher.blocks.deviation)[..., None]
    summed = (blocks * ratio).sum(1)
    a = student.network.state_in(blocks.flatten(1, 2)) - student.network.state_in.bias[:, None]
    b = teacher.network.state_in(summed) - teacher.network.state_in.bias[:, None]
    assert torch.allclose(a, b, atol=1e-4)


def test_at_zero_noise_the_answer_is_the_input_without_a_call():
    def never(*_):
        raise AssertionError("the network was asked at sigma = 0")

    x = torch.randn(1, 128, 5)
    assert torch.equal(denoiser(never, x, torch.ones(1))(x, 0.0), x)


def test_heun_is_of_second_order_on_an_ode_with_a_known_solution():
    # For x0 ~ N(0, s^2) the optimal denoiser is D = x s^2 / (s^2 + sigma^2) and the flow keeps x / sqrt(s^2 + sigma^2).
    def denoise(x, sigma):
        return x * SIGMA_DATA**2 / (SIGMA_DATA**2 + sigma**2)

    start = torch.tensor([[[1.0]]])
    exact = 10.0 * (SIGMA_DATA**2 + 0.1**2) ** 0.5 / (SIGMA_DATA**2 + 100.0) ** 0.5
    errors = []
    for steps in (20, 40):
        sigmas = torch.logspace(1, -1, steps + 1, dtype=torch.float64).tolist()
        errors.append(abs(float(sample_heun(denoise, start.double(), sigmas)) - exact))
    assert 3.2 < errors[0] / errors[1] < 4.8


def test_heun_makes_two_calls_a_step_and_one_at_the_end():
    calls = []
    sample_heun(lambda x, s: calls.append(s) or x * 0.5, torch.ones(1, 1, 1), [10.0, 1.0, 0.1, 0.0])
    assert len(calls) == heun_calls(3) == 5


def test_a_consistency_sampler_makes_one_call_a_level():
    calls = []
    sample_consistency(lambda x, s: calls.append(s) or x * 0, [torch.ones(1, 1, 1)] * 3, [10.0, 0.8, 0.3])
    assert calls == [10.0, 0.8, 0.3]

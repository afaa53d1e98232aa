import random
from dataclasses import replace

import pytest
import torch

from lcm.blocks import SIGMA_DATA
from lcm.errors import LcmError
from lcm.model import transfer
from lcm.network import CONDITIONINGS, LcmMcb, NetworkConfig
from lcm.schedule import c_out, c_skip

TINY = NetworkConfig(width=32, depth=2, heads=2, window=8, head_width=32)


def network_of(partition=(8,), dimension=128, seed=0, **config):
    """Return a tiny network whose every part speaks: zero initialisations would hide what is tested."""
    torch.manual_seed(seed)
    network = LcmMcb(replace(TINY, **config), partition, dimension)
    for head in network.heads:
        torch.nn.init.normal_(head.out.weight, std=0.1)
    torch.nn.init.normal_(network.modulate.weight, std=0.1)
    return network.eval()


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


def test_a_student_of_other_blocks_answers_with_the_teachers_latent_as_the_sum_of_its_blocks(make_model):
    teacher, student = make_model("diffusion", seed=1), make_model(partition=(1, 3, 4), seed=2)
    for head in student.network.heads:
        torch.nn.init.zeros_(head.out.weight)  # as a student starts
    transfer(teacher, student)
    blocks, condition, cutoff = torch.randn(2, 3, 128, 40), torch.randn(2, 128, 40), torch.full((2,), 6000.0)
    ratio = (student.blocks.deviation / teacher.blocks.deviation)[..., None]
    sigma = torch.tensor([0.3, 4.0])
    ours = student.network(blocks.flatten(1, 2), sigma, condition, cutoff).state.unflatten(1, (3, 128))
    theirs = teacher.network((blocks * ratio).sum(1), sigma, condition, cutoff).state
    assert torch.allclose((ours * ratio).sum(1), theirs, atol=1e-3)


def test_a_student_of_another_prior_is_refused(make_model):
    with pytest.raises(LcmError, match=r"blocks\.prior=condition differs from the teacher's normal"):
        transfer(make_model("diffusion"), make_model(prior="condition"))


EVERY_WAY = [(conditioning, cascade) for conditioning in CONDITIONINGS for cascade in (True, False)]


@pytest.mark.parametrize(("conditioning", "cascade"), EVERY_WAY)
def test_at_no_noise_the_answer_is_the_input(conditioning, cascade):
    network = network_of((2, 6), conditioning=conditioning, cascade=cascade)
    x, condition, cutoff = inputs(blocks=2)
    for sigma in (0.0, 1e-8):
        assert torch.allclose(network(x, torch.full((2,), sigma), condition, cutoff).state, x, atol=1e-6, rtol=0)
    with torch.no_grad():
        distances = [float((network(x, torch.full((2,), s), condition, cutoff).state - x).abs().max()) for s in (1e-2, 1e-3, 1e-4)]
    assert distances[0] > 5 * distances[1] > 25 * distances[2] > 0  # it comes there in proportion to the noise


@pytest.mark.parametrize("conditioning", CONDITIONINGS)
def test_every_conditioning_listens(conditioning):
    network = network_of(conditioning=conditioning)
    x, condition, cutoff = inputs()
    base = network(x, torch.ones(2), condition, cutoff).state
    assert not torch.allclose(network(x, torch.ones(2), condition + 1, cutoff).state, base, atol=1e-3)


@pytest.mark.parametrize("conditioning", CONDITIONINGS)
def test_every_conditioning_ignores_padding(conditioning):
    network = network_of((2, 6), conditioning=conditioning)
    x, condition, cutoff = inputs(blocks=2)
    mask = torch.ones(2, 40, dtype=torch.bool)
    mask[1, 25:] = False
    sigma = torch.tensor([0.5, 2.0])
    together = network(x, sigma, condition.masked_fill(~mask[:, None], 1e4), cutoff, mask).state
    alone = network(x[1:, :, :25], sigma[1:], condition[1:, :, :25], cutoff[1:]).state
    assert torch.allclose(together[1, :, :25], alone[0], atol=1e-5)


def test_film_hears_the_mean_alone_and_the_others_when_it_is_said():
    x, condition, cutoff = inputs(batch=1)
    flipped = condition.flip(-1)
    for conditioning in CONDITIONINGS:
        network = network_of(conditioning=conditioning, kernel=1)  # a convolution of 1 keeps the mean over time as it is
        a, b = (network(x, torch.ones(1), c, cutoff).state for c in (condition, flipped))
        assert torch.allclose(a, b, atol=1e-5) == (conditioning == "film")


@pytest.mark.parametrize("conditioning", ["concat", "cross"])
def test_a_condition_beyond_the_receptive_field_changes_nothing(conditioning):
    network = network_of(conditioning=conditioning)
    x, condition, cutoff = inputs(frames=80, batch=1)
    far = condition.clone()
    far[:, :, network.receptive_frames + 1 :] += 1.0
    near = condition.clone()
    near[:, :, : network.config.window] += 1.0
    a, b, c = (network(x, torch.ones(1), v, cutoff).state[..., 0] for v in (condition, far, near))
    assert torch.allclose(a, b, atol=1e-5)
    assert not torch.allclose(a, c, atol=1e-4)


def gradient_of_later_by_earlier(cascade):
    network = network_of((2, 6), cascade=cascade)
    x, condition, cutoff = inputs(blocks=2)
    network(x, torch.ones(2), condition, cutoff).state[:, 128:].sum().backward()
    gradient = network.heads[0].out.weight.grad
    return 0.0 if gradient is None else float(gradient.abs().sum())


def test_heads_are_independent_without_a_cascade_and_linked_with_one():
    assert gradient_of_later_by_earlier(cascade=False) == 0
    assert gradient_of_later_by_earlier(cascade=True) > 0


def test_a_cascade_goes_one_way():
    network = network_of((2, 6))
    x, condition, cutoff = inputs(blocks=2)
    before = network(x, torch.ones(2), condition, cutoff).state
    network.heads[1].out.bias.data += 1.0
    after = network(x, torch.ones(2), condition, cutoff).state
    assert torch.equal(before[:, :128], after[:, :128])
    assert not torch.allclose(before[:, 128:], after[:, 128:], atol=1e-2)


def test_teacher_forcing_gives_later_heads_the_true_blocks():
    network = network_of((2, 2, 4))
    x, condition, cutoff = inputs(blocks=3)
    true = torch.randn_like(x)

    def forced(state):
        return network(x, torch.ones(2), condition, cutoff, forced=state).state.split(128, dim=1)

    free, base = network(x, torch.ones(2), condition, cutoff).state.split(128, dim=1), forced(true)
    changed = [forced(torch.cat([t + (i == j) for j, t in enumerate(true.split(128, dim=1))], 1)) for i in range(3)]
    reach = [[not torch.equal(a, b) for a, b in zip(base, other, strict=True)] for other in changed]
    assert reach == [[False, True, True], [False, False, True], [False, False, False]]  # block j reaches later heads alone
    assert torch.equal(free[0], base[0])
    own = network(x, torch.ones(2), condition, cutoff)
    assert torch.allclose(network(x, torch.ones(2), condition, cutoff, forced=own.state).state, own.state, atol=1e-6)


def test_preconditioning_mixes_input_and_network_as_edm_says():
    network = network_of((8,))
    x, condition, cutoff = inputs()
    sigma = torch.tensor([0.3, 5.0])
    level = sigma[:, None, None]
    raw = (network(x, sigma, condition, cutoff).state - c_skip(level) * x) / c_out(level)
    trunk = network._trunk(x / (sigma.square() + SIGMA_DATA**2).sqrt()[:, None, None], sigma.log() / 4, condition, cutoff, None)
    head = network.heads[0]
    expected = head.out(torch.nn.functional.gelu(head.trunk(trunk), approximate="tanh")).transpose(1, 2)
    assert torch.allclose(raw, expected, atol=1e-3)


def test_logits_have_a_row_a_codebook_and_cost_nothing_when_not_asked():
    network = network_of((1, 3, 4), logits=True, bins=16)
    x, condition, cutoff = inputs(blocks=3)
    told = network(x, torch.ones(2), condition, cutoff, logits=True)
    assert told.logits.shape == (2, 8, 40, 16)
    silent = network(x, torch.ones(2), condition, cutoff)
    assert silent.logits is None
    assert torch.equal(silent.state, told.state)
    assert network_of((8,))(*inputs()[:1], torch.ones(2), *inputs()[1:], logits=True).logits is None


@pytest.mark.parametrize("seed", range(12))
def test_any_partition_of_up_to_32_codebooks_builds_and_runs(seed):
    chance = random.Random(seed)
    codebooks = 32 if seed < 4 else chance.randint(1, 32)
    cuts = sorted(chance.sample(range(1, codebooks), chance.randint(0, codebooks - 1))) if codebooks > 1 else []
    partition = tuple(b - a for a, b in zip([0, *cuts], [*cuts, codebooks], strict=True))
    network = network_of(partition, dimension=8, logits=True, bins=4, cascade=seed % 2 == 0)
    x = torch.randn(1, 8 * len(partition), 6)
    answer = network(x, torch.ones(1), torch.randn(1, 8, 6), torch.zeros(1), logits=True)
    assert answer.state.shape == x.shape
    assert answer.logits.shape == (1, codebooks, 6, 4)


@pytest.mark.parametrize("conditioning", CONDITIONINGS)
def test_recomputed_activations_give_the_same_gradients(conditioning):
    gradients = []
    for checkpointing in (False, True):
        network = network_of((2, 6), conditioning=conditioning).train()
        network.checkpointing = checkpointing
        x, condition, cutoff = inputs(blocks=2)
        network(x, torch.ones(2), condition, cutoff).state.square().mean().backward()
        gradients.append(torch.cat([p.grad.flatten() for p in network.parameters() if p.grad is not None]))
    assert torch.allclose(*gradients, atol=1e-6)
    assert float(gradients[0].abs().max()) > 0


def test_an_unknown_conditioning_is_refused_with_the_valid_ones():
    with pytest.raises(LcmError, match="concat, film, cross"):
        network_of(conditioning="add")

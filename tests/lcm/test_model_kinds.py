"""Each kind of model restores a clip, in the network calls that it says, and is rebuilt from its description."""

import json
from dataclasses import replace

import pytest
import torch

from lcm import checkpoint
from lcm.degrade import Degradation, apply
from lcm.model import KINDS, ModelSpec
from lcm.network import CONDITIONINGS

CUTOFF = torch.full((2,), 6000.0)


@pytest.fixture(scope="module")
def codes(codec, speech):
    return codec.encode(torch.from_numpy(apply(speech, Degradation()))[None, None])[..., :40].repeat(2, 1, 1)


@pytest.fixture
def originals(codec, speech):
    return codec.encode(torch.from_numpy(speech)[None, None])[..., :40].repeat(2, 1, 1)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_restores_finite_latents_of_the_inputs_length(make_model, codec, codes, kind):
    latents = make_model(kind).restore(codec, codes, CUTOFF, steps=2)
    assert latents.shape == (2, codec.dimension, 40)
    assert bool(latents.isfinite().all())
    assert not latents.requires_grad


@pytest.mark.parametrize("kind", sorted(set(KINDS) - {"token_ce"}))
@pytest.mark.parametrize("steps", [1, 3])
def test_every_kind_makes_the_calls_it_says(make_model, codec, codes, kind, steps):
    for guidance in (1.0, 2.0) if kind == "flow" else (1.0,):
        model = make_model(kind, guidance=guidance)
        calls = []
        model.network.layers[0].register_forward_hook(lambda *_, calls=calls: calls.append(1))
        model.restore(codec, codes, CUTOFF, steps=steps)
        assert len(calls) == model.calls(steps)


@pytest.mark.parametrize("kind", KINDS)
def test_seeds_matter_to_models_that_sample(make_model, codec, codes, kind):
    model, random = make_model(kind), kind in ("consistency", "diffusion", "flow")
    a, b = (model.restore(codec, codes, CUTOFF, steps=2, seeds=(s,)) for s in (0, 1))
    assert torch.equal(a, model.restore(codec, codes, CUTOFF, steps=2, seeds=(0,)))
    assert torch.allclose(a, b) != random


@pytest.mark.parametrize("kind", ["consistency", "diffusion", "flow"])
def test_a_clips_sample_depends_on_its_own_seed(make_model, codec, codes, kind):
    model = make_model(kind)
    both = model.restore(codec, codes, CUTOFF, steps=2, seeds=(4, 5))
    alone = model.restore(codec, codes[:1], CUTOFF[:1], steps=2, seeds=(5,))
    assert torch.allclose(both[1], alone[0], atol=1e-3 * float(alone.std()))


@pytest.mark.parametrize("kind", ["consistency", "diffusion", "regression"])
@pytest.mark.parametrize("partition", [(8,), (1, 3, 4)])
def test_around_the_condition_a_silent_network_gives_the_condition_back(make_model, codec, codes, originals, kind, partition):
    model = make_model(kind, partition, prior="condition")
    model.blocks.fit(codec, [(originals[:1], codes[:1])])
    for head in model.network.heads:
        torch.nn.init.zeros_(head.out.weight)
    away = model.restore(codec, codes, CUTOFF) - codec.latents(codes) - model.blocks.mean.sum(0)[:, None]
    spread = model.blocks.deviation.sum(0)[:, None]
    assert bool((away.abs() < 0.5 * spread).all())  # c_skip lets 2.5 % of a noise of 20 deviations through


@pytest.mark.parametrize("prior", ["normal", "condition"])
def test_tokens_are_the_requantised_latents(make_model, codec, codes, originals, prior):
    model = make_model(prior=prior)
    model.blocks.fit(codec, [(originals[:1], codes[:1])])
    free = model.restore(codec, codes, CUTOFF)
    model.spec.output = "tokens"
    assert torch.allclose(model.restore(codec, codes, CUTOFF), codec.latents(codec.requantise(free)), atol=1e-4)


def test_one_token_a_block_is_the_nearest_vector_of_its_own_codebook(make_model, codec, codes):
    model = make_model("regression", (1,) * 8, output="tokens")
    state = model._sample(model.blocks.condition(codec, codes), CUTOFF, 1, (0,))
    wanted, vectors = model.blocks.unstandardise(state), codec.embeddings
    nearest = torch.stack([torch.cdist(wanted[:, k].transpose(1, 2), vectors[k][None]).argmin(-1) for k in range(8)], 1)
    assert torch.allclose(model.restore(codec, codes, CUTOFF), codec.latents(nearest), atol=1e-4)


@pytest.mark.parametrize("conditioning", CONDITIONINGS)
@pytest.mark.parametrize("cascade", [True, False])
def test_a_model_survives_its_checkpoint(make_model, codec, codes, tmp_path, conditioning, cascade):
    model = make_model(partition=(2, 6))
    network = replace(model.spec.network, conditioning=conditioning, cascade=cascade)
    spec = replace(model.spec, network=network, prior="condition", block_weights=(3.0, 1.0), guidance=1.5)
    model = type(model)(spec, codec).eval()
    checkpoint.save_model(tmp_path / "m.safetensors", model)
    again = checkpoint.load_model(tmp_path / "m.safetensors", codec)
    assert again.spec == spec
    assert torch.equal(again.blocks.loss_weights(), model.blocks.loss_weights())
    assert torch.equal(again.restore(codec, codes, CUTOFF), model.restore(codec, codes, CUTOFF))


def test_a_description_from_before_the_new_settings_is_read_with_their_defaults(make_model):
    spec = make_model("diffusion").spec
    old = json.loads(json.dumps(spec.to_dict()))
    for name in ("prior", "block_weights", "guidance"):
        del old[name]
    for name in ("cascade", "conditioning"):
        del old["network"][name]
    assert ModelSpec.from_dict(old) == spec


def test_without_noise_every_seed_gives_one_answer_and_half_of_it_lies_between(make_model, codec, codes):
    model, cutoff_hz = make_model("consistency"), torch.tensor([6000.0] * len(codes))
    at = {t: [model.restore(codec, codes, cutoff_hz, seeds=[seed], temperature=t) for seed in (1, 2)] for t in (0.0, 0.5, 1.0)}
    apart = {t: float((a - b).norm()) for t, (a, b) in at.items()}
    assert apart[0.0] == 0
    assert 0 < apart[0.5] < apart[1.0]

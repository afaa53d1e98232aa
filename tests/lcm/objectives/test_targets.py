"""Every objective as a training step on stored codes, and the noise that a teacher's stored samples came from."""

from dataclasses import replace
from itertools import product

import pytest
import torch

from lcm import checkpoint
from lcm.distances import DISTANCES
from lcm.errors import LcmError
from lcm.losses import LossConfig
from lcm.objectives import OBJECTIVES, ObjectiveConfig, objective_of
from lcm.sampler import denoiser, sample_heun, teacher_sigmas
from lcm.training.draws import Draws
from lcm.training.step import Held, TrainStep


@pytest.fixture(scope="module")
def made():
    """What was made once for all tests of this file."""
    return {}


@pytest.fixture
def teacher_and_overlay(make_model, overlay_of, made, tmp_path, codec):
    """A tiny diffusion teacher and its samples of the store."""
    if not made:
        path = tmp_path / "teacher.safetensors"
        checkpoint.save_model(path, make_model("diffusion"))
        made["both"] = checkpoint.load_model(path, codec), overlay_of(path)
    return made["both"]


@pytest.fixture
def terms_of(codec, make_model, batch_for, teacher_and_overlay):
    """Run one training step; return its terms and the student."""

    def run(config, target="hr", losses=None, autocast=False, **spec):
        teacher, overlay = teacher_and_overlay
        batch = batch_for(target, None if target == "hr" else overlay, config.name == "pairs")
        kind = objective_of(config)[0]
        student = make_model(kind, seed=3, **spec)
        average = make_model(kind, seed=4, **spec) if config.target_ema else None
        step = TrainStep(student, codec, config, losses or LossConfig(), context=2, total=10, teacher=teacher, target=average)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
            terms = step(Held(batch), 5, Draws(0, 5, 0, 4))
        return terms, student

    return run


def is_trained(model):
    """Return the names of parameters with a finite gradient that is not all zero."""
    gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    assert all(bool(g.isfinite().all()) for g in gradients.values())
    return {name for name, g in gradients.items() if bool((g != 0).any())}


POINTS = [point for point in product(sorted(OBJECTIVES), ("hr", "teacher", "mix")) if point != ("pairs", "hr")]


@pytest.mark.parametrize(("name", "target"), POINTS)
def test_every_objective_learns_from_every_target(terms_of, name, target):
    terms, student = terms_of(ObjectiveConfig(name, n=6, target_ema=0.9 if name in ("cd", "rose") else 0.0), target)
    assert list(terms) == [name]
    assert bool(terms[name].isfinite())
    assert terms[name].shape == ()
    terms[name].backward()
    assert len(is_trained(student.network)) > 10


@pytest.mark.parametrize("distance", sorted(DISTANCES))
def test_every_distance_gives_a_gradient(terms_of, distance):
    terms, student = terms_of(ObjectiveConfig("ect", distance=distance))
    terms["ect"].backward()
    assert len(is_trained(student.network)) > 10


@pytest.mark.parametrize("name", sorted(set(OBJECTIVES) - {"pairs"}))
def test_mixed_precision_reaches_the_same_weights(terms_of, name):
    # The target is asked without gradient inside the same autocast, whose cache of cast weights must not lose the student's.
    reached = []
    for autocast in (False, True):
        terms, student = terms_of(ObjectiveConfig(name, n=6), autocast=autocast)
        terms[name].backward()
        reached.append(is_trained(student.network))
    assert reached[0] == reached[1]


@pytest.mark.parametrize("name", ["ect", "cd", "regression", "diffusion", "flow"])
def test_the_prior_around_the_condition_trains_too(terms_of, make_model, batch_for, codec, name):
    student, teacher = (make_model(kind, prior="condition", seed=5) for kind in (objective_of(ObjectiveConfig(name))[0], "diffusion"))
    batch = batch_for()
    for model in (student, teacher):
        model.blocks.fit(codec, [(h[None], c[None]) for h, c in zip(batch.target_codes, batch.lr_codes, strict=True)])
    step = TrainStep(student, codec, ObjectiveConfig(name, n=6), LossConfig(mr_stft=1.0), context=2, total=10, teacher=teacher)
    terms = step(Held(batch), 5, Draws(0, 5, 0, 4))
    assert all(bool(t.isfinite()) for t in terms.values())
    sum(terms.values()).backward()
    assert len(is_trained(student.network)) > 10


def test_clips_of_the_teacher_aim_at_its_latents_before_requantising(codec, make_model, batch_for, teacher_and_overlay):
    teacher, overlay = teacher_and_overlay
    batch = batch_for("mix", overlay, pairs=True, size=8)
    assert 0 < int(batch.from_teacher.sum()) < 8
    step = TrainStep(teacher, codec, ObjectiveConfig("pairs"), LossConfig(), context=2, total=10)
    reached = teacher.blocks.to_latents(step._state(codec, batch, None))
    wanted = torch.where(batch.from_teacher[:, None, None], batch.latents, codec.latents(batch.target_codes))
    assert torch.allclose(reached, wanted, atol=1e-3)


def noise_ends_at(codec, teacher, batch, steps):
    """Restore each clip of a batch from its noise, as the teacher did."""
    condition = teacher.blocks.condition(codec, batch.lr_codes)
    denoise = denoiser(teacher.network, condition, batch.cutoff_hz, batch.mask)
    with torch.no_grad():
        state = sample_heun(denoise, batch.noise, teacher_sigmas(teacher.spec.schedule, steps))
        return teacher.blocks.to_latents(state, teacher.blocks.anchor(codec, batch.lr_codes))


def test_the_drawn_noise_is_the_one_that_the_teachers_stored_latents_came_from(codec, batch_for, teacher_and_overlay):
    teacher, overlay = teacher_and_overlay
    batch = batch_for("teacher", overlay, pairs=True, frames=160)  # clips have 150 frames
    scale = float(batch.latents.std())
    restored = noise_ends_at(codec, teacher, batch, 2)
    assert torch.allclose(restored[..., :150], batch.latents[..., :150], atol=5e-3 * scale)
    other = noise_ends_at(codec, teacher, replace(batch, noise=batch.noise.roll(1, -1)), 2)
    assert not torch.allclose(other[..., :150], batch.latents[..., :150], atol=0.1 * scale)


def test_a_crops_noise_belongs_to_its_own_frames(codec, batch_for, teacher_and_overlay):
    teacher, overlay = teacher_and_overlay
    batch = batch_for("teacher", overlay, pairs=True, frames=128)
    reach = 3 * teacher.network.receptive_frames  # of the teacher's three calls: its context ends at the crop's edges
    inner = slice(reach, 128 - reach)
    assert inner.stop - inner.start > 10
    restored = noise_ends_at(codec, teacher, batch, 2)
    assert torch.allclose(restored[..., inner], batch.latents[..., inner], atol=5e-3 * float(batch.latents.std()))


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"name": "edm"}, r"'cd', 'ct', 'diffusion', 'ect', 'flow', 'pairs', 'regression', 'rose', 'token_ce'"),
        ({"name": "ect", "distance": "l3"}, "cauchy, l2, pseudo_huber"),
        ({"name": "cd", "grid": "cosine"}, "karras, linear"),
        ({"name": "cd", "solver": "dpm"}, "heun, euler"),
        ({"name": "cd", "n": 1}, "n=1 must be at least 2"),
        ({"name": "ct", "n": 8, "n_start": 9}, "n_start=9"),
        ({"name": "cd", "target_ema": 1.0}, r"target_ema=1\.0"),
        ({"name": "ect", "scale": 0.0}, r"objective\.scale=0\.0"),
        ({"name": "flow", "p_uncond": 0.0}, "guidance=2.0 needs p_uncond > 0"),
        ({"name": "flow", "teacher_forcing": True}, "no meaning for flow"),
    ],
)
def test_an_unknown_value_is_refused_with_the_valid_ones(values, named):
    with pytest.raises(LcmError, match=named):
        objective_of(ObjectiveConfig(**values))

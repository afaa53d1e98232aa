"""A padded batch of clips of different lengths gives what its clips give one by one; the padding holds codes and noise."""

from dataclasses import fields, replace

import pytest
import torch

from lcm.attention import WindowedAttention
from lcm.auxiliary import auxiliary
from lcm.blocks import Blocks
from lcm.codec import HOP
from lcm.compat import import_encodec
from lcm.data import Batch
from lcm.distances import DISTANCES, distance
from lcm.losses import TERMS, LossConfig
from lcm.model import Model
from lcm.objectives import OBJECTIVES, ObjectiveConfig
from lcm.training.draws import Draws
from lcm.training.step import TrainStep

LENGTHS, PADDED, CONTEXT = (64, 37, 45), 64, 5
CHANNELS = 2 * 128


class Prefixed(Draws):
    """Draws for the longest clip, so that a clip alone gets the first frames of what it gets in the batch."""

    def normal(self, *shape):
        return super().normal(*shape[:-1], PADDED)[..., : shape[-1]] if shape else super().normal()


@pytest.fixture
def batch(codec, speech):
    torch.manual_seed(5)
    mask = torch.arange(PADDED) < torch.tensor(LENGTHS)[:, None]
    audio = torch.stack([torch.from_numpy(speech).roll(-7000 * (i + 1))[: PADDED * HOP] for i in range(3)])
    codes, garbage = codec.encode(audio[:, None]), torch.randint(1024, (3, 8, PADDED))
    padded = torch.where(mask[:, None], codes, garbage)
    noise, latents = torch.randn(3, CHANNELS, PADDED), torch.zeros(3, 0, PADDED)
    audio = torch.where(mask.repeat_interleave(HOP, 1), audio, 9.0)
    cutoffs, from_teacher = torch.tensor([6000.0, 4000.0, 7500.0]), torch.tensor([True, False, True])
    return Batch(padded.roll(1, 1), padded, cutoffs, mask, audio, from_teacher, noise, latents)


def clip(batch, i):
    """Clip i of the batch, alone and without padding."""
    frames = {"audio": LENGTHS[i] * HOP}
    parts = {f.name: getattr(batch, f.name)[i : i + 1] for f in fields(batch)}
    return Batch(**{k: v[..., : frames.get(k, LENGTHS[i])] if v.dim() > 1 else v for k, v in parts.items()})


@pytest.fixture
def make(make_model, codec):
    def build(kind="consistency", partition=(2, 6), prior="normal", **network):
        fitted = make_model(kind, partition)
        model = Model(replace(fitted.spec, prior=prior, network=replace(fitted.spec.network, logits=True, **network)), codec)
        model.blocks.load_state_dict(fitted.blocks.state_dict())
        generator = torch.Generator().manual_seed(1)
        for p in model.parameters():  # every path carries something, those that start at zero too
            p.data += 0.05 * torch.randn(p.shape, generator=generator)
        return model.eval()

    return build


def ask(model, codec, batch, places):
    noise = Prefixed(0, 0, places, len(batch.mask)).normal(CHANNELS, batch.mask.shape[1])
    sigma = torch.tensor([0.3, 1.0, 4.0])[places : places + len(noise)]
    condition = model.blocks.condition(codec, batch.lr_codes)
    return model.network(noise, sigma, condition, batch.cutoff_hz, batch.mask, logits=True)


@pytest.mark.parametrize("conditioning", ["concat", "film", "cross"])
def test_the_networks_prediction(conditioning, make, codec, batch):
    model = make(conditioning=conditioning)
    together = ask(model, codec, batch, 0)
    for i, frames in enumerate(LENGTHS):
        alone = ask(model, codec, clip(batch, i), i)
        assert torch.allclose(together.state[i, :, :frames], alone.state[0], atol=1e-4)
        assert torch.allclose(together.logits[i, :, :frames], alone.logits[0], atol=1e-4)


@pytest.mark.parametrize("conditioning", ["concat", "film", "cross"])
def test_no_gradient_of_a_real_frame_reaches_the_padding(conditioning, make, codec, batch):
    network = make(conditioning=conditioning).network
    x, condition = torch.randn(3, CHANNELS, PADDED, requires_grad=True), torch.randn(3, 128, PADDED, requires_grad=True)
    state = network(x, torch.ones(3), condition, batch.cutoff_hz, batch.mask).state
    (state * batch.mask[:, None]).square().sum().backward()
    for given in (x, condition):
        reached = given.grad.abs().amax(1) > 0
        assert torch.equal(reached, batch.mask)


def test_attention_to_itself_and_to_a_context(batch):
    torch.manual_seed(0)
    attention = WindowedAttention(32, 2, 8)
    x, context = 100 * torch.randn(3, PADDED, 32), 100 * torch.randn(3, PADDED, 32)
    for other in (None, context):
        together = attention(x, batch.mask, other)
        for i, n in enumerate(LENGTHS):
            alone = attention(x[i : i + 1, :n], None, None if other is None else other[i : i + 1, :n])
            assert torch.allclose(together[i, :n], alone[0], atol=1e-3)


def test_the_reference_classifiers_logits(make_model, batch):
    network = make_model("token_ce").network
    together = network(batch.lr_codes, batch.mask)
    for i, n in enumerate(LENGTHS):
        assert torch.allclose(together[i, :, :n], network(batch.lr_codes[i : i + 1, :, :n])[0], atol=1e-4)


@pytest.mark.parametrize("term", TERMS)
def test_every_auxiliary_term(term, make, codec, batch):
    if term == "pesq":
        import_encodec()  # torch-pesq imports torchaudio
        pytest.importorskip("torch_pesq")
    model = make()

    def value(batch, place=0):
        prediction = ask(model, codec, batch, place)
        return float(auxiliary([term], codec, model.blocks, prediction, batch, context=CONTEXT, anchor=None)[term].detach())

    alone = [value(clip(batch, i), i) for i in range(3)]
    assert value(batch) == pytest.approx(sum(alone) / 3, rel=1e-5)
    assert all(alone)


@pytest.mark.parametrize("prior", ["normal", "condition"])
@pytest.mark.parametrize("name", OBJECTIVES)
def test_every_objectives_loss(name, prior, make, codec, batch):
    kind = OBJECTIVES[name][0]
    model, teacher = make(kind, prior=prior), make("diffusion", prior=prior) if name == "cd" else None
    losses = LossConfig() if name == "token_ce" else LossConfig(waveform_l1=1.0)
    step = TrainStep(model, codec, ObjectiveConfig(name), losses, context=CONTEXT, total=100, teacher=teacher).eval()

    def terms(batch, place=0):
        return {k: float(v.detach()) for k, v in step.raw(batch, 60, Prefixed(0, 60, place, len(batch.mask))).items()}

    alone = [terms(clip(batch, i), i) for i in range(3)]
    mean = {k: sum(a[k] for a in alone) / 3 for k in alone[0]}
    assert terms(batch) == pytest.approx(mean, rel=1e-5)
    assert set(mean) == {name, *losses.on}


@pytest.mark.parametrize("name", DISTANCES)
def test_every_distance(name, batch):
    torch.manual_seed(0)
    error, weights = torch.randn(3, CHANNELS, PADDED), torch.tensor([1.5, 0.5])
    poisoned = torch.where(batch.mask[:, None], error, float("inf"))
    together = distance(name, poisoned, batch.mask, weights, dimension=128)
    for i, n in enumerate(LENGTHS):
        alone = distance(name, error[i : i + 1, :, :n], torch.ones(1, n, dtype=torch.bool), weights, dimension=128)
        assert torch.allclose(together[i : i + 1], alone, rtol=1e-5)


def test_block_statistics_weigh_every_frame_alike_and_see_no_padding(codec, batch):
    clips = [clip(batch, i) for i in range(3)]
    apart, joined = Blocks((2, 6), 128), Blocks((2, 6), 128)
    apart.fit(codec, [(c.target_codes, c.lr_codes) for c in clips])
    joined.fit(codec, [(torch.cat([c.target_codes for c in clips], -1), torch.cat([c.lr_codes for c in clips], -1))])
    for (name, a), b in zip(apart.state_dict().items(), joined.state_dict().values(), strict=True):
        assert torch.allclose(a, b, rtol=1e-4, atol=1e-5), name

from dataclasses import replace

import numpy as np
import pytest
import torch

from lcm.auxiliary import MINIMUM_FRAMES, auxiliary, check_region, with_low_band
from lcm.codec import HOP, Codec
from lcm.compat import import_encodec
from lcm.data import Batch
from lcm.errors import LcmError
from lcm.losses import AUDIO_TERMS, TERMS
from lcm.model import Model
from lcm.network import Prediction

CONTEXT, FRAMES = 6, 40


class Counting(Codec):
    """The codec, counting how often it decodes."""

    decodes = 0

    def decode(self, latents, length=None):
        self.decodes += 1
        return super().decode(latents, length)


def need(term):
    if term == "pesq":
        import_encodec()  # torch-pesq imports torchaudio
        pytest.importorskip("torch_pesq")


@pytest.fixture
def counting(codec):
    return Counting(codec.model, codec.name, codec.bandwidth_kbps)


@pytest.fixture
def batch(codec, speech):
    audio = torch.from_numpy(np.stack([np.roll(speech, -9000 * (i + 1))[: FRAMES * HOP] for i in range(2)]))
    codes, nothing = codec.encode(audio[:, None]), torch.zeros(2, 0, FRAMES)
    mask = torch.ones(2, FRAMES, dtype=torch.bool)
    return Batch(codes, codes.roll(1, 0), torch.tensor([6000.0, 5000.0]), mask, audio, torch.zeros(2, dtype=torch.bool), nothing, nothing)


@pytest.fixture
def student(make_model, codec):
    def make(**spec):
        fitted = make_model(partition=(2, 6))
        model = Model(replace(fitted.spec, network=replace(fitted.spec.network, logits=True), **spec), codec)
        model.blocks.load_state_dict(fitted.blocks.state_dict())
        for head in model.network.heads:
            torch.nn.init.normal_(head.out.weight, std=0.1)
        return model

    return make


def predict(model, codec, batch):
    torch.manual_seed(3)
    condition = model.blocks.condition(codec, batch.lr_codes)
    x = torch.randn(len(condition), 2 * 128, condition.shape[2])
    return model.network(x, torch.ones(len(x)), condition, batch.cutoff_hz, batch.mask, logits=True)


def perfect(model, codec, batch):
    """A prediction, and the batch with its audio set to what that decodes to at the clips' own length; noise follows."""
    state = model.blocks.to_state(codec, batch.target_codes).requires_grad_()
    decoded = codec.decode(model.blocks.to_latents(state)[..., : int(batch.mask[0].sum())])[:, 0].detach()
    return Prediction(state), replace(batch, audio=torch.cat([decoded, torch.randn(2, FRAMES * HOP - decoded.shape[1])], 1))


@pytest.mark.parametrize("term", TERMS)
def test_every_term_sends_a_gradient_to_the_student_and_none_to_the_codec(term, student, codec, batch):
    need(term)
    model = student()
    terms = auxiliary([term], codec, model.blocks, predict(model, codec, batch), batch, context=CONTEXT, anchor=None)
    terms[term].backward()
    reached = [p for layer in model.network.layers for p in layer.parameters() if p.grad is not None and float(p.grad.norm()) > 1e-8]
    assert len(reached) > len(list(model.network.layers.parameters())) / 2
    assert all(p.grad is None for p in codec.parameters())


@pytest.mark.parametrize(("names", "decodes"), [([], 0), (["token_ce"], 0), (["waveform_l1", "si_sdr"], 1)])
def test_only_what_is_asked_for_is_computed(names, decodes, student, counting, batch):
    model = student()
    terms = auxiliary(names, counting, model.blocks, predict(model, counting, batch), batch, context=CONTEXT, anchor=None)
    assert set(terms) == set(names)
    assert counting.decodes == decodes


def test_terms_have_their_closed_forms_through_the_decoder(student, codec, batch):
    model = student()
    prediction, batch = perfect(model, codec, batch)
    names = ["waveform_l1", "mr_stft", "hf_log_magnitude"]
    terms = auxiliary(names, codec, model.blocks, prediction, batch, context=CONTEXT, anchor=None)
    assert [float(terms[name].detach()) for name in names] == pytest.approx([0, 0, 0], abs=1e-5)
    half = replace(batch, audio=2 * batch.audio)
    terms = auxiliary(["waveform_l1"], codec, model.blocks, prediction, half, context=CONTEXT, anchor=None)
    assert float(terms["waveform_l1"].detach()) == pytest.approx(0.5, abs=1e-5)


def test_a_residual_state_is_decoded_around_its_anchor(student, codec, batch):
    model = student()
    anchor = model.blocks.block_latents(codec, batch.lr_codes)
    state = model.blocks.to_state(codec, batch.target_codes, anchor).requires_grad_()
    batch = replace(batch, audio=codec.decode(codec.latents(batch.target_codes))[:, 0])
    near, far = (
        float(auxiliary(["waveform_l1"], codec, model.blocks, Prediction(state), batch, context=CONTEXT, anchor=a)["waveform_l1"].detach())
        for a in (anchor, None)
    )
    assert near == pytest.approx(0, abs=1e-3)
    assert far > 0.1


@pytest.mark.parametrize(("sample", "seen"), [(CONTEXT * HOP - 1, False), (CONTEXT * HOP, True), (30 * HOP - 1, True), (30 * HOP, False)])
def test_a_term_sees_a_clip_from_its_context_to_its_context_before_the_last_real_frame(sample, seen, student, codec, batch):
    model = student()
    batch.mask[:, 36:] = False
    prediction, batch = perfect(model, codec, batch)
    batch.audio[:, sample] += 9.0
    value = auxiliary(["waveform_l1"], codec, model.blocks, prediction, batch, context=CONTEXT, anchor=None)["waveform_l1"]
    assert (float(value.detach()) > 1e-3) == seen


def test_what_the_student_says_in_the_padding_reaches_no_term(student, codec, batch):
    model, names = student(), sorted(set(AUDIO_TERMS) - {"pesq"})
    batch.mask[:, 36:] = False
    prediction = predict(model, codec, batch)
    poisoned = Prediction(torch.where(batch.mask[:, None], prediction.state, 50.0))
    clean, other = (auxiliary(names, codec, model.blocks, p, batch, context=0, anchor=None) for p in (prediction, poisoned))
    assert {k: float(v.detach()) for k, v in clean.items()} == {k: float(v.detach()) for k, v in other.items()}


@pytest.mark.parametrize("why", ["too short", "silent"])
def test_a_clip_without_a_region_or_a_voice_counts_as_zero(why, student, codec, batch):
    model, names = student(), ["waveform_l1", "mr_stft", "hf_log_magnitude", "si_sdr"]

    def terms(batch):
        return auxiliary(names, codec, model.blocks, predict(model, codec, batch), batch, context=CONTEXT, anchor=None)

    one = Batch(*(getattr(batch, name)[:1] for name in batch.__dataclass_fields__))
    alone = {name: float(value.detach()) for name, value in terms(one).items()}
    if why == "silent":
        batch.audio[1] = 1e-5
    else:
        batch.mask[1, 2 * CONTEXT + MINIMUM_FRAMES["mr_stft"] - 1 :] = False
    assert {name: 2 * float(value.detach()) for name, value in terms(batch).items()} == pytest.approx(alone, rel=1e-4)


def test_a_batch_without_any_region_is_zero_with_a_graph(student, counting, batch):
    model = student()
    batch.mask[:, 5:] = False
    names = sorted(AUDIO_TERMS)
    terms = auxiliary(names, counting, model.blocks, predict(model, counting, batch), batch, context=CONTEXT, anchor=None)
    sum(terms.values()).backward()
    assert [float(terms[name].detach()) for name in names] == [0.0] * len(names)
    assert counting.decodes == 0


@pytest.mark.parametrize("term", sorted(AUDIO_TERMS))
def test_the_shortest_region_is_long_enough_for_its_term(term, student, codec, batch):
    need(term)
    model = student()
    for length, seen in ((2 * CONTEXT + MINIMUM_FRAMES[term], True), (2 * CONTEXT + MINIMUM_FRAMES[term] - 1, False)):
        batch.mask[:] = torch.arange(FRAMES) < length
        value = auxiliary([term], codec, model.blocks, predict(model, codec, batch), batch, context=CONTEXT, anchor=None)[term]
        assert (float(value.detach()) != 0) == seen


def test_bf16_autocast_leaves_the_decoder_whole(student, codec, batch):
    model = student()
    prediction, batch = perfect(model, codec, batch)
    with torch.autocast("cpu", torch.bfloat16):
        terms = auxiliary(["waveform_l1"], codec, model.blocks, prediction, batch, context=CONTEXT, anchor=None)
    assert float(terms["waveform_l1"].detach()) < 1e-5


def test_a_batch_without_audio_says_what_to_give(student, codec, batch):
    model, silent = student(), replace(batch, audio=torch.zeros(2, 0))
    with pytest.raises(LcmError, match=r"losses\.mr_stft: the batch carries 0 samples.*expected 12800.*waveforms"):
        auxiliary(["mr_stft"], codec, model.blocks, predict(model, codec, batch), silent, context=CONTEXT, anchor=None)


def test_a_term_that_no_gradient_can_reach_is_refused(student, codec, batch):
    model = student()
    prediction = predict(model, codec, batch)
    with pytest.raises(LcmError, match=r"losses\.si_sdr: this objective predicts tokens"):
        auxiliary(["si_sdr"], codec, model.blocks, Prediction(prediction.state.detach()), batch, context=CONTEXT, anchor=None)
    with pytest.raises(LcmError, match=r"losses\.token_ce needs token logits"):
        auxiliary(["token_ce"], codec, model.blocks, Prediction(prediction.state), batch, context=CONTEXT, anchor=None)


def test_crops_that_leave_no_region_are_refused_with_the_shortest_that_serves():
    check_region(["mr_stft", "token_ce"], crop_frames=47, context=20)
    check_region(["token_ce"], crop_frames=10, context=20)
    with pytest.raises(LcmError, match=r"losses\.mr_stft sees data\.crop_frames=46.*at least 47"):
        check_region(["mr_stft"], crop_frames=46, context=20)
    with pytest.raises(LcmError, match=r"losses\.pesq .*at least 66"):
        check_region(["pesq"], crop_frames=47, context=20)


def test_waveform_terms_hear_the_copied_low_band_and_spectral_ones_do_not(student, codec, batch):
    model = student()
    prediction, exact = perfect(model, codec, batch)
    rumble = 0.05 * torch.sin(2 * torch.pi * 500 / 24_000 * torch.arange(FRAMES * HOP))
    off = replace(exact, audio=exact.audio + rumble)  # the original differs from the prediction below the cutoff alone
    names = ["waveform_l1", "si_sdr", "mr_stft"]
    with torch.no_grad():
        raw, copied = (
            auxiliary(names, codec, model.blocks, prediction, off, context=CONTEXT, anchor=None, copied=on) for on in (False, True)
        )
    assert float(copied["waveform_l1"]) < 0.1 * float(raw["waveform_l1"])
    assert float(copied["si_sdr"]) < float(raw["si_sdr"]) - 1
    assert float(copied["mr_stft"]) == float(raw["mr_stft"])


def test_a_clip_of_unknown_cutoff_keeps_its_own_low_band(batch):
    estimate, target = torch.randn(2, 4000), torch.randn(2, 4000)
    heard = with_low_band(estimate, target, torch.tensor([0.0, 6000.0]))
    assert torch.equal(heard[0], estimate[0])
    assert not torch.allclose(heard[1], estimate[1], atol=0.1)

"""MultiBandDiffusion as a teacher: what it is given, what it returns, and what it is told apart by."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from lcm.codec import CodecConfig, load_codec
from lcm.errors import LcmError
from lcm.mbd.noise import GlobalNoise
from lcm.teachers import TeacherConfig, load_teacher

NARROW = TeacherConfig(name="mbd", weights="random", hidden=4, steps=2, bw=3.0)
CUTOFF = torch.full((3,), 6000.0)


def test_its_audio_is_encoded_as_any_other_audio_would_be(codec, codes):
    teacher = load_teacher(NARROW, codec)
    latents = teacher.generate(codes, CUTOFF, [1, 2, 3])
    encoded = codec.encode(teacher.waveform(codes, [1, 2, 3]))
    assert latents.shape == (3, 128, 30)
    assert (codec.requantise(latents) == encoded).float().mean() > 0.999  # the same quantiser, by another formula


def test_its_codes_can_be_read_at_any_number_of_codebooks(codec, codes):
    latents = load_teacher(NARROW, codec).generate(codes, CUTOFF, [1, 2, 3])
    fewer = load_codec(CodecConfig("encodec_24khz", bandwidth_kbps=1.5, weights="random"))
    assert torch.equal(fewer.requantise(latents), codec.requantise(latents)[:, :2])


@pytest.mark.parametrize(("given", "used"), [(0, 4), (8, 8)])
def test_it_is_given_the_codebooks_it_was_trained_for_or_those_that_are_asked(codec, codes, given, used):
    teacher = load_teacher(replace(NARROW, codebooks=given), codec)
    torch.manual_seed(0)
    wanted = teacher.sampler.waveform(codes[:, :used], GlobalNoise())
    changed = codes.clone()
    changed[:, used:] = 0
    torch.manual_seed(0)
    assert torch.equal(teacher.sampler.waveform(changed[:, : teacher.codebooks], GlobalNoise()), wanted)
    assert teacher.codebooks == used


@pytest.mark.parametrize(
    "other", [{"bw": 6.0}, {"steps": 3}, {"step_list": [999, 400, 0]}, {"codebooks": 8}, {"precision": "bf16"}, {"hidden": 8}]
)
def test_each_setting_that_changes_its_output_changes_its_identity(codec, other):
    assert load_teacher(NARROW, codec).identity == load_teacher(replace(NARROW), codec).identity
    assert load_teacher(replace(NARROW, **other), codec).identity != load_teacher(NARROW, codec).identity


def test_real_weights_with_another_codec_are_refused():
    with pytest.raises(LcmError, match=r"decodes the codes of encodec_24khz.*codec\.name=encodec_24khz"):
        load_teacher(TeacherConfig(name="mbd"), load_codec(CodecConfig()))


def test_codes_with_too_few_codebooks_are_refused(codec):
    with pytest.raises(LcmError, match=r"given 32 codebooks, but the codes have 8 \(codec\.bandwidth_kbps=6\)"):
        load_teacher(replace(NARROW, codebooks=32), codec)


def test_a_bandwidth_it_was_not_trained_for_is_refused(codec):
    with pytest.raises(LcmError, match=r"teacher\.bw=12.*1\.5, 3 or 6"):
        load_teacher(replace(NARROW, bw=12), codec)


def test_released_weights_have_their_own_size(codec):
    with pytest.raises(LcmError, match=r"teacher\.hidden=4 is for teacher\.weights=random"):
        load_teacher(replace(NARROW, weights="pretrained"), codec)


@pytest.mark.parametrize("wrong", [{"precision": "fp8"}, {"weights": "mine"}])
def test_a_precision_or_source_that_there_is_not_is_refused(wrong):
    with pytest.raises(LcmError, match="expected one of fp32, fp16, bf16, and pretrained or random"):
        replace(NARROW, **wrong)


def test_without_a_latent_teacher_there_is_no_model_to_start_from(codec):
    teacher = load_teacher(NARROW, codec)
    assert (teacher.model, teacher.model_identity) == (None, "")

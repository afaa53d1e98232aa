"""MultiBandDiffusion under time is what audiocraft runs."""

from __future__ import annotations

import pytest
import torch

from lcm.codec import CodecConfig, load_codec
from lcm.mbd.stock import stock
from lcm.speed.diffusion import fast_mbd, stock_mbd
from lcm.speed.timed import SECTIONS
from lcm.teachers.base import TeacherConfig
from lcm.timing import Stopwatch


@pytest.fixture(scope="module")
def encodec():
    return load_codec(CodecConfig("encodec_24khz", 24.0, weights="random"))


@pytest.fixture(scope="module")
def config():
    return TeacherConfig("mbd", codebooks=32, steps=20, weights="random", hidden=4, res_blocks=1)


@pytest.fixture(scope="module")
def audio(speech):
    return torch.from_numpy(speech[:3200])[None, None]


@torch.no_grad()
def test_the_sections_add_up_to_audiocrafts_tokens_to_wav(encodec, config, audio):
    watch = Stopwatch("cpu", SECTIONS)
    torch.manual_seed(0)
    timed = stock_mbd(config, encodec).run(audio, watch)
    torch.manual_seed(0)
    theirs = stock(config, encodec).tokens_to_wav(encodec.encode(audio))
    torch.testing.assert_close(timed, theirs)
    assert all(watch.seconds[name] > 0 for name in SECTIONS)


@torch.no_grad()
def test_the_reference_feeds_all_codebooks_and_a_smaller_number_can_be_asked(encodec, config, audio):
    every, few = (stock_mbd(c, encodec) for c in (config, TeacherConfig(**{**vars(config), "codebooks": 0})))
    assert (every.codebooks, few.codebooks) == (32, 4)
    codes = encodec.encode(audio)
    torch.testing.assert_close(every.inputs(audio), encodec.latents(codes))
    torch.testing.assert_close(few.inputs(audio), encodec.latents(codes[:, :4]))


@torch.no_grad()
def test_the_fast_sampler_takes_the_same_sections_and_gives_audio_of_the_same_length(encodec, config, audio):
    watch = Stopwatch("cpu", SECTIONS)
    made = fast_mbd(config, encodec, encodec, "as published").run(audio, watch)
    assert made.shape == audio.shape
    assert torch.isfinite(made).all()
    assert all(watch.seconds[name] > 0 for name in SECTIONS)

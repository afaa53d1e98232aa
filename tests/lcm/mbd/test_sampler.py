"""The fast path against audiocraft's own code: same result for the same noise, without waiting for the device."""

from __future__ import annotations

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from lcm.errors import LcmError
from lcm.mbd.bands import load_bands
from lcm.mbd.noise import GlobalNoise, SeededNoise
from lcm.mbd.sampler import Sampler
from lcm.mbd.schedule import spaced
from lcm.teachers import TeacherConfig

CPU = torch.device("cpu")


def largest(one, other):
    return (one - other).abs().max().item()


@torch.no_grad()
def test_a_clip_is_what_audiocraft_makes_of_it_for_the_same_noise(teacher, audiocrafts, codes):
    codes = codes[:1, :4]
    torch.manual_seed(5)
    theirs = audiocrafts.tokens_to_wav(codes)
    torch.manual_seed(5)
    ours = teacher.sampler.waveform(codes, GlobalNoise())
    assert theirs.shape == ours.shape == (1, 1, 9600)
    assert largest(theirs, ours) < 1e-4 * theirs.abs().max()


@pytest.mark.parametrize("states", [[999, 949, 0], [700, 300, 0], [999, 500, 20], spaced(7)])
@torch.no_grad()
def test_any_list_of_steps_gives_audiocrafts_result(codec, audiocrafts, codes, states):
    condition = codec.latents(codes[:2, :4])
    torch.manual_seed(5)
    theirs = audiocrafts.generate(condition, step_list=states)
    torch.manual_seed(5)
    ours = Sampler(load_bands(NARROW_BANDS), codec, states).diffuse(condition, GlobalNoise())
    assert largest(theirs, ours) < 1e-4
    assert theirs.std() > 0.1


NARROW_BANDS = TeacherConfig(name="mbd", weights="random", hidden=4)


def test_clips_are_the_same_alone_and_together(teacher, codes):
    seeds = [11, 12, 13]
    together = teacher.waveform(codes, seeds)
    for row, seed in enumerate(seeds):
        alone = teacher.waveform(codes[row : row + 1], [seed])
        assert largest(together[row], alone[0]) < 1e-4 * alone.abs().max()


def test_another_seed_is_another_sample(teacher, codes):
    assert largest(teacher.waveform(codes[:1], [1]), teacher.waveform(codes[:1], [2])) > 1e-3 * teacher.waveform(codes[:1], [1]).abs().max()


def test_bands_of_one_seed_have_noise_of_their_own_in_any_order():
    like = torch.zeros(2, 1, 50)
    forwards, backwards = SeededNoise([3, 4], CPU), SeededNoise([3, 4], CPU)
    drawn = {band: forwards.draw(band, like) for band in (0, 1, 2, 3)}
    assert all(torch.equal(backwards.draw(band, like), drawn[band]) for band in (3, 2, 1, 0))
    assert len({tensor.sum().item() for tensor in drawn.values()}) == 4
    assert not torch.equal(forwards.draw(0, like), drawn[0])


class Asked(TorchDispatchMode):
    """Counts the moments at which the host asks for a number that a device holds, or sends one there."""

    def __init__(self):
        super().__init__()
        self.times = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.times += function.overloadpacket.__name__ in ("_local_scalar_dense", "is_nonzero", "item", "lift_fresh", "lift_fresh_copy")
        return function(*args, **(kwargs or {}))


def asked(sample):
    with torch.no_grad(), Asked() as mode:
        sample()
    return mode.times


def test_the_host_never_waits_for_the_device_however_many_steps_there_are(codec, audiocrafts, codes):
    condition = codec.latents(codes[:1, :4])
    samplers = [Sampler(load_bands(NARROW_BANDS), codec, spaced(calls)) for calls in (2, 8)]
    assert asked(lambda: audiocrafts.generate(condition)) > 4 * 20  # a comparison and a copy a step and band
    assert [asked(lambda s=s: s.diffuse(condition, SeededNoise([1], CPU))) for s in samplers] == [0, 0]


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_autocast_is_near_full_precision_and_not_it(codec, codes, precision):
    made = {
        name: Sampler(load_bands(NARROW_BANDS), codec, spaced(4), precision=name).diffuse(
            codec.latents(codes[:, :4]), SeededNoise([1, 2, 3], CPU)
        )
        for name in ("fp32", precision)
    }
    error = (made["fp32"] - made[precision]).pow(2).mean().sqrt() / made["fp32"].std()
    assert 1e-5 < error < 0.05


def test_a_codec_of_another_width_is_refused(codec):
    bands = load_bands(NARROW_BANDS)
    bands.processes[0].model.conv_codec = torch.nn.Conv1d(64, 4, 1)
    with pytest.raises(LcmError, match="128 channels, MultiBandDiffusion takes 64"):
        Sampler(bands, codec, spaced(2))


@pytest.mark.gpu
def test_bands_on_streams_of_their_own_are_the_bands_in_turn(codec, codes):
    device = torch.device("cuda")
    moved = codec.to(device)
    sampler = Sampler(load_bands(NARROW_BANDS, device), moved, spaced(5))
    condition = moved.latents(codes[:, :4].to(device))
    like = condition.new_zeros(3, 1, 9600)
    in_turn = sampler._in_turn(like, condition, SeededNoise([1, 2, 3], device))
    beside = sampler._on_streams(like, condition, SeededNoise([1, 2, 3], device))
    assert all(largest(one, other) < 1e-5 for one, other in zip(in_turn, beside, strict=True))

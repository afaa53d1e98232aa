"""Recordings in memory: what stays, what is added, what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from lcm.audio import resample
from lcm.degrade import Degradation, apply
from lcm.errors import LcmError
from lcm.upscaling import Upscaler


def band(samples, rate, low_hz, high_hz):
    spectrum = np.abs(np.fft.rfft(samples)) ** 2
    hz = np.fft.rfftfreq(len(samples), 1 / rate)
    return spectrum[(hz >= low_hz) & (hz < high_hz)].sum()


def test_twelve_become_twenty_four_kilohertz_with_something_above_the_cutoff(upscaler, low):
    result = upscaler(low, 12_000)
    assert (result.sample_rate, result.cutoff_hz, result.passed, len(result.waveform)) == (24_000, 6_000, False, 2 * len(low))
    assert band(result.waveform, 24_000, 6_500, 12_000) > 100 * band(resample(low, 12_000, 24_000), 24_000, 6_500, 12_000)


def test_the_inputs_own_band_is_kept(upscaler, low):
    result = upscaler(low, 12_000).waveform
    own = resample(low, 12_000, 24_000)
    assert band(result - own, 24_000, 0, 5_200) < 1e-6 * band(own, 24_000, 0, 5_200)


def test_the_level_stays_and_is_not_normalised(upscaler, low):
    loud, quiet = upscaler(low, 12_000).waveform, upscaler(0.25 * low, 12_000).waveform
    assert band(quiet, 24_000, 0, 5_000) == pytest.approx(band(loud, 24_000, 0, 5_000) / 16, rel=1e-3)


def test_a_click_stays_where_it_was(upscaler):
    clip = np.zeros(12_000, np.float32)
    clip[7_000] = 0.9
    assert abs(int(np.abs(upscaler(clip, 12_000, cutoff_hz=6_000).waveform).argmax()) - 14_000) <= 1


def test_a_recording_without_a_sample_stays_so(upscaler):
    assert upscaler(np.zeros(0, np.float32), 12_000).waveform.shape == (0,)
    assert upscaler(np.zeros((2, 0), np.float32), 12_000).waveform.shape == (2, 0)


def test_silence_stays_silence_between_words_and_alone(upscaler, low):
    gap = np.concatenate([low[:12_000], np.zeros(12_000, np.float32), low[:12_000]])
    middle = upscaler(gap, 12_000, cutoff_hz=6_000).waveform[27_000:45_000]
    assert np.abs(middle).max() < 1e-4
    assert not upscaler(np.zeros(5_000, np.float32), 12_000).waveform.any()


def test_a_full_band_recording_is_passed_as_it_is(upscaler):
    noise = 0.1 * np.random.default_rng(0).standard_normal(30_000).astype(np.float32)
    result = upscaler(noise, 22_050)
    assert (result.passed, result.sample_rate) == (True, 22_050)
    assert np.array_equal(result.waveform, noise)


@pytest.mark.parametrize("level", [1e-2, 1e-3])
def test_a_quiet_recording_is_restored_as_a_loud_one(upscaler, low, level):
    loud = 0.5 * low / np.abs(low).max()
    wanted, made = (upscaler((part * loud).astype(np.float32), 12_000).waveform for part in (0.1, level))
    assert band(made, 24_000, 6_500, 11_900) / level**2 == pytest.approx(band(wanted, 24_000, 6_500, 11_900) / 0.1**2, rel=0.3)


@pytest.mark.parametrize("channels", [1, 2, 9])
def test_channels_keep_their_order_and_are_restored_alike(upscaler, low, channels):
    levels = np.linspace(1, 0.5, channels, dtype=np.float32)[:, None]
    result = upscaler(levels * low[None, :12_000], 12_000, cutoff_hz=6_000).waveform
    assert result.shape == (channels, 24_000)
    alone = upscaler(low[:12_000], 12_000, cutoff_hz=6_000).waveform
    assert np.abs(result[0] - alone).max() < 1e-4


@pytest.mark.parametrize("rate", [8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000])
@pytest.mark.parametrize("count", [1, 321, 9_999])
def test_the_duration_stays_to_the_sample_at_every_rate(upscaler, rate, count):
    samples = 0.1 * np.random.default_rng(1).standard_normal(count).astype(np.float32)
    result = upscaler(samples, rate, cutoff_hz=3_900)
    assert result.sample_rate == max(24_000, rate)
    assert len(result.waveform) == round(count * result.sample_rate / rate)


def test_above_24_kilohertz_the_input_itself_is_kept_and_the_new_band_added(upscaler, low):
    high = resample(low, 12_000, 48_000)
    result = upscaler(high, 48_000).waveform
    assert band(result - high, 48_000, 0, 5_200) < 1e-6 * band(high, 48_000, 0, 5_200)
    assert band(result, 48_000, 6_500, 11_000) > 100 * band(high, 48_000, 6_500, 11_000)


def test_where_the_input_has_nothing_above_its_cutoff_the_high_band_is_the_estimates(make_model, codec, low):
    import torch

    upscaler = Upscaler(make_model(), codec, strength=1.0)
    clip = resample(low[:6_000], 12_000, 24_000)
    codes = upscaler.codec.encode(torch.from_numpy(np.pad(clip, (0, -len(clip) % 320)))[None, None])
    latents = upscaler.model.restore(upscaler.codec, codes, torch.tensor([6_000.0]), seeds=[0])
    estimate = codec.decode(latents, len(clip))[0, 0].numpy()
    made = clip + upscaler.added(clip[None], 0, cutoff_hz=6_000)[0]
    faded = np.hanning(len(clip))  # it is cut out of a word: its ends are wide clicks
    assert band(faded * (made - estimate), 24_000, 6_300, 11_900) < 0.01 * band(faded * estimate, 24_000, 6_300, 11_900)


def test_what_a_soft_filter_has_left_above_its_cutoff_is_kept(make_model, codec, speech):
    soft = apply(speech, Degradation(5_000, "butterworth", 2))
    mute = Upscaler(make_model(), codec, strength=1.0)
    mute.codec.decode = lambda latents, length: 0 * latents[:, :1, :1].expand(-1, 1, length)  # a model that has nothing to add
    kept = soft + mute.added(soft[None], 0, cutoff_hz=5_000)[0]
    assert band(kept - soft, 24_000, 5_400, 12_000) < 1e-3 * band(soft, 24_000, 5_400, 12_000)


def test_the_same_recording_is_restored_the_same_and_another_seed_otherwise(make_model, codec, low):
    made = [Upscaler(make_model(), codec, seed=seed)(low, 12_000).waveform for seed in (0, 0, 1)]
    assert np.array_equal(made[0], made[1])
    assert not np.array_equal(made[0], made[2])


@pytest.mark.parametrize(
    ("waveform", "rate", "message"),
    [
        (np.zeros((2, 3, 4), np.float32), 12_000, r"shape \[2, 3, 4\]: expected \[T\]"),
        (np.zeros(100, np.int16), 12_000, "int16: expected floating point"),
        (np.array([0, np.nan, np.inf], np.float32), 12_000, r"2 samples are not finite, the first is nan at sample 1 of channel 0"),
        (np.zeros(100, np.float32), 3_000, "3000 Hz: expected 4000 to 192000"),
    ],
)
def test_what_is_no_recording_is_refused_with_the_reason(upscaler, waveform, rate, message):
    with pytest.raises(LcmError, match=message):
        upscaler(waveform, rate)


def test_a_cutoff_that_cannot_be_is_refused(upscaler, low):
    with pytest.raises(LcmError, match=r"cutoff_hz=20: expected 1,000 to 12,000"):
        upscaler(low, 12_000, cutoff_hz=20)


def test_strength_scales_what_is_added_and_nothing_else(make_model, codec, low):
    whole, half = (Upscaler(make_model(), codec, strength=strength)(low, 12_000).waveform for strength in (1.0, 0.5))
    own = resample(low, 12_000, 24_000)
    assert np.abs(half - own - 0.5 * (whole - own)).max() < 1e-5


@pytest.mark.parametrize("wrong", [{"steps": 0}, {"precision": "int8"}, {"chunk_s": 0}, {"strength": 1.5}])
def test_a_setting_out_of_range_is_refused(make_model, codec, wrong):
    with pytest.raises(LcmError, match="expected one of auto, fp32, fp16, bf16"):
        Upscaler(make_model(), codec, **wrong)

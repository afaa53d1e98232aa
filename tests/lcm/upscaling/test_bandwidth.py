"""Where a recording's content ends."""

from __future__ import annotations

import numpy as np
import pytest

from lcm import degrade
from lcm.audio import resample
from lcm.degrade import Degradation
from lcm.upscaling import BandwidthMeter


def measured(samples, rate=24_000, block=10**9):
    meter = BandwidthMeter(rate)
    samples = samples if samples.ndim == 2 else samples[:, None]
    for start in range(0, len(samples), block):
        meter.add(samples[start : start + block])
    return meter.result()


@pytest.fixture(scope="module")
def voice(speech):
    """Speech with the noise of a microphone, so that it has something up to 12 kHz."""
    return speech + 1e-3 * np.random.default_rng(0).standard_normal(len(speech)).astype(np.float32)


@pytest.mark.parametrize("cutoff_hz", [4_000, 6_000, 8_000])
def test_the_edge_of_a_resampler_is_its_nyquist_frequency(voice, cutoff_hz):
    assert measured(degrade.apply(voice, Degradation(cutoff_hz))).cutoff_hz == cutoff_hz


def test_an_edge_between_common_rates_is_found_to_some_percent(voice):
    assert measured(degrade.apply(voice, Degradation(5_000))).cutoff_hz == pytest.approx(5_000, rel=0.04)


@pytest.mark.parametrize(("family", "order", "within_hz"), [("butterworth", 8, 1_000), ("chebyshev", 6, 1_700), ("elliptic", 6, 1_000)])
def test_the_edge_of_a_filter_is_found_from_where_it_falls(voice, family, order, within_hz):
    found = measured(degrade.apply(voice, Degradation(5_000, family, order)))
    assert abs(found.cutoff_hz - 5_000) < within_hz
    assert not found.full_band


@pytest.mark.parametrize(("family", "order"), [("bessel", 8), ("bessel", 4), ("butterworth", 2)])
def test_a_filter_too_soft_for_an_edge_is_told_by_what_it_leaves_of_the_highest_band(voice, family, order):
    found = measured(degrade.apply(voice, Degradation(5_000, family, order)))
    assert 3_500 < found.cutoff_hz < 6_500
    assert not found.full_band


@pytest.mark.parametrize("tilt_db", [-15, 0, 15])
def test_a_tilt_such_as_microphones_have_is_no_edge(tilt_db):
    spectrum = np.fft.rfft(np.random.default_rng(3).standard_normal(48_000))
    tilted = spectrum * 10 ** (np.linspace(0, tilt_db, len(spectrum)) / 20)
    assert measured((0.1 * np.fft.irfft(tilted)).astype(np.float32)).full_band


@pytest.mark.parametrize(("rate", "top"), [(8_000, 4_000), (12_000, 6_000), (16_000, 8_000)])
def test_without_an_edge_the_content_ends_where_the_sample_rate_does(voice, rate, top):
    assert measured(resample(voice, 24_000, rate), rate).cutoff_hz == top


@pytest.mark.parametrize("rate", [22_050, 24_000, 44_100, 48_000])
def test_a_full_band_recording_is_told_at_any_rate(voice, rate):
    wide = voice if rate <= 24_000 else np.repeat(voice, 2)
    found = measured(resample(wide, 24_000 if rate <= 24_000 else 48_000, rate), rate)
    assert found.full_band


def test_a_high_sample_rate_does_not_hide_a_narrow_band(voice):
    narrow = resample(degrade.apply(voice, Degradation(6_000)), 24_000, 48_000)
    assert (measured(narrow, 48_000).cutoff_hz, measured(narrow, 48_000).full_band) == (6_000, False)


def test_rounding_to_16_bits_does_not_hide_the_edge(voice):
    quiet = np.round(0.1 * degrade.apply(voice, Degradation(6_000)) * 32767) / 32767
    assert measured(quiet.astype(np.float32)).cutoff_hz == pytest.approx(6_000, rel=0.05)


def test_blocks_of_any_size_give_the_same(voice):
    low = degrade.apply(voice, Degradation(5_000))
    assert {measured(low, block=size) for size in (1, 997, 24_000)} == {measured(low)}


def test_channels_count_together(voice):
    both = np.stack([degrade.apply(voice, Degradation(5_000)), np.zeros_like(voice)], axis=1)
    assert measured(both).cutoff_hz == pytest.approx(5_000, rel=0.04)


@pytest.mark.parametrize("samples", [np.zeros(24_000, np.float32), np.zeros(1, np.float32), np.full(5_000, 1e-7, np.float32)])
def test_silence_is_told(samples):
    assert measured(samples).silent


def test_an_empty_recording_is_silent():
    assert measured(np.zeros((0, 2), np.float32)).silent


def test_a_click_shorter_than_a_frame_is_measured():
    assert measured(np.array([0.5], np.float32)).cutoff_hz == 12_000


@pytest.mark.parametrize(("factor", "louder"), [(1e-3, True), (1.0, False)])
def test_a_quiet_recording_is_brought_to_the_level_of_training(voice, factor, louder):
    loud = voice / np.abs(voice).max()
    assert (measured((factor * loud).astype(np.float32)).gain > 2) == louder


@pytest.mark.parametrize("around", [0.0, 1e-4, 1e-3], ids=["silence", "faint noise", "noise"])
def test_a_word_in_a_long_silence_is_measured_as_alone(voice, around):
    said = degrade.apply(voice, Degradation(5_000))
    long = around * np.random.default_rng(5).standard_normal(60 * 24_000).astype(np.float32)
    long[: len(said)] += said
    alone, amid = measured(said), measured(long)
    assert amid.cutoff_hz == pytest.approx(alone.cutoff_hz, rel=0.04)
    assert amid.gain == pytest.approx(alone.gain, rel=0.3)


def test_a_click_that_is_louder_than_the_speech_changes_nothing(voice):
    said = degrade.apply(0.1 * voice, Degradation(5_000))
    knocked = said.copy()
    knocked[3_000] = 1.0
    assert measured(knocked).cutoff_hz == pytest.approx(measured(said).cutoff_hz, rel=0.02)

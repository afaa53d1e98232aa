import numpy as np
import pytest

from lcm.audio import resample
from lcm.corpus.bandwidth import detect_bandwidth_hz
from lcm.corpus.demo import TEXTS, VOICES
from lcm.corpus.espeak import synthesise
from lcm.degrade import Degradation, apply


def speechlike(rate=24_000, seconds=2.0):
    """Noise that falls by 6 dB an octave and comes in bursts, with 16-bit rounding."""
    spectrum = np.fft.rfft(np.random.default_rng(0).normal(size=round(rate * seconds)))
    spectrum /= np.maximum(np.fft.rfftfreq(round(rate * seconds), 1 / rate), 100) / 100
    bursts = np.fft.irfft(spectrum) * (np.sin(2 * np.pi * 3 * np.arange(round(rate * seconds)) / rate) > 0)
    return np.round(20_000 * bursts / np.abs(bursts).max()) / 32768


def test_a_recording_with_content_up_to_12_khz_has_the_whole_band():
    assert detect_bandwidth_hz(speechlike(), 24_000) == 12_000
    assert detect_bandwidth_hz(speechlike(48_000), 48_000) == 12_000


def test_a_24_khz_file_made_from_22_05_khz_ends_at_11_025_hz():
    voice, rate = synthesise(TEXTS[0], VOICES[0])
    assert rate == 22_050
    upsampled = np.round(32_000 * resample(0.7 * voice, rate, 24_000)) / 32768
    assert detect_bandwidth_hz(upsampled, 24_000) == 11_025


def test_a_22_05_khz_file_has_half_its_rate():
    assert detect_bandwidth_hz(speechlike(22_050), 22_050) == 11_025


def test_a_24_khz_file_made_from_44_1_khz_has_the_whole_band_although_its_filter_closes_before():
    downsampled = np.round(32_000 * resample(speechlike(44_100), 44_100, 24_000)) / 32768
    assert detect_bandwidth_hz(downsampled, 24_000) == 12_000


@pytest.mark.parametrize(("cutoff_hz", "expected_hz"), [(4_000.0, 4_000.0), (8_000.0, 8_000.0), (6_500.0, 6_500.0)])
def test_a_lower_rate_in_the_past_is_found(cutoff_hz, expected_hz):
    assert detect_bandwidth_hz(apply(speechlike(), Degradation(cutoff_hz)), 24_000) == pytest.approx(expected_hz, rel=0.05)


def test_a_gentle_low_pass_is_not_taken_for_an_edge():
    assert detect_bandwidth_hz(apply(speechlike(), Degradation(9_000.0, "butterworth", 2)), 24_000) == 12_000


@pytest.mark.parametrize("samples", [np.zeros(24_000), np.zeros(5), np.ones(400)])
def test_a_clip_with_nothing_to_measure_gets_half_its_rate(samples):
    assert detect_bandwidth_hz(samples, 24_000) == 12_000

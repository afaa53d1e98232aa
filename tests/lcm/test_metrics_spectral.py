"""Log-spectral metrics against their definitions."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from lcm.degrade import Degradation, apply
from lcm.metrics import fine_structure, hf_bias_db, lsd, mr_stft, power_spectrogram
from lcm.metrics.spectral import active_frames, log_power, log_spectral_distances
from lcm.protocol import DEFAULT

BAND_HZ = (6500.0, 11_500.0)


def noise(*shape, seed=0, gain=0.1):
    return gain * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_the_spectrogram_is_the_plain_power_of_hann_windowed_frames():
    signal = noise(8000)
    frame = signal[2048 - 1024 : 2048 + 1024].double().numpy()  # frame 4 is centred at sample 4 * 512
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(2048) / 2048)
    wanted = np.abs(np.fft.rfft(frame * window)) ** 2
    assert np.allclose(power_spectrogram(signal)[:, 4].numpy(), wanted, rtol=1e-3, atol=1e-4)


def test_lsd_of_a_gain_is_its_log_power():
    signal = noise(24_000)
    assert lsd(signal * 10, signal).item() == pytest.approx(2.0, abs=1e-3)


def test_lsd_averages_frames_after_the_root_over_bins():
    a, b = noise(12_000), noise(12_000, seed=1)
    logs = [np.log10(np.maximum(power_spectrogram(x).double().numpy(), 1e-8)) for x in (a, b)]
    wanted = np.sqrt(((logs[0] - logs[1]) ** 2).mean(axis=0)).mean()
    assert lsd(a, b).item() == pytest.approx(wanted, rel=1e-4)


def test_the_floor_bounds_the_lsd_of_a_removed_band():
    signal = noise(24_000) * torch.hann_window(24_000)  # cut ends would leak into the band
    removed = torch.from_numpy(apply(signal.numpy(), Degradation(6000)))
    distances = [lsd(removed, signal, floor=floor, band_hz=(6500, 12_000)).item() for floor in (1e-8, 1e-6)]
    assert distances[0] - distances[1] == pytest.approx(2.0, abs=0.03)


def test_lsd_in_a_band_does_not_see_the_others():
    signal = noise(24_000)
    removed = torch.from_numpy(apply(signal.numpy(), Degradation(6000)))
    assert lsd(removed, signal, band_hz=(0, 5000)).item() < 0.02
    assert lsd(removed, signal, band_hz=(6000, 12_000)).item() > 5


def test_distances_in_several_bands_are_those_of_each_alone_also_in_a_batch():
    a, b = noise(2, 9000), noise(2, 9000, seed=1)
    logs = [log_power(power_spectrogram(x), 1e-8) for x in (a, b)]
    found = log_spectral_distances(*logs, {"low": DEFAULT.bins((0, 3000)), "all": DEFAULT.bins((0, 12_000)), "none": slice(0, 0)})
    assert torch.allclose(found["low"], lsd(a, b, band_hz=(0, 3000)), rtol=1e-6)
    assert torch.allclose(found["all"], lsd(a, b), rtol=1e-6)
    assert bool(found["none"].isnan().all())


@pytest.mark.parametrize("metric", [lsd, mr_stft])
def test_a_batch_gives_each_item_the_value_it_has_alone(metric):
    a, b = noise(3, 9000), noise(3, 9000, seed=1) * torch.tensor([[0.1], [1.0], [3.0]])
    assert torch.allclose(metric(a, b), torch.stack([metric(x, y) for x, y in zip(a, b, strict=True)]), rtol=1e-4)
    assert metric(a[0], b[0]).shape == ()


def test_mr_stft_is_zero_for_the_target_and_grows_with_the_error():
    signal = noise(9000)
    assert mr_stft(signal, signal).item() == pytest.approx(0.0, abs=1e-5)
    near, far = mr_stft(signal + noise(9000, seed=1, gain=0.01), signal), mr_stft(signal + noise(9000, seed=1), signal)
    assert 0 < near < far


def test_hf_bias_is_the_gain_of_the_high_band_and_ignores_the_low():
    low = torch.from_numpy(apply(noise(24_000).numpy(), Degradation(5000)))
    high = noise(24_000, seed=1) - torch.from_numpy(apply(noise(24_000, seed=1).numpy(), Degradation(5000)))
    quieter = power_spectrogram(3 * low + high * 10 ** (-6 / 20))
    assert hf_bias_db(quieter, power_spectrogram(low + high), band_hz=BAND_HZ).item() == pytest.approx(-6.0, abs=0.05)


def test_hf_bias_counts_frames_in_which_the_target_speaks_only():
    speech = torch.cat([noise(24_000), noise(24_000, gain=1e-5)])
    hiss_in_pauses = torch.cat([speech[:24_000], noise(24_000, seed=1)])
    powers = power_spectrogram(hiss_in_pauses), power_spectrogram(speech)
    assert active_frames(powers[1]).float().mean().item() == pytest.approx(0.5, abs=0.05)
    assert abs(hf_bias_db(*powers, band_hz=BAND_HZ).item()) < 1.0


def test_fine_structure_is_one_for_other_noise_of_the_same_kind():
    a, b = power_spectrogram(noise(48_000)), power_spectrogram(noise(48_000, seed=1))
    assert fine_structure(a, b, band_hz=BAND_HZ).item() == pytest.approx(1.0, abs=0.03)


def test_fine_structure_falls_for_a_spectrum_that_was_smoothed_over_frequency():
    power = power_spectrogram(noise(48_000))
    smooth = torch.nn.functional.avg_pool1d(power.t()[:, None], 9, stride=1, padding=4)[:, 0].t()
    assert fine_structure(smooth, power, band_hz=BAND_HZ).item() < 0.5


def test_fine_structure_does_not_depend_on_level_or_tilt():
    power = power_spectrogram(noise(48_000))
    tilted = power * 10 ** torch.linspace(2, 0, power.shape[0])[:, None]
    assert fine_structure(tilted, power, band_hz=BAND_HZ).item() == pytest.approx(1.0, abs=0.01)


@pytest.mark.parametrize("metric", [hf_bias_db, fine_structure])
def test_a_silent_target_an_empty_band_and_a_short_clip_have_no_value(metric):
    power, silent, short = (power_spectrogram(x) for x in (noise(9000), torch.zeros(9000), noise(1024)))
    assert math.isnan(metric(power, silent, band_hz=BAND_HZ))
    assert math.isnan(metric(power, power, band_hz=(12_500.0, 11_500.0)))
    assert math.isnan(metric(short, short, band_hz=BAND_HZ))


@pytest.mark.parametrize("length", [1, 1024])
def test_a_clip_shorter_than_half_a_window_has_no_value(length):
    assert math.isnan(lsd(noise(length), noise(length, seed=1)))
    assert math.isnan(mr_stft(noise(length), noise(length, seed=1)))

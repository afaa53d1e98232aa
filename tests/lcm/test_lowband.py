"""Low-band copy and gain match."""

from __future__ import annotations

import pytest
import torch

from lcm.degrade import Degradation, apply
from lcm.errors import LcmError
from lcm.lowband import gain_match, low_band_copy

INNER = slice(2400, -2400)


def tone(frequency_hz, seconds=1.0, gain=0.5):
    time_s = torch.arange(round(24_000 * seconds), dtype=torch.float64) / 24_000
    return gain * torch.sin(2 * torch.pi * frequency_hz * time_s).float()


def noise(*shape, seed=0):
    return 0.1 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("frequency_hz", [100, 2000, 5200])
def test_a_tone_below_the_crossover_comes_from_the_degraded_signal(frequency_hz):
    kept = tone(frequency_hz)
    assert torch.allclose(low_band_copy(torch.zeros_like(kept), kept, 6000)[INNER], kept[INNER], atol=1e-5)
    assert low_band_copy(kept, torch.zeros_like(kept), 6000)[INNER].abs().max() < 1e-5


@pytest.mark.parametrize("frequency_hz", [5800, 6100, 11_000])
def test_a_tone_above_the_crossover_comes_from_the_estimate(frequency_hz):
    made = tone(frequency_hz)
    assert torch.allclose(low_band_copy(made, torch.zeros_like(made), 6000)[INNER], made[INNER], atol=1e-5)
    assert low_band_copy(torch.zeros_like(made), made, 6000)[INNER].abs().max() < 1e-5


def test_the_two_sides_of_the_crossover_sum_to_one():
    signal, zero = noise(24_000), torch.zeros(24_000)
    assert torch.allclose(low_band_copy(signal, zero, 6000) + low_band_copy(zero, signal, 6000), signal, atol=1e-6)


def test_copying_a_signal_onto_itself_returns_it():
    signal = noise(3, 1, 5000)
    assert torch.equal(low_band_copy(signal, signal, 6000), signal)


def test_no_dark_line_is_left_below_the_cutoff_of_a_resampled_signal():
    signal = noise(48_000)
    degraded = torch.from_numpy(apply(signal.numpy(), Degradation(6000)))
    restored = low_band_copy(signal, degraded, 6000)[INNER]
    assert (restored - signal[INNER]).norm() < 1e-3 * signal[INNER].norm()


def test_silence_stays_silence():
    zero = torch.zeros(2, 4800)
    assert torch.equal(low_band_copy(zero, zero, 6000), zero)
    assert torch.equal(gain_match(zero, zero, 6000), zero)


@pytest.mark.parametrize("length", [1, 2, 320, 513, 4801])
def test_a_clip_of_any_length_keeps_it(length):
    assert low_band_copy(noise(2, length), noise(2, length, seed=1), 6000).shape == (2, length)


def test_an_item_of_a_batch_gives_what_it_gives_alone():
    estimate, degraded = noise(3, 2, 9000), noise(3, 2, 9000, seed=1)
    alone = low_band_copy(estimate[1, 1], degraded[1, 1], 5000)
    assert torch.allclose(low_band_copy(estimate, degraded, 5000)[1, 1], alone, atol=1e-6)


def test_a_sample_depends_on_21_milliseconds_around_it_only():
    estimate, degraded = noise(24_000), noise(24_000, seed=1)
    whole = low_band_copy(estimate, degraded, 6000)
    part = low_band_copy(estimate[6000:12_000], degraded[6000:12_000], 6000)
    assert torch.allclose(part[512:-512], whole[6512:11_488], atol=1e-6)


@pytest.mark.parametrize("restore", [low_band_copy, gain_match])
def test_gradients_reach_the_estimate_and_are_finite_for_silence_too(restore):
    for estimate, degraded in ((noise(4000), noise(4000, seed=1)), (torch.zeros(4000), noise(4000)), (noise(4000), torch.zeros(4000))):
        leaf = estimate.clone().requires_grad_()
        restore(leaf, degraded, 6000).square().sum().backward()
        assert torch.isfinite(leaf.grad).all()
    restore(estimate := noise(4000).requires_grad_(), noise(4000, seed=1), 6000).square().sum().backward()
    assert estimate.grad.abs().max() > 0


def test_gain_match_gives_each_item_the_degraded_low_band_energy():
    degraded = torch.stack([tone(1000, gain=0.5), tone(1000, gain=0.02)])
    estimate = torch.stack([tone(1000, gain=0.1), tone(1000, gain=0.1)]) + tone(9000, gain=0.05)
    matched = gain_match(estimate, degraded, 6000)
    assert torch.allclose(matched, estimate * torch.tensor([[5.0], [0.2]]), atol=1e-3)


def test_gain_match_raises_by_20_db_at_most():
    assert torch.allclose(gain_match(tone(1000, gain=1e-4), tone(1000), 6000), tone(1000, gain=1e-3), atol=1e-6)


def test_gain_match_silences_the_estimate_of_a_silent_input():
    assert gain_match(noise(4000), torch.zeros(4000), 6000).abs().max() == 0


def test_another_shape_is_refused_instead_of_broadcast():
    with pytest.raises(LcmError, match=r"\[2, 100\].*\[100\]"):
        low_band_copy(torch.zeros(2, 100), torch.zeros(100), 6000)


@pytest.mark.parametrize(("cutoff_hz", "width_hz"), [(200, 300), (13_000, 300), (6000, 0)])
def test_a_band_that_cannot_be_is_refused(cutoff_hz, width_hz):
    with pytest.raises(LcmError, match="cutoff_hz="):
        low_band_copy(torch.zeros(100), torch.zeros(100), cutoff_hz, width_hz)

"""Frechet distance of high-band patches."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.linalg
import torch

from lcm.metrics import FrechetDistance
from lcm.metrics.distribution import gaussian_frechet, mel_filters

BAND = {"cutoff_hz": 6000, "bandwidth_hz": 12_000}


def noise(*shape, seed=0, gain=0.1):
    return gain * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def distance(estimates, targets, **band):
    frechet = FrechetDistance(**(band or BAND))
    for estimate, target in zip(estimates, targets, strict=True):
        frechet.update(estimate, target)
    return frechet.compute()


def random_covariance(size, seed):
    factor = np.random.default_rng(seed).normal(size=(size, 3 * size))
    return factor @ factor.T / (3 * size)


def test_gaussians_of_one_dimension_are_as_far_apart_as_the_formula_says():
    found = gaussian_frechet(np.array([1.0]), np.array([[4.0]]), np.array([3.0]), np.array([[9.0]]))
    assert found == pytest.approx((1 - 3) ** 2 + (2 - 3) ** 2)


def test_the_matrix_root_agrees_with_scipy_where_scipy_is_stable():
    a, b, means = random_covariance(8, 0), random_covariance(8, 1), np.random.default_rng(2).normal(size=(2, 8))
    wanted = ((means[0] - means[1]) ** 2).sum() + np.trace(a + b - 2 * np.real(scipy.linalg.sqrtm(a @ b)))
    assert gaussian_frechet(means[0], a, means[1], b) == pytest.approx(wanted, rel=1e-8)


def test_singular_covariances_give_a_finite_distance():
    vector = np.ones((48, 1))
    found = gaussian_frechet(np.zeros(48), vector @ vector.T, np.zeros(48), np.zeros((48, 48)))
    assert found == pytest.approx(48.0)


def test_a_set_is_at_distance_zero_from_itself():
    clips = noise(3, 48_000)
    assert distance(clips, clips).value == pytest.approx(0.0, abs=1e-6)


def test_a_gain_of_6_db_moves_every_dimension_by_6_db():
    clips = noise(3, 48_000)
    assert distance(clips * 10 ** (-6 / 20), clips).value == pytest.approx(48 * 36, rel=1e-3)


def test_the_pairing_of_clips_does_not_matter_but_their_spread_does():
    loud, soft = noise(60_000), noise(60_000, seed=1, gain=0.05)
    paired, swapped = distance([loud, soft], [loud, soft]), distance([soft, loud], [loud, soft])
    assert paired.value == pytest.approx(swapped.value, abs=1.0)
    middle = [x * g for x, g in ((loud, 0.707), (soft, 1.414))]
    assert distance(middle, [loud, soft]).value > 50


def test_adding_clip_by_clip_gives_what_one_batch_gives():
    estimates, targets = noise(3, 48_000), noise(3, 48_000, seed=1, gain=0.2)
    frechet = FrechetDistance(**BAND)
    frechet.update(estimates, targets)
    assert frechet.compute().value == pytest.approx(distance(estimates, targets).value, rel=1e-6)
    assert frechet.compute().patches == distance(estimates, targets).patches


def test_too_few_patches_give_nan_and_the_reason():
    result = distance(noise(1, 24_000), noise(1, 24_000, seed=1))
    assert math.isnan(result.value)
    assert result.reason == "45 patches: a covariance of 48 dimensions needs 192; use more clips"


@pytest.mark.parametrize(("band", "reason"), [((12_000, 12_000), "is empty"), ((11_985, 12_000), "too narrow for 16 mel bands")])
def test_a_band_without_room_gives_nan_and_the_reason(band, reason):
    result = distance(noise(3, 48_000), noise(3, 48_000), cutoff_hz=band[0], bandwidth_hz=band[1])
    assert math.isnan(result.value)
    assert reason in result.reason


def test_silent_and_short_clips_add_nothing():
    frechet = FrechetDistance(**BAND)
    for length in (1, 1024, 1500, 24_000):
        frechet.update(noise(length), torch.zeros(length))
    frechet.update(noise(1024), noise(1024))
    assert frechet.compute().patches == 0
    assert math.isnan(frechet.compute().value)


def test_what_lies_outside_the_band_does_not_count():
    clips = noise(3, 48_000)
    hum = 0.1 * torch.sin(2 * torch.pi * 1000 * torch.arange(48_000, dtype=torch.float64) / 24_000).float()
    assert distance(clips + hum, clips).value < 1.0


def test_mel_filters_average_within_the_band():
    filters = mel_filters((6000.0, 11_000.0))
    frequency_hz = torch.arange(1025) * 24_000 / 2048
    assert torch.allclose(filters.sum(1), torch.ones(16))
    assert filters[:, (frequency_hz < 6000) | (frequency_hz > 11_000)].abs().max() == 0
    assert (filters.argmax(1).diff() > 0).all()

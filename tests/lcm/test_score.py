"""All metrics of an utterance in one call."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch

from lcm import metrics
from lcm.degrade import Degradation, apply
from lcm.errors import LcmError
from lcm.metrics import METRICS, score
from lcm.protocol import DEFAULT
from lcm.records import BAND_METRICS, band_hz

BAND = {"cutoff_hz": 6000, "bandwidth_hz": 12_000}


@pytest.fixture
def target(speech):
    return torch.from_numpy(speech)


@pytest.fixture
def degraded(speech):
    return torch.from_numpy(apply(speech, Degradation(6000)))


def test_the_target_itself_is_perfect_in_every_metric(target):
    perfect = {**dict.fromkeys(METRICS, 0.0), "stoi": 1.0, "estoi": 1.0, "fine_structure": 1.0}
    found = score(target, target, **BAND)
    assert found.pop("si_sdr") > 100
    assert found == pytest.approx({k: v for k, v in perfect.items() if k != "si_sdr"}, abs=1e-3)


def test_shared_spectra_give_the_values_of_the_single_metrics(target, degraded):
    found = score(degraded, target, **BAND)
    assert tuple(found) == METRICS
    assert found["lsd"] == pytest.approx(metrics.lsd(degraded, target).item(), rel=1e-5)
    assert found["lsd_hf_1e6"] == pytest.approx(metrics.lsd(degraded, target, floor=1e-6, band_hz=(6000, 12_000)).item(), rel=1e-5)
    assert found["lsd_lf"] == pytest.approx(metrics.lsd(degraded, target, band_hz=(0, 6000)).item(), rel=1e-5)
    assert found["estoi"] == pytest.approx(metrics.stoi(degraded, target, extended=True).item(), abs=1e-6)
    assert found["mr_stft"] == pytest.approx(metrics.mr_stft(degraded, target).item(), rel=1e-5)


@pytest.mark.parametrize("name", BAND_METRICS)
def test_the_distance_in_a_narrow_band_is_the_lsd_of_that_band_alone(target, degraded, name):
    alone = metrics.lsd(degraded, target, band_hz=band_hz(name)).item()
    assert score(degraded, target, **BAND)[name] == pytest.approx(alone, rel=1e-6)


def test_squares_of_the_narrow_bands_average_to_the_square_of_the_whole_where_all_frames_are_alike():
    time_s = torch.arange(20 * 512 + 1, dtype=torch.float64) / 24_000  # harmonics of the hop's rate, mirrored at both ends
    tones_hz = 24_000 / 512 * torch.arange(1, 256, dtype=torch.float64)
    tones = torch.cos(2 * torch.pi * tones_hz[:, None] * time_s) / 50
    estimate, target = ((gains @ tones).float() for gains in (tones_hz / 12_000, torch.ones_like(tones_hz)))
    found = score(estimate, target, **BAND)
    bins = [len(range(1025)[DEFAULT.bins(band_hz(name))]) for name in BAND_METRICS]
    mean = sum(n * found[name] ** 2 for n, name in zip(bins, BAND_METRICS, strict=True)) / sum(bins)
    assert found["lsd"] > 0.1
    assert mean == pytest.approx(found["lsd"] ** 2, rel=1e-3)


def test_narrow_bands_above_the_end_of_the_recording_have_no_value(target, degraded):
    found = score(degraded, target, cutoff_hz=6000, bandwidth_hz=10_499)
    assert {name for name in BAND_METRICS if math.isnan(found[name])} == {f"lsd_{hz}hz" for hz in (10_000, 10_500, 11_000, 11_500)}


def test_a_resampled_signal_fails_in_the_bands_above_its_cutoff(target, degraded):
    found = score(degraded, target, cutoff_hz=6000, bandwidth_hz=10_500)
    assert max(found[name] for name in BAND_METRICS if band_hz(name)[1] <= 5500) < 0.5
    assert min(found[name] for name in BAND_METRICS if 6500 <= band_hz(name)[0] < 10_500) > 2


def test_a_resampled_signal_is_is_good_below_its_cutoff_and_empty_above(target, degraded):
    found = score(degraded, target, **BAND)
    assert found["stoi"] > 0.999
    assert found["lsd_hf"] > 3 * found["lsd_lf"]
    assert found["hf_bias"] < -10
    assert found["fine_structure"] < 0.05


def test_bands_follow_the_cutoff(target):
    degraded = torch.from_numpy(apply(target.numpy(), Degradation(4000)))
    at_4, at_6 = (score(degraded, target, cutoff_hz=cutoff_hz, bandwidth_hz=12_000) for cutoff_hz in (4000, 6000))
    assert at_4["lsd_lf"] < 0.5 * at_6["lsd_lf"]
    assert at_4["lsd"] == at_6["lsd"]


def test_nothing_above_the_end_of_the_recording_counts(target):
    ended = torch.from_numpy(apply(target.numpy(), Degradation(11_000)))
    whistle = 0.01 * torch.sin(2 * torch.pi * 11_300 / 24_000 * torch.arange(len(ended), dtype=torch.float64)).float()
    estimate = ended + whistle * torch.hann_window(len(ended))  # cut ends would leak into the band
    inside, outside = (score(estimate, ended, cutoff_hz=6000, bandwidth_hz=b) for b in (11_025, 12_000))
    for name in ("lsd", "lsd_hf", "hf_bias"):
        assert abs(inside[name]) < 0.01 < 0.05 < abs(outside[name])


def test_gain_is_part_of_the_error(target):
    found = score(0.5 * target, target, **BAND)
    assert found["si_sdr"] > 100
    assert found["lsd_1e6"] > 0.3


@pytest.mark.parametrize("length", [1, 320, 1024, 1025, 5000])
def test_a_short_clip_is_scored_with_nan_where_a_metric_has_no_meaning(length):
    noise = 0.1 * torch.randn(2, length, generator=torch.Generator().manual_seed(0))
    found = score(noise[0], noise[1], **BAND)
    assert math.isnan(found["stoi"])
    assert math.isnan(found["lsd"]) == (length <= 1024)
    assert not math.isnan(found["si_sdr"])


def test_a_silent_target_or_estimate_is_scored_without_a_crash(target):
    silent = torch.zeros_like(target)
    missing = {k for k, v in score(target, silent, **BAND).items() if math.isnan(v)}
    assert missing == {"si_sdr", "stoi", "estoi", "mr_stft", "hf_bias", "fine_structure"}
    assert {k for k, v in score(silent, target, **BAND).items() if math.isnan(v)} == {"stoi", "estoi"}


def test_a_signal_with_nothing_removed_has_no_high_band(target):
    found = score(target, target, cutoff_hz=12_000, bandwidth_hz=12_000)
    assert math.isnan(found["lsd_hf"])
    assert found["lsd_lf"] == 0


def test_another_length_is_refused_with_both(target):
    with pytest.raises(LcmError, match=r"\[47999\].*\[48000\]"):
        score(target[:-1], target, **BAND)


def test_samples_that_are_not_finite_are_refused_and_counted(target):
    broken = target.clone()
    broken[10:12] = float("nan")
    with pytest.raises(LcmError, match="estimate holds 2 samples"):
        score(broken, target, **BAND)


def test_another_protocol_gives_other_values(target, degraded):
    other = dataclasses.replace(DEFAULT, version=99, lsd_floor=1e-4, bandwidth_step_hz=1000.0)
    assert set(score(degraded, target, **BAND, protocol=other)) < set(METRICS)
    assert score(degraded, target, **BAND, protocol=other)["lsd"] < score(degraded, target, **BAND)["lsd"]

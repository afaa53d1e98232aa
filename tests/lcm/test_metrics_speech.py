"""SI-SDR and STOI."""

from __future__ import annotations

import math

import numpy as np
import pystoi
import pytest
import torch

from lcm.metrics import si_sdr, stoi


def noise(*shape, seed=0):
    return 0.1 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_si_sdr_is_the_ratio_of_signal_to_orthogonal_error():
    target, error = noise(2, 24_000)
    error = error - (error @ target) / (target @ target) * target
    error = error * target.norm() / error.norm() * 10 ** (-12 / 20)
    assert si_sdr(3 * (target + error), target).item() == pytest.approx(12.0, abs=1e-3)


def test_si_sdr_gives_one_value_an_item():
    estimate, target = noise(3, 5000), noise(3, 5000, seed=1)
    alone = torch.stack([si_sdr(e, t) for e, t in zip(estimate, target, strict=True)])
    assert torch.allclose(si_sdr(estimate, target), alone)


def test_si_sdr_of_a_quiet_clip_is_not_capped_by_an_epsilon():
    target, error = noise(2, 24_000)
    loud, quiet = si_sdr(target + 0.01 * error, target), si_sdr(1e-4 * (target + 0.01 * error), 1e-4 * target)
    assert quiet.item() == pytest.approx(loud.item(), abs=0.01)


def test_si_sdr_has_no_value_for_a_silent_target_and_is_minus_100_db_for_a_silent_estimate():
    assert math.isnan(si_sdr(noise(5000), torch.zeros(5000)))
    assert si_sdr(torch.zeros(5000), noise(5000)).item() == -100


@pytest.mark.parametrize("extended", [False, True])
def test_stoi_is_what_pystoi_says(speech, extended):
    target = torch.from_numpy(speech)
    estimate = target + 0.1 * noise(len(target))
    wanted = pystoi.stoi(target.double().numpy(), estimate.double().numpy(), 24_000, extended=extended)
    assert 0.3 < wanted < 0.999
    assert stoi(estimate, target, extended=extended).item() == pytest.approx(wanted, abs=1e-6)
    assert stoi(torch.stack([estimate, target]), torch.stack([target, target]), extended=extended)[1].item() == pytest.approx(1.0, abs=1e-4)


@pytest.mark.parametrize("extended", [False, True])
@pytest.mark.parametrize("length", [0, 1, 100, 320, 700, 5000])
def test_stoi_has_no_value_for_a_clip_too_short_to_judge(length, extended):
    assert math.isnan(stoi(noise(length), noise(length, seed=1), extended=extended))


def test_stoi_has_no_value_where_either_signal_is_silent(speech):
    target = torch.from_numpy(speech)
    assert math.isnan(stoi(torch.zeros_like(target), target))
    assert math.isnan(stoi(target, torch.zeros_like(target)))


def test_stoi_has_no_value_for_a_click_in_silence():
    target = torch.zeros(48_000)
    target[20_000:21_000] = noise(1000)
    assert math.isnan(stoi(target + 1e-3 * noise(48_000, seed=1), target))


def test_a_warning_of_pystoi_does_not_leak(speech, recwarn):
    stoi(noise(5000), noise(5000, seed=1))
    assert not [w for w in recwarn if "STFT frames" in str(w.message)]
    assert np.isfinite(stoi(torch.from_numpy(speech), torch.from_numpy(speech)))

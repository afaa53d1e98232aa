"""Scores by the reference's protocol."""

from __future__ import annotations

import pytest
import torch
from pystoi import stoi
from torchmetrics.audio import ScaleInvariantSignalDistortionRatio

from lcm.loudness import as_stored
from lcm.speed.quality import as_published, score
from lcm.systems import Clip, System


@pytest.fixture(scope="module")
def pair(speech):
    target = torch.from_numpy(speech)
    noise = torch.randn(len(target), generator=torch.Generator().manual_seed(0))
    return target + 0.05 * noise, target


def test_scores_are_those_of_the_packages_that_the_reference_used(pair):
    estimate, target = pair
    found = as_published(estimate, target)
    assert found["si_sdr"] == pytest.approx(float(ScaleInvariantSignalDistortionRatio()(estimate[None], target[None])), abs=1e-3)
    assert found["stoi"] == pytest.approx(stoi(target.numpy(), estimate.numpy(), 24_000, extended=False), abs=1e-4)


def test_estimates_are_cut_or_padded_to_the_original(pair):
    estimate, target = pair
    longer = torch.cat([estimate, torch.ones(320)])
    assert as_published(longer, target) == as_published(estimate, target)
    shorter = torch.cat([estimate[:-500], torch.zeros(500)])
    assert as_published(estimate[:-500], target) == as_published(shorter, target)


def test_audio_that_was_stored_is_scored_as_it_was_stored(pair):
    estimate, target = pair
    assert as_published(estimate, target, stored=True) == as_published(as_stored(estimate), target)
    assert as_published(target, target, stored=True)["si_sdr"] < 60 < as_published(target, target)["si_sdr"]  # the compressor bends it


def test_a_systems_score_is_its_raw_estimates_mean(pair):
    estimate, target = pair
    clips = [Clip("a", "x", target, estimate, 6000.0, 11_025.0), Clip("b", "x", target, target, 6000.0, 11_025.0)]
    found = score(System("none", 1, lambda clip, _: clip.degraded), clips)
    each = [as_published(clip.degraded, target) for clip in clips]
    assert found["si_sdr"] == pytest.approx((each[0]["si_sdr"] + each[1]["si_sdr"]) / 2)
    assert found["stoi"] == pytest.approx((each[0]["stoi"] + each[1]["stoi"]) / 2)

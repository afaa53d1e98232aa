"""What of an estimate is missing in the input."""

from __future__ import annotations

import pytest
import torch

from lcm.audio import HOP
from lcm.upscaling.missing import REACH_FRAMES, missing

CUTOFF_HZ = 5_000.0


def noise(seed, low_hz=0, high_hz=12_000, level=0.1):
    """Noise of one second in a band, [1, T]."""
    spectrum = torch.fft.rfft(torch.randn(1, 24_000, generator=torch.Generator().manual_seed(seed)))
    hz = torch.fft.rfftfreq(24_000, 1 / 24_000)
    return level * torch.fft.irfft(spectrum * ((hz >= low_hz) & (hz < high_hz)))


def power(audio, low_hz, high_hz):
    """Power of one second in a band, without what its ends would leak into others."""
    return float(torch.fft.rfft(audio[0] * torch.hann_window(24_000))[low_hz:high_hz].abs().square().sum())


def test_where_the_input_is_empty_all_of_the_estimate_is_added():
    estimate, audio = noise(0), noise(1, 0, 4_600)
    added = missing(estimate, audio, CUTOFF_HZ)
    assert power(added - estimate, 5_200, 11_900) < 1e-3 * power(estimate, 5_200, 11_900)


def test_where_the_input_is_as_strong_little_is_added():
    estimate, audio = noise(0), noise(1)
    assert power(missing(estimate, audio, CUTOFF_HZ), 0, 12_000) < 0.05 * power(estimate, 5_000, 12_000)


@pytest.mark.parametrize("left", [0.25, 0.5, 0.75])
def test_of_a_band_that_is_weaker_as_much_amplitude_is_added_as_it_lacks(left):
    added = missing(noise(0), left * noise(0), CUTOFF_HZ)
    assert (power(added, 6_000, 11_000) / power(noise(0), 6_000, 11_000)) ** 0.5 == pytest.approx(1 - left, abs=0.01)


def test_nothing_is_added_below_the_cutoff():
    assert power(missing(noise(0), noise(1, 0, 2_000, 1e-3), CUTOFF_HZ), 0, 4_200) < 1e-6 * power(noise(0), 0, 4_200)


def test_nothing_is_added_to_silence():
    assert not missing(noise(0), torch.zeros(1, 24_000), CUTOFF_HZ).any()


def test_the_share_does_not_depend_on_the_level():
    loud, quiet = (missing(level * noise(0), level * noise(1, 0, 7_000, 0.05), CUTOFF_HZ) for level in (1.0, 0.01))
    assert torch.allclose(loud, 100 * quiet, atol=1e-5)


def test_a_part_that_begins_at_a_frame_gives_the_same_as_the_whole():
    estimate, audio = noise(0), noise(1, 0, 7_000)
    start, stop, reach = 20 * HOP, 50 * HOP, REACH_FRAMES * HOP
    part = missing(estimate[:, start - reach : stop + reach], audio[:, start - reach : stop + reach], CUTOFF_HZ)
    assert torch.allclose(part[:, reach:-reach], missing(estimate, audio, CUTOFF_HZ)[:, start:stop], atol=1e-6)


@pytest.mark.parametrize("count", [1, 160, 641])
def test_a_part_shorter_than_a_window_keeps_its_length(count):
    assert missing(noise(0)[:, :count], noise(1, 0, 4_000)[:, :count], CUTOFF_HZ).shape == (1, count)

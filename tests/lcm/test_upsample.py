"""Upsampling baselines."""

from __future__ import annotations

import numpy as np
import pytest

from lcm.degrade import Degradation, apply
from lcm.errors import LcmError
from lcm.upsample import UPSAMPLERS, decimate, sinc, zero_order_hold

INNER = slice(1000, -1000)


def tone(frequency_hz, length=24_000):
    return np.sin(2 * np.pi * frequency_hz * np.arange(length) / 24_000).astype(np.float32)


def delay_samples(frequency_hz, signal):
    """Delay of a tone against `tone`, in samples, from its phase."""
    window = np.hanning(len(signal)) * np.exp(-2j * np.pi * frequency_hz * np.arange(len(signal)) / 24_000)
    phase = np.angle((tone(frequency_hz, len(signal)) @ window) / (signal @ window))
    return phase / (2 * np.pi * frequency_hz / 24_000)


@pytest.mark.parametrize(("name", "delay"), [("sinc", 0.0), ("linear", 0.0), ("zero_order_hold", 0.5)])
def test_a_low_tone_is_not_delayed_beyond_the_nature_of_the_method(name, delay):
    assert delay_samples(440, UPSAMPLERS[name](decimate(tone(440)), 24_000)) == pytest.approx(delay, abs=2e-3)


@pytest.mark.parametrize("name", UPSAMPLERS)
@pytest.mark.parametrize("length", [0, 1, 2, 321, 24_000, 24_001])
def test_the_length_is_preserved(name, length):
    low = decimate(tone(440, length))
    assert low.shape == (-(-length // 2),)
    assert UPSAMPLERS[name](low, length).shape == (length,)


@pytest.mark.parametrize("name", ["linear", "zero_order_hold"])
def test_the_samples_that_were_kept_are_unchanged(name):
    low = decimate(tone(440))
    assert np.array_equal(UPSAMPLERS[name](low, None)[::2], low)


def test_sinc_is_the_24_to_12_to_24_khz_degradation():
    signal = np.random.default_rng(0).normal(size=9_999).astype(np.float32)
    assert np.allclose(sinc(decimate(signal), len(signal)), apply(signal, Degradation(6000)), atol=1e-6)


def test_sinc_adds_nothing_above_6_khz_and_the_others_leave_images_there():
    low = decimate(tone(5000))
    power = {name: np.abs(np.fft.rfft(up(low, None)[INNER] * np.hanning(22_000))) ** 2 for name, up in UPSAMPLERS.items()}
    above = {name: p[5600:].sum() / p.sum() for name, p in power.items()}  # 1.09 Hz a bin: above 6.1 kHz
    assert above["sinc"] < 1e-10
    assert above["linear"] > 0.01
    assert above["zero_order_hold"] > 0.1


def test_a_length_that_the_signal_cannot_have_had_is_refused():
    with pytest.raises(LcmError, match="expected 199 or 200"):
        zero_order_hold(np.zeros(100), 203)


def test_two_channels_are_refused():
    with pytest.raises(LcmError, match=r"shape \(2, 100\)"):
        decimate(np.zeros((2, 100)))

"""Block by block: equal to the whole, at a known latency, in constant memory."""

from __future__ import annotations

import numpy as np
import pytest

from lcm.audio import resample
from lcm.errors import LcmError

RATES = (8_000, 12_000, 24_000, 44_100)


def restored(upscaler, samples, rate, sizes, *, chunk_s):
    stream = upscaler.stream(rate, samples.shape[1], cutoff_hz=3_900, chunk_s=chunk_s)
    made, start = [], 0
    while start < len(samples):
        size = sizes[len(made) % len(sizes)]
        made.append(stream.push(samples[start : start + size]))
        start += size
    return np.concatenate([*made, stream.finish()])


@pytest.fixture
def tone(low):
    """Speech, then a tone, then silence, in two channels at 24 kHz."""
    time_s = np.arange(36_000) / 24_000
    parts = [resample(low, 12_000, 24_000)[:48_000], 0.3 * np.sin(2 * np.pi * 1_000 * time_s), np.zeros(24_000)]
    one = np.concatenate(parts).astype(np.float32)
    return np.stack([one, 0.5 * one[::-1]], axis=1)


@pytest.mark.parametrize("rate", RATES)
def test_blocks_of_any_size_and_parts_of_any_length_give_the_whole(upscaler, tone, rate):
    samples = resample(tone.T, 24_000, rate).T
    whole = restored(upscaler, samples, rate, [10**9], chunk_s=1e4)
    assert np.abs(whole).max() > 0.1
    for sizes, chunk_s in (([1, 7, 4_801], 0.3), ([333], 0.8), ([24_000], 0.05)):
        assert np.abs(restored(upscaler, samples, rate, sizes, chunk_s=chunk_s) - whole).max() < 1e-3


@pytest.mark.parametrize("rate", RATES)
def test_output_comes_no_later_than_the_latency_says(upscaler, rate):
    stream, pushed, received = upscaler.stream(rate, 1, cutoff_hz=3_900, chunk_s=0.2), 0.0, 0.0
    block = 0.1 * np.random.default_rng(0).standard_normal((rate // 10, 1)).astype(np.float32)
    for _ in range(40):
        pushed += len(block) / rate
        received += len(stream.push(block)) / stream.sample_rate
        assert received >= pushed - stream.latency_s - 0.1
    assert received > 2


def test_what_is_kept_does_not_grow_with_the_recording(upscaler):
    stream = upscaler.stream(44_100, 2, cutoff_hz=6_000, chunk_s=0.2)
    block, held = np.zeros((44_100, 2), np.float32), []
    for _ in range(8):
        stream.push(block)
        held.append(len(stream._audio) + len(stream._raw))
    assert max(held[4:]) <= max(held[:4]) + 400


def test_a_stream_that_was_given_nothing_gives_nothing(upscaler):
    assert upscaler.stream(12_000, 3, cutoff_hz=6_000).finish().shape == (0, 3)


def test_blocks_of_other_channels_or_after_the_end_are_refused(upscaler):
    stream = upscaler.stream(12_000, 2, cutoff_hz=6_000)
    with pytest.raises(LcmError, match=r"shape \[10, 1\] for a stream of 2 channels"):
        stream.push(np.zeros((10, 1), np.float32))
    stream.finish()
    with pytest.raises(LcmError, match="that has ended"):
        stream.push(np.zeros((10, 2), np.float32))

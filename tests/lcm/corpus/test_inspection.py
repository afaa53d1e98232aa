import hashlib
import os

import numpy as np
import pytest

from lcm.audio import AudioError
from lcm.corpus.inspection import Limits, inspect


def refusal(path, **limits):
    with pytest.raises(AudioError, match=path.name) as caught:
        inspect(path, Limits(**limits))
    return caught.value.reason


def test_a_fit_recording_is_described(tmp_path, record):
    path = record(tmp_path / "a.flac", seconds=0.5)
    found = inspect(path, Limits())
    assert (found.seconds, found.sample_rate_hz, found.bandwidth_hz) == (0.5, 24_000, 12_000)
    assert found.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_an_empty_file_is_rejected(tmp_path, record):
    (tmp_path / "a.wav").touch()
    assert refusal(tmp_path / "a.wav") == "empty: 0 bytes"
    assert refusal(record(tmp_path / "b.wav", samples=np.zeros(0))).startswith("empty")


@pytest.mark.parametrize("suffix", ["wav", "flac"])
@pytest.mark.parametrize("share", [0.3, 0.9])
def test_a_truncated_file_is_rejected_and_named(tmp_path, record, suffix, share):
    path = record(tmp_path / f"cut.{suffix}", seconds=1.0)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    assert refusal(path).startswith("truncated")


def test_a_flac_with_a_damaged_middle_is_rejected(tmp_path, record):
    path = record(tmp_path / "a.flac", seconds=2.0)
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 400] = bytes(400)
    path.write_bytes(data)
    assert refusal(path).startswith("truncated or damaged")


def test_a_silent_file_is_rejected_even_with_dither_or_an_offset(tmp_path, record):
    dither = np.random.default_rng(0).integers(-1, 2, 12_000) / 32768
    for name, samples in {"zero": np.zeros(12_000), "dither": dither, "offset": np.full(12_000, 0.25)}.items():
        assert refusal(record(tmp_path / f"{name}.wav", samples=samples)).startswith("silent")


def test_channels_that_cancel_are_silent_for_they_are_averaged_later(tmp_path, record):
    left = np.random.default_rng(0).normal(0, 0.1, 12_000)
    assert refusal(record(tmp_path / "a.wav", samples=np.stack([left, -left], 1))).startswith("silent")


def test_a_faint_recording_is_not_silent(tmp_path, record):
    path = record(tmp_path / "a.wav", samples=np.random.default_rng(0).normal(0, 1e-3, 12_000))
    assert inspect(path, Limits()).seconds == 0.5


def test_what_is_not_audio_is_rejected(tmp_path):
    (tmp_path / "a.wav").write_text("this is a letter")
    (tmp_path / "b.flac").write_bytes(os.urandom(5_000))
    os.mkfifo(tmp_path / "pipe.wav")  # opening it would wait for ever
    for name in ("a.wav", "b.flac", "pipe.wav"):
        assert refusal(tmp_path / name).startswith("not audio")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_file_with_nan_or_infinity_is_rejected(tmp_path, record, value):
    samples = np.full(12_000, 0.1)
    samples[9_000] = value
    assert refusal(record(tmp_path / "a.wav", samples=samples, subtype="FLOAT")).startswith("not finite")


def test_a_file_shorter_than_one_frame_is_rejected_and_one_frame_is_enough(tmp_path, record):
    assert refusal(record(tmp_path / "a.wav", samples=np.tile([0.1, -0.1], 160)[:319])).startswith("too short")
    assert inspect(record(tmp_path / "b.wav", samples=np.tile([0.1, -0.1], 160)), Limits()).seconds > 0


def test_one_frame_is_counted_at_24_khz(tmp_path, record):
    assert refusal(record(tmp_path / "a.wav", rate=48_000, samples=np.tile([0.1, -0.1], 319))).startswith("too short")


def test_a_sample_rate_below_the_limit_is_rejected_and_the_limit_is_a_parameter(tmp_path, record):
    path = record(tmp_path / "a.wav", rate=16_000)
    assert refusal(path) == "sample rate too low: 16000 Hz, expected at least 22050 Hz"
    assert inspect(path, Limits(min_sample_rate_hz=16_000)).bandwidth_hz == 8_000


def test_between_22_05_and_24_khz_the_true_bandwidth_is_noted(tmp_path, record):
    assert inspect(record(tmp_path / "a.wav", rate=22_050), Limits()).bandwidth_hz == 11_025


def test_a_bandwidth_below_the_limit_is_rejected_if_a_limit_is_set(tmp_path, record):
    path = record(tmp_path / "a.wav", rate=22_050)
    assert refusal(path, min_bandwidth_hz=11_100) == "bandwidth too low: empty above 11025 Hz, expected at least 11100 Hz"


def test_a_recording_that_is_too_long_is_rejected_if_a_limit_is_set(tmp_path, record):
    path = record(tmp_path / "a.wav", seconds=2.0)
    assert refusal(path, max_seconds=1.0) == "too long: 2.0 s, expected at most 1 s"


def test_a_missing_file_is_rejected(tmp_path):
    assert refusal(tmp_path / "gone.wav").startswith("missing")

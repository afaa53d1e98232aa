"""`python -m lcm.mbd check`: the fast path beside audiocraft on this machine."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lcm.mbd.check import check, example
from lcm.teachers import TeacherConfig

ROOT = Path(__file__).parents[3]
NARROW = TeacherConfig(name="mbd", weights="random", hidden=4, steps=4, bw=3.0)


def test_float32_agrees_and_half_precision_says_by_how_much_it_does_not(codec):
    full, half = check(NARROW, codec, example(codec, 0.4), precisions=("fp32", "bf16"))
    assert full.largest < 1e-4
    assert full.snr_db > 90
    assert 20 < half.snr_db < 70


def test_a_recording_can_be_named(codec, tmp_path):
    import numpy as np
    import soundfile

    soundfile.write(tmp_path / "a.wav", 0.1 * np.random.default_rng(0).standard_normal(24000), 24000)
    assert example(codec, 0.4, tmp_path / "a.wav").shape == (1, 8, 30)


def command(*words):
    """Run the check on the CPU: a GPU has other precisions."""
    line = [sys.executable, "-W", "ignore", "-m", "lcm.mbd", "check", *words]
    return subprocess.run(line, capture_output=True, text=True, check=False, env={**os.environ, "CUDA_VISIBLE_DEVICES": ""})


def test_the_command_prints_a_line_a_precision():
    done = command("--weights", "random", "--hidden", "4", "--seconds", "0.4", "--steps", "2")
    assert done.returncode == 0, done.stderr
    assert [line.split(":")[0] for line in done.stdout.splitlines()] == ["fp32", "bf16"]


def test_without_weights_the_command_says_what_to_fetch(tmp_path):
    done = command("--codec-folder", str(tmp_path), "--folder", str(tmp_path))
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
    assert "encodec_24khz-d7cc33bc.th" in done.stderr


FULL = """
import sys
from lcm.codec import CodecConfig, load_codec
from lcm.mbd import bands
from lcm.mbd.check import check, example
from lcm.teachers import TeacherConfig
bands.BANDS = int(sys.argv[1])
codec = load_codec(CodecConfig("encodec_24khz", weights="random"))
config = TeacherConfig(name="mbd", weights="random", steps=3, bw=3.0)
(full,) = check(config, codec, example(codec, 1.0), precisions=("fp32",))
print(full.largest)
"""


def available_gb():
    line = next(line for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith("MemAvailable"))
    return int(line.split()[1]) / 1e6


@pytest.mark.slow
def test_the_released_architecture_at_full_size_agrees_with_audiocraft():
    """All four bands take 10 GB, which a process of its own gives back; where there is less, one band, of the same architecture."""
    bands = "4" if available_gb() > 14 else "1"
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", FULL, bands], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"exit {done.returncode} with {available_gb():.0f} GB of memory free: {done.stderr}"
    assert float(done.stdout) < 1e-4

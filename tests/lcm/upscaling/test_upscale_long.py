"""Memory does not grow with a file's length. Two hours with the shipped model: analysis/results/upscaling.md."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

LONG = Path(__file__).with_name("long_file.py")


def told(folder, seconds, model):
    folder.mkdir()
    environment = os.environ | {"PYTHONPATH": f"{LONG.parents[3]}{os.pathsep}{LONG.parent}", "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, LONG, folder, str(seconds), model], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2_000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
def test_two_hours_are_restored_to_their_length_in_less_than_a_gigabyte_and_a_half(tmp_path):
    """The model adds nothing here: two hours of it take minutes, and its memory is that of a chunk, tested below."""
    made = told(tmp_path / "hours", 7_200, "nothing")
    assert (made["made"], made["frames"]) == (1, 7_200 * 24_000)
    assert made["peak_mb"] < 1_500


@pytest.mark.slow
def test_the_shipped_models_memory_does_not_grow_with_the_length(tmp_path):
    short, long = told(tmp_path / "short", 45, "shipped"), told(tmp_path / "long", 180, "shipped")
    assert long["frames"] == 180 * 24_000
    assert long["peak_mb"] < short["peak_mb"] + 100
    assert long["peak_mb"] < 1_500

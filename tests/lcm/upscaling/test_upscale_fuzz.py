"""Damaged files: no crash, no hang, no wrong length.

The network is left out (`fuzzing.Nothing`): a damaged header may tell of a thousand channels, and its time is not what is tested.
Reading, measuring, resampling, writing and the jobs are real. About 30 s for 2,200 files of 14 formats on one core.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

FUZZING = Path(__file__).with_name("fuzzing.py")
ROOT = FUZZING.parents[3]


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_of_1100_damaged_files_each_is_restored_to_its_length_or_refused_by_name(tmp_path, seed):
    environment = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{FUZZING.parent}", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, FUZZING, tmp_path, str(seed), "1100"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, errors="replace", timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-2_000:]
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["damaged"] > 1_050
    assert told["made"] + told["failed"] == 1_100
    assert min(told["made"], told["failed"]) > 200  # both roads are walked
    assert (told["wrong"], told["unexpected"], told["parts"]) == ([], [], 0)
    assert told["outputs"] == told["made"]
    assert told["errors"] == told["failed"]

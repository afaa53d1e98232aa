"""Two real processes (gloo, on the CPU) against one, with every kind of state that a step keeps and weights without gradients."""

import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch

from lcm import checkpoint
from lcm.paths import Run

SCRIPT = Path(__file__).with_name("train_process.py")
LOSSES = ["mr_stft=0.1", "si_sdr=0.5", "auto={hf_log_magnitude: 0.3}", "auto_every=3"]
SETTINGS = ["steps=8", "batch=4", "logits=true", "target_ema=0.9", *LOSSES]
TOLERANCE = 1e-4
"""Relative, on every logged value and on the norm of every tensor of the state. Measured after these eight steps: 2e-6."""


def train(folder, *settings, ranks=1):
    several = ["-m", "torch.distributed.run", "--standalone", "--local-addr", "127.0.0.1", "--nproc-per-node", str(ranks)]
    command = [sys.executable, *(several if ranks > 1 else []), str(SCRIPT), str(folder), f"devices={ranks}", *SETTINGS, *settings]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TORCH_CPP_LOG_LEVEL": "ERROR"}
    subprocess.run(command, check=True, timeout=300, env=environment)
    return Run(folder)


@pytest.fixture(scope="module")
def single(tmp_path_factory):
    return train(tmp_path_factory.mktemp("single"))


def curves(run):
    return pd.read_csv(run.scalars)


def assert_same_curve(a, b):
    a, b = curves(a), curves(b)
    assert list(a.name) == list(b.name)
    assert set(a.name) == {"ect", "mr_stft", "si_sdr", "hf_log_magnitude", "total", "gradient_norm", "rate", "weight/hf_log_magnitude"}
    for row, other in zip(a.itertuples(), b.value, strict=True):
        assert other == pytest.approx(row.value, rel=TOLERANCE), (row.step, row.name)


def assert_same_state(a, b):
    a, b = (checkpoint.load(run.last)[0] for run in (a, b))
    assert a.keys() == b.keys()
    assert {name.split(".")[0] for name in a} == {"model", "ema", "target", "optimiser"}
    for name, tensor in a.items():
        assert float((tensor.float() - b[name].float()).norm()) <= TOLERANCE * float(tensor.float().norm()), name


@pytest.mark.slow
@pytest.mark.parametrize("settings", [[], ["accumulate=2"]], ids=["two processes", "two processes that accumulate"])
def test_two_processes_give_the_loss_curve_of_one(single, tmp_path, settings):
    both = train(tmp_path, *settings, ranks=2)
    assert_same_curve(single, both)
    assert_same_state(single, both)


@pytest.mark.slow
def test_two_processes_resume_what_one_has_begun(single, tmp_path):
    train(tmp_path, "--stop", "4")
    assert checkpoint.load(Run(tmp_path).last)[1]["step"] == 4
    resumed = train(tmp_path, ranks=2)
    assert_same_curve(single, resumed)
    assert_same_state(single, resumed)


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_all_ranks_stop_at_the_step_in_which_one_is_told_to_and_go_on_as_if_nothing_had_been(tmp_path, rank):
    rare = "checkpoint_every=100"
    whole = train(tmp_path / "whole", rare, ranks=2)
    cut = train(tmp_path / "cut", rare, "--ask", str(rank), "3", ranks=2)
    assert checkpoint.load(cut.last)[1]["step"] == 3
    train(tmp_path / "cut", rare, ranks=2)
    a, b = (checkpoint.load(run.last)[0] for run in (whole, cut))
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert cut.scalars.read_text() == whole.scalars.read_text()


@pytest.mark.slow
def test_another_batch_is_another_curve(single, tmp_path):
    other = curves(train(tmp_path, "batch=2"))  # so that the comparisons above can fail
    assert other.value[0] != pytest.approx(curves(single).value[0], rel=100 * TOLERANCE)

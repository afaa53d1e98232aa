import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch
from hydra import compose, initialize_config_module

from lcm import checkpoint
from lcm.errors import TrainingError
from lcm.objectives import ObjectiveConfig
from lcm.paths import Run
from sweeps.config import Config, from_hydra, read_config, register, to_yaml
from sweeps.demo import quote
from sweeps.launch import ERRORS_VARIABLE, errors_passed_on
from sweeps.point import run_point
from sweeps.prepare import prepare
from sweeps.ranks import _choose_gpu
from sweeps.team import Team
from sweeps.training import validator

PROFILES = sorted((Path(__file__).parents[2] / "sweeps" / "conf" / "profile").glob("*.yaml"))
POINT = ["corpus.demo_voices=3", "corpus.demo_utterances=2", "shards=2", "network.width=32", "network.depth=1", "network.heads=2"]
POINT += ["losses.hf_log_magnitude=0", "losses.si_sdr=0", "data.crop_frames=32", "data.context_frames=4", "train.estimate=false"]
SHORT = ["train.steps=2", "train.batch=2", "train.checkpoint_every=1", "evaluate.steps=[1]", "evaluate.max_utterances=1", "init=none"]


@pytest.fixture
def two(tiny):
    return replace(tiny, seed=7, train=replace(tiny.train, devices=2, batch=4, validate_every=1, validate_clips=1))


def test_a_frozen_config_is_read_as_it_was_written(tiny, tmp_path):
    odd = replace(tiny, corpus=replace(tiny.corpus, subsets=("a", "b")), objective=ObjectiveConfig("ct", n=7))
    (tmp_path / "config.yaml").write_text(to_yaml(odd))
    assert to_yaml(read_config(tmp_path / "config.yaml")) == to_yaml(odd)


def test_the_error_that_came_first_is_passed_on(tmp_path, monkeypatch):
    monkeypatch.setenv(ERRORS_VARIABLE, str(tmp_path))
    monkeypatch.setenv("WORLD_SIZE", "2")
    for rank, error in (("1", TrainingError("the loss is not finite\nand more")), ("0", RuntimeError("connection closed by peer"))):
        monkeypatch.setenv("RANK", rank)
        with pytest.raises((SystemExit, RuntimeError)), errors_passed_on():
            raise error
        time.sleep(0.02)
    assert (tmp_path / "failed-0").read_text() == "RuntimeError: connection closed by peer"
    assert Team(tmp_path, 2, (0, 1)).error() == "rank 1: the loss is not finite"


@pytest.mark.parametrize(("visible", "local", "world"), [(1, "0", "1"), (2, "1", "2")], ids=["its own", "all of the node's"])
def test_a_rank_takes_its_own_gpu_whether_its_task_sees_one_or_all(monkeypatch, visible, local, world):
    chosen = []
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    for name, value in {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1", "GROUP_RANK": "1"}.items():
        monkeypatch.setenv(name, value)
    _choose_gpu(visible)
    assert (os.environ["LOCAL_RANK"], os.environ["LOCAL_WORLD_SIZE"], chosen) == (local, world, [int(local)])


def test_validation_of_a_diffusion_teacher_takes_its_steps_and_is_off_by_default(tiny):
    prepared = prepare(tiny)
    assert validator(tiny, prepared) is None
    on = replace(tiny, train=replace(tiny.train, validate_every=1))
    assert validator(on, prepared).steps == 1
    assert validator(replace(on, objective=ObjectiveConfig("diffusion")), prepared).steps == 18
    assert validator(replace(on, objective=ObjectiveConfig("flow")), prepared).steps == 32


@pytest.mark.parametrize("path", PROFILES, ids=lambda p: p.stem)
def test_every_profile_composes_and_says_in_a_line_what_it_is_for(path):
    assert path.read_text(encoding="utf-8").splitlines()[1].startswith("# ")
    register()
    with initialize_config_module("sweeps.conf", version_base="1.3"):
        config = from_hydra(compose("config", [f"+profile={path.stem}"]))
    assert config != Config()
    assert config.train.micro_batch >= 1
    assert config.train.validate_every > 0


def curve(run):
    table = pd.read_csv(run.scalars)
    return table[~table.name.str.startswith("valid/")].value.tolist()


@pytest.mark.slow
def test_a_point_trained_by_two_processes_has_the_curve_of_one(two):
    run = run_point(two)
    status, both = run.read_status(), curve(run)
    assert status["state"] == "done"
    assert status["memory_estimate"]["total_gb"] > 0
    assert status["best"]["lsd_hf"] > 0
    assert run.best.exists()
    shutil.rmtree(run.folder)
    alone = run_point(replace(two, train=replace(two.train, devices=1)))
    assert alone == run  # the number of processes makes no other point
    assert curve(alone) == pytest.approx(both, rel=1e-4)


@pytest.mark.slow
def test_a_rank_that_fails_fails_the_point_with_its_first_line(two):
    broken = replace(two, seed=8, train=replace(two.train, rate=1e30, steps=4, validate_every=0))
    with pytest.raises(TrainingError, match=r"rank \d: In step \d of .* is not finite"):
        run_point(broken)


def start(root, *arguments, short=SHORT, **options):
    command = [sys.executable, "-m", "sweeps.run", *arguments, f"root={quote(str(root))}", *POINT, *short, "train.devices=2"]
    # A shell's background jobs ignore Ctrl-C, and what they start inherits that.
    options["preexec_fn"] = lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options)


@pytest.mark.slow
def test_a_multirun_trains_each_point_in_two_processes(tiny, root):
    process = start(root, "--multirun", "seed=9,10")
    output = process.communicate(timeout=300)[0]
    assert process.returncode == 0, output
    done = [json.loads(p.read_text()) for p in (root / "points").glob("*/status.json")]
    assert {9, 10} <= {s["seed"] for s in done if s["state"] == "done"}


def ranks_of(root):
    """Return the ids of processes that train below a root."""
    return [path.parent.name for path in Path("/proc").glob("[0-9]*/cmdline") if trains_below(root, path)]


def trains_below(root, path):
    try:
        command = path.read_bytes()
    except OSError:  # it has ended meanwhile
        return False
    return b"sweeps.ranks" in command and str(root).encode() in command


@pytest.fixture
def training(root):
    """A point that two processes train without end, beyond its first checkpoint."""
    started = []

    def start_training(seed):
        endless = ["train.steps=100000", "train.batch=2", "train.checkpoint_every=10", "init=none"]
        process = start(root, f"seed={seed}", short=endless, start_new_session=True)
        started.append(process)
        deadline = time.monotonic() + 240
        while not list(root.glob(f"points/*-s{seed}/checkpoints/last.safetensors")) and time.monotonic() < deadline:
            assert process.poll() is None, process.communicate()[0]
            time.sleep(0.2)
        assert len(ranks_of(root)) == 2
        return process, Run(next(root.glob(f"points/*-s{seed}")))

    yield start_training
    for process in started:
        process.kill()
        process.wait()


def ended(root):
    deadline = time.monotonic() + 60
    while ranks_of(root) and time.monotonic() < deadline:
        time.sleep(0.2)
    return ranks_of(root) == []


@pytest.mark.slow
@pytest.mark.parametrize(("number", "state"), [(signal.SIGINT, "interrupted"), (signal.SIGTERM, "stopped"), (signal.SIGUSR2, "stopped")])
def test_two_ranks_that_are_asked_to_stop_do_so_with_a_checkpoint_of_the_step_at_hand(tiny, root, training, number, state):
    process, run = training(20 + number)
    os.killpg(process.pid, number)  # as a terminal does
    assert process.wait(120) in ({75} if state == "stopped" else {130, -signal.SIGINT, 1})
    assert ended(root)
    status = run.read_status()
    assert (status["state"], status["step"]) == (state, checkpoint.load(run.last)[1]["step"])
    assert not run.model.exists()


@pytest.mark.slow
def test_the_ranks_end_with_the_process_that_started_them_however_that_ends(tiny, root, training):
    process, run = training(29)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=120)
    assert ended(root)
    assert run.read_status()["state"] == "running"  # nobody was left to say otherwise


@pytest.mark.slow
def test_a_rank_that_is_killed_fails_the_point_and_is_named(tiny, root, training):
    process, run = training(40)
    os.kill(int(next(pid for pid in ranks_of(root) if rank_of(pid) == "1")), signal.SIGKILL)
    assert process.wait(120) == 1
    assert ended(root)
    assert run.read_status()["state"] == "failed"
    assert "TrainingError: rank 1: ended by signal 9 (Killed): out of memory?" in run.read_status()["error"]


def rank_of(pid):
    variables = dict(word.split("=", 1) for word in Path(f"/proc/{pid}/environ").read_text().split("\0") if "=" in word)
    return variables["RANK"]

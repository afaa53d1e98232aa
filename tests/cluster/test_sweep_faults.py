"""Twelve points over three nodes, with all that can happen to them at once: SLURM and status tell the truth, and nothing is lost."""

from __future__ import annotations

import pytest
from sweeping import ON_LAB, TINY, Sweeping, assert_equal, command, kill, submitted

from lcm.paths import Root, Run

AXIS = """\
# @package _global_
# Written by a user, and edited while points wait.
train: {{warmup: {warmup}}}
hydra:
  mode: MULTIRUN
  sweeper: {{params: {{train.rate: "1e-4,2e-4,3e-4,4e-4,5e-4,6e-4,7e-4,8e-4,9e-4,1e-3,2e-3,1e30"}}}}
"""
PROFILE = ["cpus_per_task=16", "threads=1"]  # one job a node at once: the others wait
LENGTH = ["train.steps=600", "train.checkpoint_every=20"]  # so many steps that a fast machine is at them still when a point is hit
FAILS, KILLED, PREEMPTED, CRASHED = "train.rate=1e+30", "train.rate=0.0001", "train.rate=0.0002", "train.rate=0.0003"


@pytest.mark.slow
def test_twelve_points_with_faults_tell_the_truth_and_lose_nothing(lab, tmp_path):
    axis = tmp_path / "axes" / "ablation" / "mine.yaml"
    axis.parent.mkdir(parents=True)
    axis.write_text(AXIS.format(warmup=10))
    sweeping = Sweeping(lab, tmp_path, *LENGTH)
    words = ["--config-dir", str(axis.parents[1]), "+ablation=mine"]
    assert submitted(sweeping.submit(*words, profile=PROFILE)) == 12
    axis.write_text(AXIS.format(warmup=390))  # edited while points wait

    sweeping.wait_for_step(KILLED, 40)
    kill(sweeping.processes(KILLED))
    preempted = sweeping.wait_for_step(PREEMPTED, 40)
    lab.submit("sleep 2", "--partition=high", f"--nodelist={preempted.host}", "--cpus-per-task=16", "--mem=100")
    crashed = sweeping.wait_for_step(CRASHED, 40)
    lab.crash(crashed.host)  # before the other has left its node: a fast machine would be done with it by then
    sweeping.wait_for(lambda: lab.job(preempted.job)["Restarts"] == "1")
    sweeping.wait_for(lambda: sweeping.point(CRASHED).host != crashed.host or sweeping.point(CRASHED).state != "running")
    lab.boot(crashed.host)
    sweeping.wait(300)

    assert sweeping.states() == {"done": 10, "failed": 2}, sweeping.logs()
    states = sweeping.job_states()
    assert (states.pop(FAILS), states.pop(KILLED)) == ("FAILED", "FAILED")
    assert set(states.values()) == {"COMPLETED"}
    said = sweeping.act("status", "--failed", code=1)
    assert "not finite" in next(line for line in said.splitlines() if FAILS in line)
    assert "SIGKILL" in next(line for line in said.splitlines() if KILLED in line)
    assert sweeping.attempts(CRASHED) == 2  # it was hit while it trained
    frozen = sweeping.root.sweep(sweeping.sweep().name)
    assert all("warmup: 10" in frozen.config(number).read_text() for number in range(12))

    assert submitted(sweeping.act("retry")) == 2  # only what is missing
    sweeping.wait()
    assert sweeping.states() == {"done": 11, "failed": 1}, sweeping.logs()
    assert sweeping.status(KILLED)["first_step"] >= 40  # it went on from its checkpoint

    axis.write_text(AXIS.format(warmup=10))
    assert submitted(sweeping.submit(*words, profile=PROFILE)) == 1  # the one that fails; all else is done
    sweeping.wait()
    here = Root(tmp_path / "here")
    local = ["--multirun", "hydra/launcher=slurm_sweep", "hydra.launcher.cluster=local", f"hydra.launcher.{ON_LAB[-1]}"]
    command(["sweeps.run", f"root={here.folder}", *TINY, *LENGTH, *local, *words], code=1)
    done = [point.run for point in sweeping.points() if point.state == "done"]
    assert len(done) == 11
    assert_equal(sweeping.root, here, done)


def test_a_time_limit_is_survived_from_the_checkpoint(lab, tmp_path):
    sweeping = Sweeping(lab, tmp_path, "train.steps=500", "train.checkpoint_every=1000")
    sweeping.submit("seed=0")
    point = sweeping.wait_for_step_only(sweeping.points()[0].name, 50)
    lab.run("scancel", "--signal=USR2", point.job)  # what SLURM does before the limit
    sweeping.wait_for(lambda: lab.job(point.job)["Restarts"] == "1")
    stopped = sweeping.status(point.name)
    assert stopped["state"] == "stopped"
    sweeping.wait()
    assert sweeping.states() == {"done": 1}, sweeping.logs()
    assert sweeping.status(point.name)["first_step"] == stopped["step"] >= 50  # not a step was lost, though no checkpoint was due


def test_a_point_that_kills_its_job_again_and_again_is_given_up(lab, tmp_path):
    sweeping = Sweeping(lab, tmp_path, "train.steps=100000", "train.checkpoint_every=100000")
    sweeping.submit("seed=0", "hydra.launcher.attempts=2")
    name = sweeping.points()[0].name
    log = sweeping.root.sweep(sweeping.sweep().name).log(0)
    for attempt in range(1, 3):
        sweeping.wait_for(lambda n=attempt: log.exists() and log.read_text().count("=== attempt") == n)
        point = sweeping.points()[0]
        lab.crash(point.host)
        lab.wait_for(lambda job=point.job: lab.state(job) == "PENDING", 60)
        lab.boot(point.host)
    sweeping.wait()
    assert "given up: it died 2 times" in sweeping.point(name).error
    assert list(sweeping.job_states().values()) == ["FAILED"]


def test_an_old_copy_on_a_node_that_was_given_up_does_not_write_beside_the_new_one(lab, tmp_path):
    sweeping = Sweeping(lab, tmp_path, "train.steps=3000", "train.checkpoint_every=20")
    sweeping.submit("seed=0")
    point = sweeping.wait_for_step(sweeping.points()[0].name, 40)
    lab.kill_slurmd(point.host)  # its processes live on
    lab.declare_down(point.host)
    sweeping.wait()
    assert sweeping.states() == {"done": 1}, sweeping.logs()
    claims = sorted(path.name for path in Run(sweeping.root.points / point.run).claims.glob("*.json"))
    assert len(claims) == 2, sweeping.logs()
    scalars = Run(sweeping.root.points / point.run).scalars.read_text().splitlines()[1:]
    totals = [line for line in scalars if line.split(",")[1] == "total"]
    assert len(totals) == len({line.split(",")[0] for line in totals}) == 3000  # each step once

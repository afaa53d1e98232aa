"""Workers that die, shards that take their worker with them, and what a second `submit` does about it."""

from __future__ import annotations

import os
import random
import signal
import time
from contextlib import suppress

import pytest
from filling import Filling, clips, jobs, workers
from toy_producer import toy_plan

from lcm.store import StoreError
from slurm.status import read_status


def test_workers_killed_at_ten_random_moments_lose_a_record_each_at_most(lab, tmp_path):
    filling = Filling(lab, tmp_path, toy_plan(12, items=clips(144)), "shards_per_task=1", delay_s=0.1)
    draw, killed = random.Random(0), []
    while len(killed) < 10:
        filling.submit(max_barren=0, merge=False)
        filling.wait_for(lambda: workers(lab))
        while len(killed) < 10 and (alive := workers(lab)):
            pid = draw.choice(alive)
            with suppress(ProcessLookupError):  # it has ended meanwhile
                os.kill(pid, signal.SIGKILL)
                killed.append(pid)
            time.sleep(draw.uniform(0.0, 0.4))
        filling.wait()
    assert not filling.paths.index.exists()
    filling.fill(max_barren=0)
    filling.check()
    assert len(filling.made_twice()) <= 10


def test_a_shard_that_always_kills_its_worker_is_given_up_and_retry_takes_it(lab, tmp_path):
    plan = toy_plan(4)
    deadly = plan.keys(0)[-1]
    filling = Filling(lab, tmp_path, plan, "tasks_per_node=1", "shards_per_task=4", deadly=frozenset({deadly}))
    for _ in range(4):
        filling.fill()
    state = read_status(filling.folder)
    assert state.states == ("failed", "done", "done", "done")
    assert "given up after 3 attempts" in state.errors[0]
    with pytest.raises(StoreError, match=r"given up.*retry"):
        filling.submit()
    assert lab.run("squeue", "-h") == ""
    assert "shard-00000-of-00004.h5 is missing" in filling.logs()
    filling.gate.touch()
    filling.fill(retry=True)
    filling.check()
    assert filling.made_twice() == []


def test_submitting_while_jobs_run_submits_nothing_twice(lab, tmp_path):
    plan = toy_plan(8, items=clips(64))
    filling = Filling(lab, tmp_path, plan, "shards_per_task=1", hold_at=plan.keys(7)[-1], deadly=frozenset({plan.keys(1)[-1]}))
    first = jobs(filling.submit())
    filling.wait_for(lambda: {lab.state(job) for job in first[:3]} <= {"COMPLETED", "FAILED"})
    again = filling.submit(deadly=frozenset())
    assert [submission.shards() for submission in again if submission.stage == "fill"] == [[1]]
    assert filling.submit() == []
    filling.gate.touch()
    filling.wait()
    filling.check()
    assert filling.made_twice() == []
    assert filling.is_left_alone()

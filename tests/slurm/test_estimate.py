"""Estimates: from what was measured, and none from what was not."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest
from toy_producer import ITEMS, toy, toy_plan

from lcm.store import StorePaths, build_index
from slurm import make_plan, run_plan, run_shards
from slurm.estimate import Rate, estimate, measured_rate
from slurm.progress import Progress
from slurm.shards import adopt_plan

PLAN = make_plan([(str(n), 750) for n in range(400)], 100)  # 4 clips of 10 s a shard
RATE = Rate(clips_per_s=0.1, frames_per_s=75.0, load_s=60.0, device="A", clips=4, source="calibration")
ASKED = {"shards_per_task": 4, "gpus_per_task": 2, "bytes_per_frame": 48.0}


def beat(folder: Path, shard: int, **values: object) -> None:
    path = StorePaths(folder).progress(shard)
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(asdict(Progress(shard, 4)) | values))


@pytest.fixture
def store(tmp_path: Path) -> Path:
    adopt_plan(tmp_path, PLAN)
    return tmp_path


def test_times_follow_from_the_rate_and_the_loading_of_each_task():
    found = estimate(PLAN, range(8), RATE, **ASKED)
    assert (found.clips, found.frames, found.tasks) == (32, 32 * 750, 2)
    assert found.audio_h == pytest.approx(320 / 3600)
    assert found.task_h == pytest.approx((60 + 160) / 3600)
    assert found.gpu_hours == pytest.approx(2 * 2 * 220 / 3600)


def test_the_time_limit_leaves_room_and_is_whole_quarters_of_an_hour():
    assert estimate(PLAN, range(8), RATE, **ASKED).limit_min == 30  # 220 s, half as much again, and 10 min: 15.5 min
    slow = Rate(0.01, 7.5, 60.0, "A", 4, "calibration")
    assert estimate(PLAN, range(8), slow, **ASKED).limit_min == 60  # 1660 s: 51.5 min


def test_tasks_without_a_gpu_take_no_gpu_hours():
    assert estimate(PLAN, range(8), RATE, **{**ASKED, "gpus_per_task": 0}).gpu_hours == 0


def test_without_a_rate_times_are_unknown_and_said_to_be():
    found = estimate(PLAN.header, range(100), None, **ASKED)
    assert (found.gpu_hours, found.task_h, found.limit_min) == (None, None, None)
    assert found.clips == 400
    assert "time: unknown" in "\n".join(found.lines())


def test_nothing_missing_costs_nothing_more():
    found = estimate(PLAN, [], RATE, **ASKED)
    assert (found.clips, found.tasks, found.gpu_hours, found.task_h) == (0, 0, 0, 0)


def test_an_estimate_in_words_says_what_it_rests_on():
    said = "\n".join(estimate(PLAN, range(8), RATE, **ASKED).lines())
    for word in ("32 clips", "2 tasks", "0.2 GPU-hours", "limit 30 min", "1 s of audio a second on A", "calibration, 4 clips"):
        assert word in said


def test_the_estimated_disk_and_files_are_those_of_a_real_store(tmp_path: Path):
    items = [(f"speaker-{n:03d}-clip-{n:06d}", 150 + n % 500) for n in range(600)]
    plan = make_plan(items, 12)
    run_shards(tmp_path, plan, range(12), toy(lengths=dict(items)))
    made = len(list(tmp_path.rglob("*")))
    build_index(tmp_path, plan)
    found = estimate(plan, [], None, **{**ASKED, "bytes_per_frame": 16.0})
    size_gb = sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file()) / 1e9
    assert found.disk_gb == pytest.approx(size_gb, rel=0.1)
    assert made <= found.inodes <= 1.5 * made


def test_the_rate_is_the_median_over_the_shards_that_were_worked_on(store: Path):
    assert measured_rate(store) is None
    beat(store, 0, done=4, busy_s=40.0, state="done", device="A", load_s=30.0)
    beat(store, 1, done=4, busy_s=80.0, state="done", device="A", load_s=50.0)
    beat(store, 2, done=4, busy_s=4000.0, state="done", device="A", load_s=40.0)  # a node that crawled
    beat(store, 3, done=0, busy_s=9.0)
    rate = measured_rate(store)
    assert (rate.clips_per_s, rate.frames_per_s, rate.load_s) == (4 / 80, 3000 / 80, 40.0)
    assert (rate.clips, rate.device, rate.source) == (12, "A", "finished shards")


def test_a_shard_that_was_begun_measures_the_rate_before_any_is_finished(store: Path):
    beat(store, 0, done=1, busy_s=20.0, state="stopped", device="B", frames=9)  # of this attempt alone; busy_s is of all
    rate = measured_rate(store)
    assert (rate.clips_per_s, rate.frames_per_s, rate.source) == (1 / 20, 750 / 20, "calibration")


def test_a_real_run_leaves_its_rate(tmp_path: Path):
    run_plan(tmp_path, toy_plan(3), toy(delay_s=0.02))
    rate = measured_rate(tmp_path)
    assert rate.clips == len(ITEMS)
    assert 0 < rate.clips_per_s <= 4 / 0.02  # batches of four at most, 20 ms each
    assert rate.frames_per_s == pytest.approx(rate.clips_per_s * 4.5, rel=0.5)

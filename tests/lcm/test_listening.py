"""What is kept for listening."""

from __future__ import annotations

import weakref

import numpy as np
import pytest
import soundfile
import torch

from lcm.listening import Samples, remove_samples
from lcm.paths import Run
from lcm.systems import Clip, System

STUDENT = System("student", 1, lambda clip, watch: clip.target)


@pytest.fixture
def run(tmp_path):
    return Run(tmp_path / "a run")


def clip(name, level=0.1):
    return Clip(name, "anna", torch.full((2400,), level), torch.full((2400,), level / 2), 6000.0, 12_000.0)


def kept(run):
    return {path.relative_to(run.samples).as_posix() for path in run.samples.rglob("*") if path.is_file()}


def level(path):
    return float(np.mean(soundfile.read(path)[0]))


def offer(run, values, *, first=0, worst=0):
    samples = Samples(run, STUDENT, first=first, worst=worst)
    for number, value in enumerate(values):
        samples.offer(clip(f"u{number}"), torch.full((2400,), 0.2), value)
    samples.finish()


def test_the_worst_clips_are_kept_with_original_and_input(run):
    offer(run, [1.0, 5.0, 2.0, 4.0], worst=2)
    assert kept(run) == {f"{u}/{name}.flac" for u in ("u1", "u3") for name in ("student-1", "ground_truth", "degraded")}
    levels = [level(run.sample("u1", name)) for name in ("student-1", "ground_truth", "degraded")]
    assert levels == pytest.approx([0.2, 0.1, 0.05], abs=1e-3)


def test_the_first_clips_are_kept_beside_the_worst(run):
    offer(run, [1.0, 2.0, 3.0], first=1, worst=1)
    assert kept(run) == {"u0/student-1.flac", "u2/student-1.flac", "u2/ground_truth.flac", "u2/degraded.flac"}


def test_a_clip_without_a_value_is_none_of_the_worst(run):
    offer(run, [float("nan"), 1.0, float("nan")], worst=2)
    assert {name.split("/")[0] for name in kept(run)} == {"u1"}


def test_of_clips_that_are_equally_bad_the_first_are_kept(run):
    offer(run, [1.0, 3.0, 3.0, 3.0], worst=2)
    assert {name.split("/")[0] for name in kept(run)} == {"u1", "u2"}


def test_nothing_is_kept_where_nothing_is_asked_for(run):
    offer(run, [1.0, 2.0])
    assert not run.samples.exists()


def test_no_more_estimates_than_are_asked_for_are_held_in_memory(run):
    samples, alive = Samples(run, STUDENT, first=1, worst=3), []
    for number in range(20):
        estimate = torch.zeros(2400)
        alive.append(weakref.ref(estimate))
        samples.offer(clip(f"u{number}"), estimate, float(number * 7 % 20))
        del estimate
    assert sum(reference() is not None for reference in alive) == 3


def test_samples_of_an_earlier_evaluation_are_removed_and_nothing_else(run, tmp_path):
    offer(run, [1.0], worst=1)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "mine.flac").touch()
    run.records.touch()
    (run.samples / "link").symlink_to(elsewhere)
    remove_samples(run)
    assert [path.name for path in run.folder.iterdir()] == ["records.parquet"]
    assert (elsewhere / "mine.flac").exists()


def test_samples_that_a_link_led_elsewhere_are_let_alone_and_new_ones_lie_in_the_run(run, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "u9").mkdir(parents=True)
    run.folder.mkdir()
    run.samples.symlink_to(elsewhere)
    remove_samples(run)
    offer(run, [1.0], first=1)
    assert kept(run) == {"u0/student-1.flac"}
    assert [path.name for path in elsewhere.iterdir()] == ["u9"]


def test_a_run_without_samples_has_none_to_remove(run):
    remove_samples(run)
    assert not run.folder.exists()

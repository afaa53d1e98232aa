"""What a point and its baselines leave beside their records: what the clips are, and samples."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lcm.network import NetworkConfig
from lcm.paths import Root
from lcm.records import BAND_METRICS, read_clips, read_records
from sweeps.baselines import ensure_baselines
from sweeps.point import run_point
from sweeps.prepare import prepare


@pytest.fixture(scope="module")
def point(tiny, tmp_path_factory):
    return replace(tiny, root=str(tmp_path_factory.mktemp("a root of its own")))


@pytest.fixture
def run(point):
    return run_point(point)  # made once; evaluated again where the test before left another evaluation


@pytest.fixture
def baselines(run):
    return Root(run.folder.parents[1]).baselines


def heard(run):
    return {path.stem for path in run.samples.glob("*/*.flac")}


def test_points_and_baselines_say_what_their_clips_are(run, baselines):
    for folder in (run, baselines):
        clips = read_clips(folder.clips)
        assert set(clips.utterance) == set(read_records(folder.records).utterance) - {"*"}
        assert (set(clips.cutoff_hz), set(clips.family)) == ({6000.0}, {"resample"})
        assert clips.seconds.min() > 0.5


def test_a_teacher_says_what_its_clips_are_and_keeps_the_first_alone(point, run):
    evaluation = replace(point.evaluate, teacher_steps=1)
    config = replace(point, init="teacher", network=NetworkConfig(), evaluate=evaluation)
    prepared = prepare(config)
    root = Root(run.folder.parents[1])
    ensure_baselines(config, prepared, root)
    teacher = root.teacher(prepared.teacher.model_identity)
    assert list(read_clips(teacher.clips).utterance) == list(read_clips(run.clips).utterance)
    assert heard(teacher) == {"teacher"}
    assert set(BAND_METRICS) < set(read_records(teacher.records).metric)


def test_a_points_worst_clips_can_be_heard_and_its_baselines_keep_the_first_alone(run, point, baselines):
    with_worst = {"student-1", "student-2", "ground_truth", "degraded"}
    assert heard(run) == with_worst
    evaluated = baselines.records.stat().st_mtime_ns
    assert run_point(replace(point, evaluate=replace(point.evaluate, worst=0))) == run
    assert heard(run) == {"student-1", "student-2"}
    assert baselines.records.stat().st_mtime_ns == evaluated
    assert heard(baselines) == {"sinc", "linear", "zero_order_hold", "degraded_codes", "codec_ceiling", "ground_truth", "degraded"}
    run_point(point)
    assert heard(run) == with_worst


def test_baselines_whose_evaluation_was_cut_short_are_evaluated_again_also_as_they_were_before(point, baselines, monkeypatch):
    monkeypatch.setattr("sweeps.baselines.evaluate", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run_point(replace(point, evaluate=replace(point.evaluate, seed=1)))
    monkeypatch.undo()
    assert baselines.read_status()["state"] == "running"
    evaluated = baselines.records.stat().st_mtime_ns
    run_point(point)
    assert baselines.read_status()["state"] == "done"
    assert baselines.records.stat().st_mtime_ns > evaluated

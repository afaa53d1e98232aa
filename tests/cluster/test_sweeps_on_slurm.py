"""Sweeps on a cluster: submitted, packed, split, trained by several tasks, evaluated apart, cancelled, submitted again."""

from __future__ import annotations

import pytest
from lab import Lab
from pandas import read_csv
from pandas.testing import assert_series_equal
from sweeping import Sweeping, submitted

from lcm.paths import Run
from slurm.submission import Submissions


@pytest.fixture
def sweeping(lab, tmp_path):
    return Sweeping(lab, tmp_path, "train.steps=4", "train.checkpoint_every=2")


def test_a_sweep_is_submitted_prepared_once_trained_and_done_again_is_a_no_op(sweeping):
    said = sweeping.submit("seed=0,1,2")
    assert submitted(said) == 3
    assert "prepare: " in said
    assert f"python -m sweeps status {sweeping.root.sweep(sweeping.sweep().name).folder}" in said
    sweeping.wait()
    assert sweeping.states() == {"done": 3}, sweeping.logs()
    assert set(sweeping.job_states().values()) == {"COMPLETED"}
    again = sweeping.submit("seed=0,1,2")
    assert "3 of 3 points are done" in again
    assert "Nothing to submit" in again
    assert len(list(sweeping.root.sweeps.iterdir())) == 1
    assert "Nothing to retry" in sweeping.act("retry")


def test_only_what_changed_of_a_sweep_is_submitted_and_has_a_folder_of_its_own(sweeping):
    sweeping.submit("seed=0")
    sweeping.wait()
    said = sweeping.submit("train.steps=4,5")
    assert submitted(said) == 1
    sweeping.wait()
    assert sweeping.states() == {"done": 2}
    assert len({point.run for point in sweeping.points()}) == 2
    assert "prepare" not in said  # all is there


def test_points_packed_on_one_gpu_have_logs_and_failures_of_their_own(sweeping):
    sweeping.submit("train.rate=0.0001,0.0002,1e30", "hydra.launcher.pack=3")
    assert [submission.elements for submission in Submissions(sweeping.root.folder) if submission.stage == "sweep"] == [[[[0, 1, 2]]]]
    sweeping.wait()
    assert sweeping.states() == {"done": 2, "failed": 1}, sweeping.logs()
    assert list(sweeping.job_states().values()) == ["FAILED"]  # the worst of its points
    failed = sweeping.point("train.rate=1e+30")
    assert "not finite" in failed.error
    assert "train.rate=1e+30" in sweeping.act("status", "--failed", code=1)
    logs = [sweeping.root.sweep(sweeping.sweep().name).log(number).read_text() for number in range(3)]
    assert ["not finite" in log for log in logs] == [False, False, True]


def test_a_point_of_two_gpus_trains_as_two_tasks_and_gives_the_curve_of_one(sweeping, lab, tmp_path):
    sweeping.submit("train.devices=2")
    sweeping.wait()
    assert sweeping.states() == {"done": 1}, sweeping.logs()
    (job,) = next(s.jobs for s in Submissions(sweeping.root.folder) if s.stage == "sweep")
    assert lab.job(job)["NumTasks"] == "2"
    alone = Sweeping(lab, tmp_path / "alone", "train.steps=4", "train.checkpoint_every=2")
    alone.submit("train.devices=1")
    alone.wait()
    run, other = (Run(one.root.points / one.points()[0].run) for one in (sweeping, alone))
    assert run.folder.name == other.folder.name  # how the batch is laid out makes no other point
    curves = [read_csv(one.scalars).set_index(["step", "name"]).value for one in (run, other)]
    assert_series_equal(*curves, rtol=1e-3)


def test_points_that_are_the_same_are_run_once(sweeping):
    said = sweeping.submit("jobs=1,2", "train.accumulate=1,2")
    assert "3 of 4 points are the same as others of this sweep" in said
    assert submitted(said) == 1
    sweeping.wait()
    assert sweeping.states() == {"done": 1}, sweeping.logs()


def test_evaluation_can_be_a_job_of_its_own_after_each_point(sweeping):
    apart = ["hydra.launcher.evaluation=after", "hydra.launcher.evaluation_over={gpus_per_task:0}"]
    said = sweeping.submit("seed=0,1", "train.rate=0.0001,1e30", *apart)
    assert "evaluate: 4 points in 4 jobs" in said
    sweeping.wait()
    assert sweeping.states() == {"done": 2, "failed": 2}, sweeping.logs()
    evaluation = next(s for s in Submissions(sweeping.root.folder) if s.stage == "evaluate")
    assert sorted(sweeping.lab.state(job) for job in evaluation.jobs) == ["CANCELLED", "CANCELLED", "COMPLETED", "COMPLETED"]


def test_two_users_who_submit_the_same_points_at_once_do_not_collide(sweeping):
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(2) as pool:
        said = list(pool.map(lambda _: sweeping.submit("seed=0,1,2"), range(2)))
    assert sorted(map(submitted, said)) == [0, 3]
    assert any("in the hands of jobs" in text for text in said)
    sweeping.wait()
    assert sweeping.states() == {"done": 3}, sweeping.logs()


def test_a_cancelled_sweep_stops_with_a_checkpoint_and_retry_goes_on(sweeping):
    sweeping.submit("seed=0", "train.steps=4000")
    sweeping.wait_for_step(sweeping.points()[0].name, 10)
    assert "1 jobs cancelled" in sweeping.act("cancel")
    sweeping.wait()
    (point,) = sweeping.points()
    assert point.state == "stopped"
    step = point.step
    assert step >= 10
    sweeping.act("retry")
    sweeping.wait_for(lambda: int(sweeping.status(point.name).get("step") or 0) > step)
    assert sweeping.status(point.name)["first_step"] >= step
    sweeping.act("cancel")
    sweeping.wait()


def test_waiting_gives_a_sweeper_its_values(sweeping):
    said = sweeping.submit("seed=0,1", "hydra.launcher.wait=true")
    assert sweeping.states() == {"done": 2}, said


def test_a_failed_preparation_fails_its_points_by_name(sweeping, tmp_path):
    speech = tmp_path / "speech"
    speech.mkdir()
    (speech / "no audio.wav").write_text("no")
    sweeping.submit("corpus.source=folder", f"corpus.root='{speech}'", "seed=0,1")
    sweeping.wait()
    assert sweeping.states() == {"failed": 2}, sweeping.logs()
    assert all("was not prepared" in point.error for point in sweeping.points())
    assert set(sweeping.job_states().values()) == {"FAILED"}


def test_three_hundred_points_are_few_calls_of_sbatch_and_seconds(tmp_path, monkeypatch):
    lab = Lab.start(max_array_size=100)
    try:
        for name, value in lab.environment().items():
            monkeypatch.setenv(name, value)
        lab.run("scontrol", "update", "partitionname=main", "state=down")  # they are only to be submitted
        sweeping = Sweeping(lab, tmp_path)
        said = sweeping.submit("seed=range(300)", profile=["max_parallel=8"])
        assert submitted(said) == 300
        (submission,) = (s for s in Submissions(sweeping.root.folder) if s.stage == "sweep")
        assert len({job.partition("_")[0] for job in submission.jobs}) == 4  # the highest index of an array is below 100
        assert all(int(job.partition("_")[2] or 0) < 99 for job in submission.jobs)
        assert sweeping.states() == {"queued": 300}
        assert "300 of 300 points are in the hands of jobs" in sweeping.submit("seed=range(300)")
        assert "cancelled" in sweeping.act("cancel")
    finally:
        lab.stop()

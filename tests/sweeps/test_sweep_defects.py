"""What once went wrong with sweeps: lost points, false states, jobs of a command that was refused."""

from __future__ import annotations

import signal
import subprocess
from dataclasses import replace
from types import SimpleNamespace

import pytest
from omegaconf import OmegaConf
from toy_sweep import FIRST, job_log, place, run, squeue, submitted, sweep

from lcm.errors import LcmError
from lcm.paths import Root
from slurm.cluster import load_cluster
from slurm.signals import Stop
from slurm.site import Site
from sweeps.sweep import follow, freeze, job, known
from sweeps.sweep import launch as launching
from sweeps.sweep.job import PointsJob
from sweeps.sweep.known import Known
from sweeps.sweep.queue import Queue
from sweeps.sweep.record import read_place, read_sweep, write_place
from sweeps.sweep.settings import LauncherConfig, SweepError, check_profiles, of_tasks
from sweeps.sweep.status import read
from sweeps.sweep.submit import Launched, Sorted, busy_keys, submit_points

TYPED = load_cluster("2x48gb", ["gres=tmpfs:100G,gpu:rtx8000:2"])
LOCAL = load_cluster("local")


@pytest.fixture
def here(tmp_path) -> Root:
    return Root(tmp_path / "root")


@pytest.fixture
def points_job(here) -> PointsJob:
    sweep(here)
    return PointsJob(place=here.folder, submission="s", element=0, sweep=FIRST)


def _pack(failed, left):
    return lambda *_: SimpleNamespace(run=lambda: dict(failed), left=list(left))


# Jobs


def test_a_point_that_failed_does_not_keep_the_others_of_its_job_from_coming_back(points_job, monkeypatch):
    monkeypatch.setattr(job, "Pack", _pack({1: "boom"}, [0, 2]))
    assert not points_job.run([0, 1, 2], Stop(again=True))


def test_a_job_that_has_ended_all_its_points_says_which_failed(points_job, monkeypatch):
    monkeypatch.setattr(job, "Pack", _pack({1: "boom"}, []))
    with pytest.raises(SweepError, match=r"1 of 3 points failed\. point 1: boom"):
        points_job.run([0, 1, 2], Stop())


@pytest.mark.parametrize("name", ["", "7"])  # on this machine; the same inside one allocation
def test_a_point_that_failed_is_tried_again_by_whoever_asks_for_it(points_job, here, monkeypatch, name):
    monkeypatch.setenv("LCM_JOB", name)
    run(here, "a-s0", "failed", error="boom", job=name)
    write_place(points_job.folder, 0, run="a-s0")
    assert points_job._given_up(0) == ""
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")  # started again for the sake of others
    assert points_job._given_up(0) == "boom"


def test_what_an_earlier_job_said_is_not_taken_for_the_reason_of_a_new_failure(points_job, here, monkeypatch):
    monkeypatch.setenv("LCM_JOB", "8")
    run(here, "a-s0", "failed", error="boom", job="7")
    write_place(points_job.folder, 0, run="a-s0")
    log = points_job.folder.log(0)
    log.parent.mkdir(parents=True)
    log.write_text("ImportError: no module\n")
    assert points_job._end(0, 1) == "its process ended with exit code 1: ImportError: no module"
    assert points_job._end(0, -signal.SIGKILL).startswith("its process was ended by SIGKILL")
    assert read_place(points_job.folder, 0).begun == ""


@pytest.mark.parametrize(
    ("points", "devices", "pack", "each"), [([0], 2, 4, 8), ([0, 1, 2, 3], 1, 4, 2), ([0, 1], 1, 4, 4), ([0, 1, 2], 1, 1, 8)]
)
def test_a_task_s_threads_are_shared_by_the_points_that_run_at_once(here, monkeypatch, points, devices, pack, each):
    sweep(here)
    given = []

    def start(*_, threads, more):
        given.append(threads)
        return SimpleNamespace(pid=1, poll=lambda: 0, returncode=0)

    monkeypatch.setattr(job, "start", start)
    one = PointsJob(place=here.folder, submission="s", element=0, sweep=FIRST, devices=devices, pack=pack, threads=8)
    assert one.run(points, Stop())
    assert given == [each] * len(points)


# States


def test_a_point_that_failed_is_not_running_while_its_job_lives_on_for_others(here, tmp_path, monkeypatch):
    squeue(tmp_path, monkeypatch, "7 RUNNING - node1")
    folder = sweep(here, runs=["a-s0"])
    submitted(here, [[0, 1, 2]], ["7"])
    run(here, "a-s0", "failed", ago_s=9, error="boom", job="7")
    place(folder, 0, ago_s=5, run="a-s0", job="7", host="node1")  # noted as its process had ended
    assert read(here.folder)[0].state == "failed"


def test_a_point_that_was_not_begun_before_ctrl_c_is_missing(here):
    sweep(here, names=["a"])
    submission = submitted(here, [[0]], ["999999999"], kind="local")
    job_log(here, submission, "999999999", "Traceback\nKeyboardInterrupt\n")
    assert read(here.folder)[0].state == "missing"


# What is submitted


def test_a_point_that_failed_in_a_job_that_lives_on_is_in_nobody_s_hands(here, tmp_path, monkeypatch):
    squeue(tmp_path, monkeypatch, "7 RUNNING - node1")
    sweep(here, runs=["a-s0", "b-s0"], keys=["A", "B", "C"])
    submitted(here, [[0, 1, 2]], ["7"])
    submitted(here, [[0, 1, 2]], ["9"], stage="evaluate")
    run(here, "a-s0", "failed", job="7")
    run(here, "b-s0", "failed", job="6")
    squeue(tmp_path, monkeypatch, "7 RUNNING - node1", "9 PENDING Dependency -")
    assert busy_keys(here) == {"B", "b-s0", "C"}
    submitted(here, [[0]], ["8"])
    squeue(tmp_path, monkeypatch, "7 RUNNING - node1", "8 PENDING Priority -")
    assert busy_keys(here) == {"A", "a-s0", "B", "b-s0", "C"}


def test_points_that_differ_in_their_evaluation_alone_are_refused(tiny):
    configs = [tiny, replace(tiny, seed=1), replace(tiny, evaluate=replace(tiny.evaluate, steps=[4]))]
    with pytest.raises(LcmError, match="Points 0 and 2 differ in evaluate"):
        freeze.points(configs, [["a"], ["b"], ["c"]])


def test_a_root_has_one_spelling(tiny, tmp_path):
    spelled = freeze.freeze(replace(tiny, root=f"{tmp_path}/a/../root"), LOCAL)
    assert spelled.root == str(tmp_path / "root")


def test_a_sweep_that_is_on_disk_has_all_its_configs(tiny, tmp_path, monkeypatch):
    configs = [freeze.freeze(replace(tiny, root=str(tmp_path / "new"), seed=seed), LOCAL) for seed in (0, 1)]
    left = [OSError(28, "No space left on device"), None]
    write = freeze.write_frozen

    def full(path, config):
        if error := left.pop():
            raise error
        write(path, config)

    monkeypatch.setattr("sweeps.sweep.submit.write_frozen", full)
    monkeypatch.setattr("sweeps.sweep.submit.site", lambda *_: SimpleNamespace(snapshot=None))
    from sweeps.sweep.submit import launch

    with pytest.raises(LcmError, match="No space left"):
        launch(freeze.root_of(configs[0]), freeze.points(configs, [["a"], ["b"]]), dict(enumerate(configs)), LauncherConfig("local"))
    assert list((tmp_path / "new" / "sweeps").glob("*/points/*.yaml"))
    assert not list((tmp_path / "new" / "sweeps").glob("*/sweep.json"))


# Profiles


def test_jobs_of_one_task_ask_for_the_gpus_of_one_task_where_gres_names_them():
    assert of_tasks(TYPED, 1).gres == "tmpfs:100G,gpu:rtx8000:1"
    assert of_tasks(TYPED, 4).gres == "tmpfs:100G,gpu:rtx8000:4"
    check_profiles(LauncherConfig(over={"gres": "gpu:rtx8000:2"}, evaluation="after"), [1, 4])


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (LauncherConfig(evaluation="after", evaluation_over={"gpu_per_task": 0}), "Did you mean 'gpus_per_task'"),
        (LauncherConfig(over={"gpus_per_task": 2}), "add hydra.launcher.gpus_per_task=1"),
    ],
)
def test_a_wrong_profile_is_found_before_anything_is_submitted(settings, said):
    with pytest.raises(LcmError, match=said):
        check_profiles(settings, [1, 2])


def test_a_word_of_retry_adds_to_a_table_of_the_sweep():
    asked = LauncherConfig(over={"flags": {"reservation": "night"}, "time": "08:00:00"}).with_words(["flags.nice=5", "time=12:00:00"])
    assert asked.over == {"flags": {"reservation": "night", "nice": 5}, "time": "12:00:00"}


# Waiting


def test_points_in_the_hands_of_others_are_waited_for_also_while_slurm_does_not_answer(here, monkeypatch):
    done = Launched(here, read_sweep(sweep(here, keys=["A", "B", "C"])))
    answers = [{"A"}, "down", {"A"}, set()]
    slept = []

    def queue(_):
        return Queue(unknown=answers.pop(0) if answers[0] == "down" else "")

    monkeypatch.setattr(follow, "read_queue", queue)
    monkeypatch.setattr(follow, "busy_keys", lambda *_: answers.pop(0))
    monkeypatch.setattr(follow.time, "sleep", slept.append)
    follow.follow(done, "slurm")
    assert (answers, len(slept)) == ([], 3)


def test_the_error_of_a_point_that_a_job_of_another_sweep_had_is_its_own(here, monkeypatch):
    done = Launched(here, replace(read_sweep(sweep(here)), name=""))
    run(here, "a-s0", "failed", error="boom")
    monkeypatch.setattr(follow.Inputs, "look_up", lambda *_: Known(prepared=True, run="a-s0"))
    assert str(follow.values(done, {0: None})[0]) == "point 0: boom"


def test_ctrl_c_ends_without_a_traceback(monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(launching, "_launch", interrupted)
    with pytest.raises(SystemExit) as ended:
        launching.launch(OmegaConf.create({}), [], [], {"cluster": "local"})
    assert ended.value.code == 130


def test_a_frozen_config_that_is_gone_does_not_keep_the_others_from_being_tried_again(tiny, here, monkeypatch):
    from sweeps.sweep import acts

    folder = sweep(here, names=["a", "b"])
    freeze.write_frozen(folder.config(1), freeze.freeze(replace(tiny, root=str(here.folder)), LOCAL))
    asked = []
    monkeypatch.setattr(acts, "sort", lambda _, points, configs: asked.append((points, configs)) or Sorted(points, [], {}, []))
    done = acts.retry(here.folder)
    assert done.lines[1].startswith("  not submitted: point 0 a: The config ")
    assert not done.complete
    assert [point.number for point in asked[0][0]] == list(asked[0][1]) == [1]


def test_a_teacher_that_is_gone_does_not_keep_the_other_points_from_being_tried_again(tiny, here, monkeypatch):
    from sweeps.sweep import acts

    folder = sweep(here, names=["a", "b", "c"], runs=["", "", "c-s0"])
    for number in range(3):
        config = replace(tiny, root=str(here.folder), seed=number, shards=1 if number == 1 else 2)
        freeze.write_frozen(folder.config(number), freeze.freeze(config, LOCAL))
    run(here, "c-s0", "done")  # needs no teacher any more

    def find(config):
        if config.shards == 2:
            raise LcmError("/gone/teacher.safetensors does not exist.")

    chosen = []
    monkeypatch.setattr(known, "find", find)
    monkeypatch.setattr(acts, "site", lambda *_: None)
    monkeypatch.setattr(acts, "submit_points", lambda done, at, settings, numbers, needed: chosen.extend(numbers))
    done = acts.retry(here.folder)
    assert (chosen, done.complete) == ([1], False)
    assert done.lines[1] == "  not submitted: point 0 a: /gone/teacher.safetensors does not exist."
    assert "then retry" in done.lines[2]
    assert len(done.lines) == 3


def test_a_point_that_is_tried_again_is_one_point_though_its_folder_was_not_known_at_submit(here, monkeypatch):
    folder = sweep(here, names=["a"])
    run(here, "a-s0", "failed", error="boom", job="6")
    place(folder, 0, run="a-s0", job="6", error="boom", died=2)
    monkeypatch.setattr("slurm.submit.start", lambda at, submission, *_, **__: replace(submission, jobs=["7"] * len(submission.elements)))
    settings = LauncherConfig(cluster="2x48gb")
    submit_points(Launched(here, read_sweep(folder)), Site(settings.profile(), here.folder), settings, [0], {})
    tried = read_place(folder, 0)
    assert (tried.run, tried.error, tried.died) == ("a-s0", "", 0)
    assert [(point.sweep, point.run) for point in read(here.folder)] == [(FIRST, "a-s0")]


def test_jobs_do_not_run_other_code_where_their_snapshot_was_removed(tmp_path):
    from slurm.site import Site, exports
    from slurm.snapshot import Snapshot

    at = Site(LOCAL, tmp_path, Snapshot(tmp_path / "gone", "0" * 40))
    done = subprocess.run(["bash", "-c", "\n".join([*exports(at), "echo runs"])], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")

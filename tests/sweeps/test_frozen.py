import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest

from lcm.paths import Root, Run
from sweeps.claim import claimed
from sweeps.config import to_yaml
from sweeps.frozen import Attempt
from sweeps.stopping import Stopped, held_back
from sweeps.sweep.record import Sweep, SweepPoint, read_place, write_place, write_sweep

OUTSIDE = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM", "LCM_"))} | {"OMP_NUM_THREADS": "1"}


@pytest.fixture
def submitted(root, tmp_path, tiny):
    """Write a sweep of one point, as it is when it was submitted; returns its folder."""

    def submit(config=tiny, run=""):
        point = SweepPoint(7, "a", config.seed, "key", run=run)
        folder = write_sweep(Root(root), Sweep(tmp_path.name, "test", "", "", "", [], points=[point]))
        folder.config(7).parent.mkdir(exist_ok=True)
        folder.config(7).write_text(to_yaml(config))
        return folder

    return submit


def run_of(root, folder):
    return Run(root / "points" / read_place(folder, 7).run)


def start(folder, *options):
    command = [sys.executable, "-m", "sweeps.frozen", str(folder.folder), "7", *options]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=OUTSIDE)


def test_a_point_is_run_as_it_was_frozen_and_where_it_lies_is_written_down(submitted, root, capsys, monkeypatch):
    monkeypatch.setenv("LCM_JOB", "123_4")
    monkeypatch.setenv("LCM_NODE", "node1")
    folder = submitted()
    assert Attempt(folder.folder, 7).run("trained") == 0
    place, status = read_place(folder, 7), run_of(root, folder).read_status()
    assert (place.job, place.host, place.error, status["state"]) == ("123_4", "node1", "", "trained")
    assert "=== attempt: job 123_4 on node1, 20" in capsys.readouterr().out
    assert Attempt(folder.folder, 7).run("done") == 0
    assert run_of(root, folder).read_status()["state"] == "done"


def test_a_point_that_fails_before_it_has_a_run_folder_says_so_in_its_place(submitted, tiny, capsys):
    folder = submitted(replace(tiny, objective=replace(tiny.objective, teacher_forcing=True)))
    assert Attempt(folder.folder, 7).run("done") == 1
    assert read_place(folder, 7).error.startswith("LcmError: objective.teacher_forcing needs a cascade")
    said = capsys.readouterr().err
    assert said.startswith("LcmError: objective.teacher_forcing needs a cascade")
    assert "Traceback" not in said


def test_an_error_of_an_earlier_attempt_is_forgotten(submitted):
    folder = submitted()
    write_place(folder, 7, error="old")
    assert Attempt(folder.folder, 7).run("trained") == 0
    assert read_place(folder, 7).error == ""


def test_what_is_no_error_for_the_user_is_raised_with_its_traceback(submitted, monkeypatch):
    monkeypatch.setattr("sweeps.point.prepare", lambda _: 1 / 0)
    folder = submitted()
    with pytest.raises(ZeroDivisionError):
        Attempt(folder.folder, 7).run("done")
    assert read_place(folder, 7).error == "ZeroDivisionError: division by zero"


def test_an_error_of_a_point_that_has_a_run_folder_stands_in_its_status_too(submitted, root, tiny, monkeypatch):
    monkeypatch.setattr("sweeps.point.trained", lambda *_: 1 / 0)
    folder = submitted(replace(tiny, seed=71))
    with pytest.raises(ZeroDivisionError):
        Attempt(folder.folder, 7).run("done")
    assert "ZeroDivisionError" in read_place(folder, 7).error
    assert run_of(root, folder).read_status()["error"] == "ZeroDivisionError: division by zero"


def test_a_config_that_cannot_be_read_is_named(submitted):
    folder = submitted()
    folder.config(7).unlink()
    assert Attempt(folder.folder, 7).run("done") == 1
    assert str(folder.config(7)) in read_place(folder, 7).error


def test_a_point_that_another_process_has_is_no_failure(submitted, root, tiny, capsys):
    config = replace(tiny, seed=72)
    folder = submitted(config)
    Attempt(folder.folder, 7).run("trained")
    run = run_of(root, folder)
    run.write_status("running")
    with claimed(run, wait=False, beat_s=0.05):
        assert Attempt(folder.folder, 7).run("done") == 0
    assert "is in the hands of process" in capsys.readouterr().out
    assert run.read_status()["state"] == "running"


def test_a_point_that_has_become_another_since_it_was_submitted_is_refused(submitted):
    folder = submitted(run="0123456789ab-s0")
    assert Attempt(folder.folder, 7).run("done") == 1
    assert "submitted as 0123456789ab and is" in read_place(folder, 7).error


@pytest.fixture
def on_gpu(monkeypatch):
    """Let `auto` mean what it means on a GPU, or without one."""

    def here(gpu):
        found = "bf16-mixed" if gpu else "32-true"
        monkeypatch.setattr("sweeps.point.resolve_precision", lambda asked: found if asked == "auto" else asked)

    return here


def auto(tiny, seed):
    return replace(tiny, seed=seed, train=replace(tiny.train, precision="auto"))


def test_a_point_whose_precision_its_node_has_found_out_is_the_same_on_a_node_without_gpu(submitted, root, tiny, on_gpu):
    folder = submitted(auto(tiny, 75))
    on_gpu(True)
    assert Attempt(folder.folder, 7).run("trained") == 0
    trained = run_of(root, folder).model.stat().st_mtime_ns
    on_gpu(False)
    assert Attempt(folder.folder, 7).run("done") == 0
    (run,) = root.glob("points/*-s75")
    assert run_of(root, folder) == Run(run)
    assert (Run(run).read_status()["state"], Run(run).model.stat().st_mtime_ns) == ("done", trained)


def test_a_point_whose_precision_was_found_out_is_refused_once_it_has_become_another(submitted, root, tiny, on_gpu):
    on_gpu(True)
    folder = submitted(auto(tiny, 76))
    Attempt(folder.folder, 7).run("trained")
    folder.config(7).write_text(to_yaml(replace(auto(tiny, 76), train=replace(auto(tiny, 76).train, rate=1e-3))))
    assert Attempt(folder.folder, 7).run("done") == 1
    assert "was submitted as" in read_place(folder, 7).error
    assert len(list(root.glob("points/*-s76"))) == 1


def test_a_debug_run_leaves_the_points_place_alone(submitted, root, tiny):
    folder = submitted(replace(tiny, seed=73), run="0123456789ab-s73")
    assert Attempt(folder.folder, 7).run("done", debug=True) == 0
    assert read_place(folder, 7).run == ""
    assert list((root / "debug").glob("*-s73/records.parquet"))


def test_ctrl_c_has_the_exit_code_of_one(submitted, monkeypatch):
    monkeypatch.setattr("sweeps.point.prepare", lambda _: os.kill(os.getpid(), signal.SIGINT))
    assert Attempt(submitted().folder, 7).run("done") == 130


def test_a_request_while_preparing_is_no_error(submitted, monkeypatch):
    monkeypatch.setattr("sweeps.point.prepare", lambda _: os.kill(os.getpid(), signal.SIGTERM))
    folder = submitted()
    with pytest.raises(Stopped):
        Attempt(folder.folder, 7).run("done")
    assert read_place(folder, 7).error == ""


def test_a_process_that_is_asked_while_it_starts_ends_to_be_continued(submitted):
    with held_back():
        process = start(submitted())
    process.send_signal(signal.SIGUSR2)
    assert process.communicate(timeout=60)[1] == ""
    assert process.returncode == 75


@pytest.mark.slow
def test_a_process_that_is_asked_again_and_again_while_it_trains_goes_on_later(submitted, root, tiny):
    config = replace(tiny, seed=74, train=replace(tiny.train, steps=60, checkpoint_every=100, estimate=False))
    folder = submitted(config)
    process = start(folder, "--until", "trained")
    deadline = time.monotonic() + 120
    while not (read_place(folder, 7).run and run_of(root, folder).read_status().get("step")) and time.monotonic() < deadline:
        time.sleep(0.05)
    while process.poll() is None:
        process.send_signal(signal.SIGTERM)
        time.sleep(0.1)
    assert process.returncode == 75, process.communicate()
    status = run_of(root, folder).read_status()
    assert (status["state"], 0 < status["step"] < 60) == ("stopped", True)
    assert start(folder, "--until", "trained").wait(120) == 0
    assert run_of(root, folder).read_status()["first_step"] == status["step"]


@pytest.mark.slow
def test_the_process_of_a_point_that_fails_ends_with_one(submitted, tiny):
    process = start(submitted(replace(tiny, blocks=replace(tiny.blocks, partition=[3]))))
    _, said = process.communicate(timeout=120)
    assert (process.returncode, "Traceback" in said) == (1, False)
    assert said.splitlines()[-1].startswith("LcmError: blocks.partition=[3]")

"""`python -m sweeps`: words in, lines and an exit code out."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from toy_sweep import FIRST, ago, run, submitted, sweep

from lcm.errors import LcmError
from lcm.paths import Root
from sweeps.sweep import cli
from sweeps.sweep.cli import main

PROJECT = Path(__file__).parents[2]


@pytest.fixture
def root(tmp_path: Path) -> Root:
    return Root(tmp_path / "root with a space")


@pytest.fixture
def acts(monkeypatch: pytest.MonkeyPatch):
    """Stand-ins for what submits: they say what they were given."""
    module = type(sys)("acts")
    for name in ("cancel", "debug"):
        setattr(module, name, lambda *given, name=name: [f"{name} {given}"])
    module.retry = lambda *given: SimpleNamespace(lines=[f"retry {given}"], complete=True)
    monkeypatch.setitem(sys.modules, "sweeps.sweep.acts", module)
    monkeypatch.setattr("sweeps.sweep.acts", module, raising=False)


def command(*words: object, **options) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "sweeps", *map(str, words)], cwd=PROJECT, capture_output=True, text=True, check=False, **options
    )


def test_status_prints_the_points_and_exits_with_zero_where_nothing_failed(root: Root, capsys):
    sweep(root, runs=["a-s0"])
    run(root, "a-s0", "done")
    assert main(["status", str(root.folder)]) == 0
    out = capsys.readouterr().out
    assert "3 points: 1 done, 2 missing" in out
    assert "objective=ect" in out


@pytest.mark.parametrize("state", ["failed", "running"])
def test_a_failed_or_lost_point_exits_non_zero(root: Root, capsys, state: str):
    run(root, "a-s0", state, ago_s=9999)
    assert main(["status", str(root.folder)]) == 1


def test_failed_is_one_line_a_point(root: Root, capsys):
    folder = sweep(root, runs=["a-s0", "b-s0"])
    run(root, "a-s0", "failed", error="ValueError: boom", job="7_0")
    run(root, "b-s0", "done")
    assert main(["status", str(root.folder), "--failed"]) == 1
    assert capsys.readouterr().out == f"0000 objective=ect: ValueError: boom (job 7_0, log {folder.log(0)})\n"


def test_one_sweep_s_folder_shows_that_sweep(root: Root, capsys):
    folder = sweep(root)
    run(root, "z-s0", "failed")
    assert main(["status", str(folder.folder)]) == 0
    assert "z-s0" not in capsys.readouterr().out


def test_the_root_may_be_named_as_points_name_it(root: Root, capsys):
    run(root, "a-s0", "done")
    assert main(["status", f"root={root.folder}"]) == 0


def test_all_shows_every_point_however_many(root: Root, capsys):
    sweep(root, names=[f"train.rate={n}" for n in range(250)])
    assert main(["status", str(root.folder)]) == 0
    assert capsys.readouterr().out.count("train.rate") == 200
    assert main(["status", str(root.folder), "--all"]) == 0
    assert capsys.readouterr().out.count("train.rate") == 250


def test_a_queue_that_is_not_known_is_told_and_is_no_failure(root: Root, queue, capsys):
    sweep(root)
    submitted(root, [[0]], ["7_0"])
    queue(fails="Unable to contact slurm controller")
    assert main(["status", str(root.folder)]) == 0
    assert "what waits in the queue is not known" in capsys.readouterr().out


def test_watching_ends_when_nothing_runs_or_waits_any_more(root: Root, capsys, monkeypatch):
    monkeypatch.setattr(cli, "_WATCH_S", 0.05)
    run(root, "a-s0", "running", beat_s=1)

    def end():
        time.sleep(0.2)
        run(root, "a-s0", "failed", error="ValueError: boom")

    other = threading.Thread(target=end)
    other.start()
    assert main(["status", str(root.folder), "--watch"]) == 1
    other.join()
    assert "ValueError: boom" in capsys.readouterr().out


def test_watching_goes_on_while_a_trained_point_waits_for_its_evaluation(root: Root, queue, monkeypatch):
    sweep(root, names=["a"], runs=["a-s0"])
    run(root, "a-s0", "trained")
    submitted(root, [[0]], ["9"], stage="evaluate")
    queue("9 PENDING Priority -")
    waited = []

    def evaluate(_):
        waited.append(True)
        run(root, "a-s0", "done")
        queue()

    monkeypatch.setattr(cli, "time", SimpleNamespace(sleep=evaluate))  # of this module alone: waiting for squeue may sleep too
    assert main(["status", str(root.folder), "--watch"]) == 0
    assert waited == [True]


def test_watching_does_not_wait_for_an_evaluation_that_never_begins(root: Root, queue, monkeypatch):
    sweep(root, names=["a"], runs=["a-s0"])
    run(root, "a-s0", "trained")
    submitted(root, [[0]], ["9"], stage="evaluate")
    queue("9 PENDING DependencyNeverSatisfied -")
    monkeypatch.setattr(cli, "time", SimpleNamespace(sleep=lambda _: pytest.fail("it waits")))
    assert main(["status", str(root.folder), "--watch"]) == 0


def test_watching_on_a_terminal_draws_anew(root: Root, monkeypatch):
    monkeypatch.setattr(cli, "_WATCH_S", 0.05)
    monkeypatch.setenv("TERM", "xterm")
    run(root, "a-s0", "running", beat_s=1, steps=8, step=2)
    screen = io.StringIO()
    screen.isatty = lambda: True
    monkeypatch.setattr(sys, "stdout", screen)

    def end_once_drawn():
        deadline = time.monotonic() + 60
        while "2/8" not in screen.getvalue() and time.monotonic() < deadline:
            time.sleep(0.02)
        run(root, "a-s0", "done", steps=8, step=8)

    other = threading.Thread(target=end_once_drawn)
    other.start()
    assert main(["status", str(root.folder), "--watch"]) == 0
    other.join()
    assert "2/8" in screen.getvalue()
    assert screen.getvalue().rindex("8/8") > screen.getvalue().rindex("2/8")


def test_ctrl_c_ends_watching_quietly(root: Root, capsys, monkeypatch):
    def interrupt(_):
        raise KeyboardInterrupt

    run(root, "a-s0", "running", beat_s=1)
    monkeypatch.setattr(time, "sleep", interrupt)
    assert main(["status", str(root.folder), "--watch"]) == 130
    assert capsys.readouterr().err == ""


def test_logs_of_a_point_and_of_all(root: Root, capfd):
    folder = sweep(root, runs=["a-s0"])
    run(root, "a-s0", "failed", error="ValueError: boom")
    folder.log(0).parent.mkdir()
    folder.log(0).write_text("its words\n")
    assert main(["logs", str(root.folder), "0"]) == 0
    assert capfd.readouterr().out == "its words\n"
    assert main(["logs", str(root.folder)]) == 0
    assert capfd.readouterr().out.splitlines() == [f"== 0000 objective=ect: failed ({folder.log(0)})", "its words"]


def test_retry_cancel_and_debug_hand_on_their_words(root: Root, capsys, acts):
    folder = root.folder
    assert main(["retry", str(folder), "cluster=a100", "time=12:00:00"]) == 0
    assert main(["cancel", str(folder)]) == 0
    assert main(["debug", str(folder), "7"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"retry {(folder, ['cluster=a100', 'time=12:00:00'])}",
        f"cancel {(folder,)}",
        f"debug {(folder, '7')}",
    ]


def test_a_retry_that_leaves_points_out_says_so_by_its_exit_code(root: Root, capsys, acts):
    sys.modules["sweeps.sweep.acts"].retry = lambda *_: SimpleNamespace(lines=["not submitted: point 0"], complete=False)
    assert main(["retry", str(root.folder)]) == 1
    assert capsys.readouterr().out == "not submitted: point 0\n"


WRONG = [
    (["status"], "RUNS"),
    (["status", "RUNS", "7"], "status takes RUNS alone; given also: 7."),
    (["status", "RUNS", "--follow"], "--follow belongs to logs, not to status."),
    (["logs", "RUNS", "--failed"], "--failed belongs to status, not to logs."),
    (["logs", "RUNS", "--follow"], "Name the point to follow"),
    (["logs", "RUNS", "1", "2"], "logs takes RUNS and one POINT"),
    (["logs", "RUNS", "7"], "There is no point '7'. The points of "),
    (["debug", "RUNS"], "debug takes RUNS and one POINT"),
    (["cancel", "RUNS", "7"], "cancel takes RUNS alone"),
    (["retry", "RUNS", "7"], "not '7'"),
    (["status", "/nowhere"], "/nowhere holds no runs"),
    (["dance", "RUNS"], "invalid choice: 'dance'"),
]


@pytest.mark.parametrize(("words", "said"), WRONG, ids=[" ".join(words) for words, _ in WRONG])
def test_a_wrong_command_is_answered_in_a_line_and_with_two(root: Root, capsys, acts, words: list[str], said: str):
    sweep(root)
    try:
        code = main([word.replace("RUNS", str(root.folder)) for word in words])
    except SystemExit as error:
        code = error.code
    assert code == 2
    assert said in capsys.readouterr().err


def test_an_error_of_what_it_calls_is_said_without_a_traceback(root: Root, capsys, acts):
    def refuse(*_):
        raise LcmError("The cluster refuses.")

    sys.modules["sweeps.sweep.acts"].cancel = refuse
    assert main(["cancel", str(root.folder)]) == 2
    assert capsys.readouterr().err == "The cluster refuses.\n"


def test_the_command_runs_as_a_module(root: Root):
    run(root, "a-s0", "failed", error="ValueError: boom")
    done = command("status", root.folder)
    assert (done.returncode, done.stderr) == (1, "")
    assert "ValueError: boom" in done.stdout
    assert "python -m sweeps status runs/mine" in command("--help").stdout


def test_a_terminal_without_a_script_s_letters_shows_the_rest(root: Root):
    sweep(root, names=["音声 a"])
    done = command("status", root.folder, env={**os.environ, "PYTHONIOENCODING": "ascii"})
    assert (done.returncode, done.stderr) == (0, "")
    assert "?? a" in done.stdout


def test_a_reader_that_has_enough_is_no_error(root: Root):
    sweep(root, names=[f"train.rate={n}" for n in range(5000)])
    line = f"'{sys.executable}' -m sweeps status '{root.folder}' --all | head -1"
    done = subprocess.run(line, shell=True, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert done.stdout.startswith(FIRST)
    assert done.stderr == ""


def test_points_in_hand_are_said_to_be(root: Root, queue, capsys):
    sweep(root, runs=["a-s0"])
    submitted(root, [[0], [1, 2]], ["7_0", "7_1"])
    run(root, "a-s0", "running", ago_s=0, beat_s=1, job="7_0", host="node1", step=4, steps=8, started=ago(40), first_step=0)
    queue("7_0 RUNNING None node1", "7_1 PENDING Resources -")
    assert main(["status", str(root.folder)]) == 0
    out = capsys.readouterr().out
    assert "jobs: 1 run, 1 wait (Resources 1)" in out
    assert "until what runs and waits is trained, 1 at once" in out

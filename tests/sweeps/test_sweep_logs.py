"""What points have printed."""

from __future__ import annotations

import io
import sys
import threading
import time
from pathlib import Path

import pytest
from toy_sweep import SECOND, job_log, place, run, squeue, submitted, sweep

from lcm.errors import LcmError
from lcm.paths import Root, SweepFolder
from sweeps.sweep import logs
from sweeps.sweep.logs import last_lines, show, tail


@pytest.fixture
def root(tmp_path: Path) -> Root:
    return Root(tmp_path / "root with a space")


@pytest.fixture
def queue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    return lambda *jobs: squeue(tmp_path, monkeypatch, *jobs)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(logs, "_GROWS_EVERY_S", 0.02)
    monkeypatch.setattr(logs, "_LOOK_EVERY_S", 0.1)


def write(folder: SweepFolder, number: int, text: str) -> None:
    folder.log(number).parent.mkdir(exist_ok=True)
    with folder.log(number).open("ab") as file:
        file.write(text.encode())


def test_a_point_s_log_is_printed_as_it_is(root: Root, capfdbinary):
    folder = sweep(root, runs=["a-s0"])
    run(root, "a-s0", "done")
    write(folder, 0, "erster Versuch: 音声\r100 %\nzweiter\n")
    show(root.folder, "0")
    assert capfdbinary.readouterr().out.decode() == "erster Versuch: 音声\r100 %\nzweiter\n"


def test_a_log_that_is_no_text_is_printed_too(root: Root, capfdbinary):
    folder = sweep(root)
    write(folder, 0, "")
    folder.log(0).write_bytes(b"\xff\xfe\n")
    show(root.folder, "0")
    assert capfdbinary.readouterr().out == b"\xff\xfe\n"


def test_in_a_notebook_a_log_is_text(root: Root, monkeypatch):
    write(sweep(root), 0, "Größe\n")
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    show(root.folder, "0")
    assert sys.stdout.getvalue() == "Größe\n"


def test_the_latest_sweep_that_has_the_number_is_meant(root: Root, capfdbinary):
    write(sweep(root), 1, "first\n")
    write(sweep(root, names=["a", "b"], name=SECOND), 1, "second\n")
    show(root.folder, "1")
    assert capfdbinary.readouterr().out == b"second\n"


def test_a_point_that_does_not_exist_is_refused(root: Root):
    sweep(root)
    with pytest.raises(LcmError, match=r"no point '7'.*0 to 2"):
        show(root.folder, "7")


def test_a_queued_point_without_log_says_in_which_job_it_waits(root: Root, queue, capsys):
    sweep(root)
    submitted(root, [[0], [1]], ["7_0", "7_1"])
    queue("7_0 PENDING Priority -", "7_1 RUNNING None node1")
    show(root.folder, "0")
    show(root.folder, "1")
    assert capsys.readouterr().err.splitlines() == [
        "Point 0000 objective=ect has printed nothing yet: job 7_0 waits (Priority).",
        "Point 0001 objective=ct has printed nothing yet: job 7_1 has not come to it.",
    ]


def test_a_point_whose_job_could_not_begin_shows_its_job_s_log(root: Root, queue, capfd):
    sweep(root)
    job_log(root, submitted(root, [[0]], ["7_0"]), "7_0", "Traceback:\nModuleNotFoundError: No module named 'lcm'\n")
    queue()
    show(root.folder, "0")
    assert "ModuleNotFoundError: No module named 'lcm'" in capfd.readouterr().out


def test_a_point_in_no_job_says_how_to_submit_it(root: Root, capsys):
    sweep(root)
    show(root.folder, "0")
    assert f"no job has it. `python -m sweeps retry {root.folder}` submits it." in capsys.readouterr().err


def test_a_point_that_failed_before_it_printed_says_why(root: Root, capsys):
    place(sweep(root), 0, error="not begun, as what it needs was not prepared")
    show(root.folder, "0")
    assert "It is failed: not begun, as what it needs was not prepared." in capsys.readouterr().err


def test_a_run_of_no_sweep_has_no_log(root: Root, capsys):
    run(root, "abc-s0", "done")
    show(root.folder, "abc")
    assert f"no sweep started it, and its output went to whoever did. Its folder: {root.points / 'abc-s0'}." in capsys.readouterr().err


def test_following_prints_what_is_added_until_the_point_runs_no_more(root: Root, capfd, quick):
    folder = sweep(root, runs=["a-s0"])
    run(root, "a-s0", "running", beat_s=1)
    write(folder, 0, "one\n")

    def go_on():
        time.sleep(0.3)
        write(folder, 0, "two\n")
        time.sleep(0.2)
        write(folder, 0, "three\n")
        run(root, "a-s0", "failed", error="ValueError: boom")

    other = threading.Thread(target=go_on)
    other.start()
    show(root.folder, "0", follow=True)
    other.join()
    said = capfd.readouterr()
    assert said.out == "one\ntwo\nthree\n"
    assert said.err == "point 0000 objective=ect is failed: ValueError: boom\n"


def test_following_waits_for_a_queued_point_to_begin(root: Root, queue, capfd, quick):
    folder = sweep(root, runs=["a-s0"])
    submitted(root, [[0]], ["7_0"])
    queue("7_0 PENDING Priority -")

    def begin():
        time.sleep(0.3)
        write(folder, 0, "begun\n")
        run(root, "a-s0", "done")

    other = threading.Thread(target=begin)
    other.start()
    show(root.folder, "0", follow=True)
    other.join()
    assert capfd.readouterr().out == "begun\n"


def test_following_goes_on_while_a_trained_point_waits_for_its_evaluation(root: Root, queue, capfd, quick, monkeypatch):
    folder = sweep(root, runs=["a-s0"])
    run(root, "a-s0", "trained")
    submitted(root, [[0]], ["9"], stage="evaluate")
    queue("9 PENDING Priority -")
    look, looks = logs.look, []

    def evaluated(where):
        looks.append(where)
        if len(looks) == 2:
            write(folder, 0, "evaluated\n")
            run(root, "a-s0", "done")
        return look(where)

    monkeypatch.setattr(logs, "look", evaluated)
    show(root.folder, "0", follow=True)
    assert capfd.readouterr().out == "evaluated\n"


def test_following_a_point_that_is_done_ends_at_once(root: Root, capfd):
    write(sweep(root, runs=["a-s0"]), 0, "all\n")
    run(root, "a-s0", "done")
    show(root.folder, "0", follow=True)
    assert capfd.readouterr() == ("all\n", "point 0000 objective=ect is done\n")


def test_without_a_point_the_last_lines_of_what_failed_and_runs_are_shown(root: Root):
    folder = sweep(root, runs=["a-s0", "b-s0", "c-s0"])
    run(root, "a-s0", "running", beat_s=1, job="7_0", host="node1")
    run(root, "b-s0", "failed", error="ValueError: boom")
    run(root, "c-s0", "done")
    write(folder, 0, "".join(f"step {n}\n" for n in range(9)))
    write(folder, 2, "all is well\n")
    assert list(last_lines(root.folder, lines=2)) == [
        f"== 0001 objective=ct: failed ({folder.log(1)})",
        f"Point 0001 objective=ct has printed nothing to {folder.log(1)}. It is failed: ValueError: boom.",
        f"== 0000 objective=ect: running, job 7_0 on node1 ({folder.log(0)})",
        "step 7",
        "step 8",
    ]


def test_of_many_points_some_are_shown_and_the_others_counted(root: Root):
    for n in range(5):
        run(root, f"a{n}-s0", "failed")
    lines = list(last_lines(root.folder, most=3))
    assert sum(line.startswith("==") for line in lines) == 3
    assert lines[-1] == "... and 2 more points that run, failed or are lost: name one"


def test_where_nothing_runs_or_failed_that_is_said(root: Root):
    run(root, "a-s0", "done")
    assert list(last_lines(root.folder)) == ["No point runs, failed or is lost; name one to see its log."]


def test_of_a_progress_bar_the_last_state_is_shown(tmp_path: Path):
    path = tmp_path / "log"
    path.write_bytes(b"begun\n 10 %\r 50 %\r100 %\n\n\x1b[2Jdone\r\n")
    assert tail(path, 2) == ["100 %", " [2Jdone"]
    assert tail(tmp_path / "none", 2) == []

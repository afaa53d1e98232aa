"""The points of a root or a sweep: which there are, which is meant, and how fast that is."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from toy_sweep import FIRST, SECOND, claim, place, run, submitted, sweep

from lcm.errors import LcmError
from lcm.paths import Root
from sweeps.sweep.state import STATES, Membership, PointState
from sweeps.sweep.status import find, read
from sweeps.sweep.table import frame

PROJECT = Path(__file__).parents[2]


@pytest.fixture
def root(tmp_path: Path) -> Root:
    return Root(tmp_path / "root with a space")


def test_a_run_of_several_sweeps_is_one_point_with_the_latest_number(root: Root):
    sweep(root, runs=["a-s0", "b-s0", "c-s0"])
    sweep(root, names=["objective=cd"], name=SECOND, runs=["c-s0"])
    run(root, "c-s0", "done")
    assert [(point.sweep, point.number) for point in read(root.folder)] == [(FIRST, 0), (FIRST, 1), (SECOND, 0)]


def test_a_run_folder_that_its_job_has_told_joins_points(root: Root):
    first, second = sweep(root, names=["a"], keys=["k"]), sweep(root, names=["a"], name=SECOND, keys=["other settings of this site"])
    place(first, 0, run="c-s0")
    place(second, 0, run="c-s0")
    run(root, "c-s0", "running")
    assert [(point.sweep, point.state) for point in read(root.folder)] == [(SECOND, "running")]


def test_points_with_one_frozen_config_are_one_before_their_run_folder_is_known(root: Root):
    first = sweep(root, names=["a"], keys=["k"])
    sweep(root, names=["a"], name=SECOND, keys=["k"])
    assert len(read(root.folder)) == 1
    place(first, 0, run="c-s0")
    run(root, "c-s0", "running")
    assert [(point.sweep, point.state) for point in read(root.folder)] == [(SECOND, "running")]
    run(root, "c-s0", "done")  # what is done may have been made of other data
    assert [(point.sweep, point.state) for point in read(root.folder)] == [(FIRST, "done"), (SECOND, "missing")]


def test_one_sweep_shows_its_points_alone_and_what_other_sweeps_jobs_do_for_them(root: Root, queue):
    sweep(root, runs=["a-s0", "b-s0", "c-s0"])
    second = sweep(root, names=["objective=cd"], name=SECOND, runs=["c-s0"])
    run(root, "z-s0", "done")
    submitted(root, [[2]], ["7_0"], name=FIRST)
    queue("7_0 PENDING Priority -")
    (point,) = read(second.folder)
    assert (point.sweep, point.number, point.state, point.job) == (SECOND, 0, "queued", "7_0")


def test_the_log_is_the_one_of_the_sweep_whose_job_had_the_point(root: Root, queue):
    first = sweep(root, runs=["a-s0"])
    sweep(root, names=["objective=ect"], name=SECOND, runs=["a-s0"])
    submitted(root, [[0]], ["7_0"], name=FIRST)
    run(root, "a-s0", "done", job="7_0")
    queue()
    assert next(point for point in read(root.folder) if point.run == "a-s0").log == first.log(0)


def test_runs_of_no_sweep_appear_too(root: Root):
    sweep(root, names=["a"])
    run(root, "z-s7", "done")
    alone, other = read(root.folder)
    assert (alone.sweep, alone.number, alone.seed, alone.run, alone.name, alone.log) == ("", None, 7, "z-s7", "", None)
    assert other.sweep == FIRST


def test_a_damaged_sweep_does_not_hide_another(root: Root):
    damaged, whole = sweep(root), sweep(root, name=SECOND)
    damaged.record.write_text("{")
    assert len(read(whole.folder)) == 3
    with pytest.raises(LcmError, match=FIRST):
        read(root.folder)


def test_a_root_without_points_has_none(root: Root):
    root.points.mkdir(parents=True)
    assert read(root.folder) == []


def test_a_folder_without_runs_is_refused(tmp_path: Path):
    with pytest.raises(LcmError, match=r"holds no runs.*root="):
        read(tmp_path)


def test_names_in_any_script_are_kept(root: Root):
    sweep(root, names=["corpus.root=/daten/Größe/音声"], runs=["a-s0"])
    run(root, "a-s0", "failed", error="ValueError: 音声 fehlt")
    (point,) = read(root.folder)
    assert (point.name, point.error) == ("corpus.root=/daten/Größe/音声", "ValueError: 音声 fehlt")


POINTS = [
    PointState(sweep=FIRST, number=0, run="abc1-s0", memberships=(Membership(FIRST, 0),)),
    PointState(sweep=SECOND, number=0, run="abc2-s0", memberships=(Membership(FIRST, 1), Membership(SECOND, 0))),
    PointState(run="77aa-s0"),
]


@pytest.mark.parametrize(
    ("word", "run_folder"), [("0", "abc2-s0"), ("0001", "abc2-s0"), ("abc1", "abc1-s0"), ("abc2-s0", "abc2-s0"), ("77", "77aa-s0")]
)
def test_a_point_is_found_by_number_or_run_folder(word: str, run_folder: str):
    assert find(POINTS, word).run == run_folder


def test_a_number_that_no_sweep_has_is_answered_with_those_that_there_are():
    with pytest.raises(LcmError, match=rf"no point '9'\. The points of {FIRST} are 0 to 1\. The points of {SECOND} are 0 to 0\."):
        find(POINTS, "9")


def test_a_name_that_is_nearly_right_is_answered_with_the_nearest():
    with pytest.raises(LcmError, match=r"no point 'acb1-s0'.*Did you mean 'abc1-s0'\?"):
        find(POINTS, "acb1-s0")


def test_a_beginning_that_several_have_is_refused():
    with pytest.raises(LcmError, match=r"2 run folders begin with 'abc', such as abc1-s0 and abc2-s0"):
        find(POINTS, "abc")


def test_where_there_are_no_points_that_is_said():
    with pytest.raises(LcmError, match="There are no points here yet"):
        find([], "1")


def test_a_frame_has_a_row_a_point_and_a_column_a_metric(root: Root):
    sweep(root, runs=["a-s0"])
    run(root, "a-s0", "done", headline={"lsd_hf": 1.5})
    table = frame(root.folder)
    assert list(table.state) == ["done", "missing", "missing"]
    assert table.lsd_hf[0] == 1.5
    assert set(table.state) <= set(STATES)


def test_a_frame_without_points_has_its_columns(root: Root):
    root.points.mkdir(parents=True)
    assert list(frame(root.folder)[["sweep", "number", "state"]].columns) == ["sweep", "number", "state"]


def test_looking_loads_nothing_that_is_slow():
    slow = "{'torch', 'pandas', 'pyarrow'}"
    code = f"import sys, sweeps.sweep.cli, sweeps.sweep.table, sweeps.sweep.logs; print(sorted({slow} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


COUNTED = """
import collections, json, sys
opened = collections.Counter()
sys.addaudithook(lambda event, args: opened.update([str(args[0])]) if event == "open" else None)
from sweeps.sweep.cli import main
try:
    main(["status", sys.argv[1], "--all"])
except SystemExit as end:
    assert not end.code
print(json.dumps({name: count for name, count in opened.items() if name.startswith(sys.argv[1])}), file=sys.stderr)
"""


@pytest.mark.slow
def test_five_thousand_points_are_shown_with_few_files_read_a_point(root: Root, queue):
    names = [f"{n:012x}-s0" for n in range(5000)]
    sweep(root, names=[f"train.rate={n}" for n in range(5000)], runs=names)
    submitted(root, [[n] for n in range(5000)], [f"7_{n}" for n in range(5000)])
    queue(*(f"7_{n} RUNNING None node1" for n in range(0, 5000, 2)))
    for n, name in enumerate(names):
        state = "running" if n % 2 == 0 else "done"
        job = {"job": f"7_{n}", "host": "node1"}
        there = run(root, name, state, beat_s=2, step=100, steps=800, train_seconds=60.0, loss=0.5, headline={"lsd_hf": 1.5}, **job)
        claim(there, 2, beat_s=2)
    done = subprocess.run([sys.executable, "-c", COUNTED, root.folder], cwd=PROJECT, capture_output=True, text=True, check=True)
    assert done.stdout.count(" running ") == 2500
    opened = json.loads(done.stderr)
    assert all(opened[str(root.folder / "points" / name / "status.json")] == 1 for name in names)
    assert sum(opened.values()) < 4 * len(names)
    assert max(opened.values()) < 5

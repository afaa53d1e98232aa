"""Points as rows, for a terminal and for a pipe."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console
from toy_sweep import FIRST, SECOND, ago, run, sweep

from lcm.paths import Root
from sweeps.sweep.state import PointState
from sweeps.sweep.status import look
from sweeps.sweep.table import as_lines, as_renderable, chosen, counted, wrong_lines


@pytest.fixture
def root(tmp_path: Path) -> Root:
    return Root(tmp_path / "root with a space")


def plain(root: Root, **options) -> list[str]:
    return list(as_lines(look(root.folder), **options))


def drawn(root: Root, width: int = 80) -> str:
    console = Console(width=width, file=io.StringIO(), highlight=False)
    console.print(as_renderable(look(root.folder), width=width))
    return console.file.getvalue()


def test_a_row_has_what_a_person_looks_for(root: Root):
    sweep(root, runs=["a-s0", "b-s0"])
    run(root, "a-s0", "done", step=8, steps=8, loss=0.51234, headline={"lsd_hf": 1.493, "si_sdr": 20.6})
    run(root, "b-s0", "running", step=2, steps=8, started=ago(100), first_step=0, job="7_1", host="node1", ago_s=0)
    title, heading, *rows = plain(root)[:5]
    assert title == f"{FIRST} ablation=objective: 3 points: 1 done, 1 running, 1 missing"
    assert heading.split() == ["point", "name", "state", "step", "loss", "lsd-hf", "si-sdr", "left", "updated", "job"]
    assert rows[0].split() == ["0000", "objective=ect", "done", "8/8", "0.5123", "1.49", "20.60"]
    assert rows[1].split()[:6] == ["0001", "objective=ct", "running", "2/8", "5", "min"]
    assert rows[1].endswith("s ago  7_1 node1")
    assert rows[2].split() == ["0002", "objective=cd", "missing"]


def test_columns_that_are_empty_everywhere_are_left_out(root: Root):
    sweep(root, names=["objective=ect seed=0"])
    assert plain(root)[1].split() == ["point", "name", "state"]


def test_seeds_are_shown_where_they_differ_and_the_name_does_not_say(root: Root):
    for seed in (3, 4):
        run(root, f"abc-s{seed}", "done", name="objective=ct")
    assert [line.split() for line in plain(root)[1:4]] == [
        ["name", "seed", "state"],
        ["objective=ct", "3", "done"],
        ["objective=ct", "4", "done"],
    ]


def test_each_sweep_has_its_rows_under_its_title(root: Root):
    sweep(root, names=["a"])
    sweep(root, names=["b", "c"], name=SECOND)
    run(root, "z-s7", "done")
    titles = [line for line in plain(root) if " point: " in line or " points: " in line]
    assert titles == [
        "in no sweep: 1 point: 1 done",
        f"{FIRST} ablation=objective: 1 point: 1 missing",
        f"{SECOND} ablation=objective: 2 points: 2 missing",
    ]


def test_a_run_without_name_is_called_by_its_folder(root: Root):
    run(root, "abc-s7", "done")
    assert plain(root)[2].split() == ["abc-s7", "done"]


def test_columns_stand_under_each_other_in_any_script(root: Root):
    sweep(root, names=["音声", "Größe", "a"])
    rows = plain(root)[2:5]
    assert [row.split()[1] for row in rows] == ["音声", "Größe", "a"]
    wide, narrow, other = (row.index("missing") for row in rows)
    assert narrow == other == wide + 2  # each of the two letters takes two columns


def test_names_that_look_like_markup_are_kept_on_a_terminal(root: Root):
    sweep(root, names=["losses=[red] x=[/]"])
    assert "losses=[red] x=[/]" in drawn(root)


def test_a_long_name_is_folded_on_a_terminal_and_kept_in_one_line_for_a_pipe(root: Root):
    name = " ".join(f"losses.term{n}=0.125" for n in range(8))
    sweep(root, names=[name])
    assert all(len(line) <= 80 for line in drawn(root).splitlines())
    assert name in plain(root)[2]


def test_a_narrow_terminal_leaves_names_their_room(root: Root):
    name = "blocks.partition=[1,1,2,4] objective.stages=2"
    sweep(root, names=[name], runs=["a-s0"])
    values = {"step": 2, "steps": 8000, "loss": 0.25, "headline": {"lsd_hf": 1.5, "si_sdr": 20.5}}
    run(root, "a-s0", "running", ago_s=0, started=ago(9), first_step=0, job="1234567_890", host="node-with-a-name-17", **values)
    assert "blocks.partition=[1,1,2,4]" in drawn(root)
    assert "1234567_890" not in drawn(root)
    assert all(len(line) <= 80 for line in drawn(root).splitlines())
    assert f"{name} running 2/8000" in " ".join(drawn(root, width=160).split())
    assert "1234567_890 node-with-a-name-17" in drawn(root, width=160)


def test_control_characters_reach_no_terminal(root: Root):
    run(root, "a-s0", "failed", name="a\x1b[2Jb\nc", error="ValueError: \x1b[31mred")
    for text in ["\n".join(plain(root)), drawn(root)]:
        assert "\x1b" not in text
        assert "a [2Jb c" in text


def test_what_is_wrong_stands_beneath_the_rows(root: Root):
    run(root, "a-s0", "failed", error="ValueError: boom", job="7_0")
    assert f"a-s0: ValueError: boom (job 7_0, run {'a-s0'})" in plain(root)


def test_of_many_that_failed_some_are_named_and_the_others_counted(root: Root):
    for n in range(8):
        run(root, f"a{n}-s0", "failed", error="ValueError: boom")
    lines = plain(root)
    assert sum("ValueError" in line for line in lines) == 5
    assert "... and 3 more that failed or are lost: --failed" in lines


def test_of_many_points_those_are_shown_that_are_not_done(root: Root):
    sweep(root, names=[f"train.rate={n}" for n in range(12)], runs=[f"{n:02d}-s0" for n in range(6)])
    for n in range(6):
        run(root, f"{n:02d}-s0", "failed" if n == 5 else "done")
    lines = plain(root, most=4)
    assert [line.split()[0] for line in lines[2:6]] == ["0005", "0006", "0007", "0008"]
    assert "not shown: 3 that are not done and 5 done; --all shows every point" in lines
    assert sum("train.rate" in line for line in plain(root, most=4, every=True)) == 12 + 1  # one is named again beneath


def test_what_needs_a_person_is_shown_before_what_waits():
    points = [PointState(number=n, state=state) for n, state in enumerate(["queued"] * 3 + ["running", "failed", "done", "lost"])]
    assert [point.state for point in chosen(points, 3)] == ["running", "failed", "lost"]
    assert [point.state for point in chosen(points, 4)] == ["queued", "running", "failed", "lost"]
    assert chosen(points, 7) == points


def test_points_are_counted_by_state():
    assert (
        counted([PointState(state=state) for state in ("failed", "done", "done", "dreaming")]) == "4 points: 2 done, 1 failed, 1 dreaming"
    )
    assert counted([]) == "0 points: none yet"


def test_what_failed_is_a_line_each_with_job_and_log():
    failed = PointState(number=7, name="objective=ct", state="failed", error="ValueError: boom", job="7_0", log=Path("/r/0007.log"))
    lost = PointState(run="a-s0", state="lost", error="no word for 7 min from node1")
    assert list(wrong_lines([failed, lost, PointState(state="done")])) == [
        "0007 objective=ct: ValueError: boom (job 7_0, log /r/0007.log)",
        "a-s0: no word for 7 min from node1 (run a-s0)",
    ]


def test_a_root_without_points_says_so(root: Root):
    root.points.mkdir(parents=True)
    assert plain(root) == ["0 points: none yet"]
    assert drawn(root).strip() == "0 points: none yet"

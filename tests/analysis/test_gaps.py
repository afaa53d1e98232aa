"""A point that lacks the hard clips is no better for it."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from synthetic_tree import Tree, config

from analysis import load, summary
from analysis.choose import best_point, choose_student
from analysis.figures import draw
from analysis.page_tables import points_table, results_table
from analysis.points import headline_points
from analysis.tables import results, wide

HARD = [f"spk{s}" for s in range(4)]
"""Speakers whose clips are 3 worse."""


def point(tree, name, weight, level, lacks=(), seeds=(0, 1, 2), steps=(1,), gain=0.0):
    """Write a point whose LSD-HF is known to all digits; `lacks` holds the seeds without the hard clips."""
    for seed in seeds:
        rows = [r for n in steps for r in tree.rows(name, seed, "student", n, {"lsd_hf": level - gain * (n > 1)}, run_noise=0, noise=0)]
        rows = [[*r[:8], r[8] + 3 * (r[4] in HARD), *r[9:]] for r in rows if not (seed in lacks and r[4] in HARD)]
        tree.run(f"points/{name}-s{seed}", rows, config(mr_stft=weight))


@pytest.fixture
def gap(tree):
    """A good point with all clips, and one that is 0.3 worse and lacks the hard ones."""
    tree.speakers = 8
    point(tree, "good", 0.1, 1.0)
    point(tree, "lacking", 0.5, 1.3, lacks=(0, 1, 2))
    return load(tree.root)


def test_the_best_point_is_that_on_the_clips_in_common(gap):
    assert best_point(gap.table) == "good"
    assert choose_student(gap.table).signature == "good"


def test_levels_of_an_axis_are_compared_on_the_clips_in_common_and_the_footnote_counts_the_others(gap):
    drawn = draw(gap, "metric_by_loss_weight")
    assert list(drawn.data.columns[:3]) == ["config.losses.mr_stft", "metric", "mean"]
    assert set(drawn.data.columns).isdisjoint({"key_0", "level"})
    good, lacking = drawn.data["mean"]
    assert lacking - good == pytest.approx(0.3)
    assert "Clips left out that some run lacks: 16." in drawn.figure._supxlabel.get_text()


def test_a_point_with_fewer_clips_than_usual_says_so_and_stands_last(gap):
    points = headline_points(gap.table)
    assert points["lsd_hf"].iloc[1] < points["lsd_hf"].iloc[0]
    assert points[["signature", "clips", "usual_clips"]].to_numpy().tolist() == [["good", 32, 32], ["lacking", 16, 32]]
    assert [row["name"] for row in points_table(gap.table)["rows"]] == ["ect", "ect mr_stft 0.5 (16 of 32 clips)"]


def test_a_seed_without_the_hard_clips_is_counted_where_the_others_have_them(tree):
    point(tree, "a", 0.1, 1.0, lacks=(0,))
    found = summary(load(tree.root).table)
    assert found[["utterances", "fewest"]].to_numpy().tolist() == [[24, 8], [24, 8]]


def test_a_system_with_fewer_clips_than_usual_says_so_and_is_not_called_the_best(tree):
    tree.speakers = 8
    point(tree, "a", 0.1, 1.0, lacks=(0, 1, 2))
    rows = list(tree.rows("r", 0, "regression", 1, {"lsd_hf": 0.9}, run_noise=0, noise=0))
    tree.run("points/r-s0", [[*r[:8], r[8] + 3 * (r[4] in HARD), *r[9:]] for r in rows], config("regression"))
    tree.run("baselines", tree.rows("b", 0, "codec_ceiling", 0, {"lsd_hf": 0.8}), config())
    loaded = load(tree.root)
    names = wide(results(loaded.table))["system"].unique().tolist()
    assert names == ["student, 1 step (16 of 32 clips)", "regression, 1 step", "codec ceiling"]
    assert [row["reference"] for row in results_table(results(loaded.table))["rows"]] == [False] * 4 + [True] * 2
    drawn = draw(loaded, "results_table")
    assert drawn.data.set_index("system")["best"].to_dict() == {"student": False, "regression": True, "codec_ceiling": False}
    assert "*: over fewer clips than" in drawn.figure._supxlabel.get_text()


def test_where_every_trained_system_lacks_clips_none_is_the_best(tree):
    tree.run("baselines", tree.rows("b", 0, "codec_ceiling", 0, {"lsd_hf": 0.8}), config())
    point(tree, "a", 0.1, 1.0, lacks=(0, 1, 2))
    assert not draw(load(tree.root), "results_table").data["best"].any()


def test_points_without_a_clip_in_common_have_no_best_and_no_figure(tree):
    for name, weight, own in (("a", 0.1, ("spk0", "spk1")), ("b", 0.5, ("spk2", "spk3"))):
        rows = [r for r in tree.rows(name, 0, "student", 1, {"lsd_hf": 1.0}) if r[4] in own]
        tree.run(f"points/{name}-s0", rows, config(mr_stft=weight))
    loaded = load(tree.root)
    chosen = choose_student(loaded.table)
    assert (chosen.signature, chosen.on_test) == ("a", False)
    assert chosen.reason == "the first of 2 points: no clip has LSD-HF in all of them"
    assert draw(loaded, "metric_by_loss_weight").reason.startswith("no clip has LSD-HF in all runs of the points along")


def test_a_point_that_has_no_value_takes_nothing_from_the_others(gap):
    table = gap.table
    broken = table[table["signature"] == "good"].assign(signature="broken", value=np.nan)
    assert best_point(pd.concat([table, broken], ignore_index=True)) == "good"


def test_steps_are_compared_by_the_runs_that_have_all_of_them_and_the_others_are_counted(tree):
    point(tree, "bad", 0.1, 2.0, steps=(1,))
    point(tree, "good", 0.5, 1.0, steps=(1, 2, 4), gain=0.1)
    drawn = draw(load(tree.root), "metric_by_steps")
    one, two, four = drawn.data["mean"]
    assert (one - two, one - four) == pytest.approx((0.1, 0.1))
    assert drawn.data["runs"].tolist() == [3, 3, 3]
    assert "Runs left out that lack some of a line's step counts: 3." in drawn.figure._supxlabel.get_text()


def test_without_a_run_at_two_step_counts_there_is_no_figure_of_steps(tree):
    point(tree, "a", 0.1, 2.0, steps=(1,))
    point(tree, "b", 0.5, 1.0, steps=(2,))
    assert draw(load(tree.root), "metric_by_steps").reason.startswith("no run has two step counts")


def test_step_counts_that_most_runs_have_are_missing_from_another(tmp_path):
    tree = Tree(tmp_path / "runs")
    point(tree, "a", 0.1, 1.0, steps=(1,), seeds=(0,))
    for name, weight in (("b", 0.5), ("c", 1.0)):
        point(tree, name, weight, 1.0, steps=(1, 2, 4), seeds=(0,))
    missing = load(tree.root).missing
    assert missing[["kind", "run", "what"]].to_numpy().tolist() == [
        ["step count", "points/a-s0", "student was not scored at 2, 4 steps, as most runs were"],
    ]

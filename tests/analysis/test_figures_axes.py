from __future__ import annotations

import pandas as pd
import pytest
from synthetic_tree import config

from analysis import load
from analysis.figures import draw
from analysis.figures.along import along, level_text


def point(tree, name, lsd_hf, objective="ect", target="hr", steps=18, seeds=(0,), sampling=(1,), **parameters):
    settings = config(objective, **parameters) | {"data": {"target": target}, "teacher": {"steps": steps}}
    for seed in seeds:
        rows = [r for n in sampling for r in tree.rows(name, seed, "student", n, {"lsd_hf": lsd_hf}, run_noise=0, noise=0)]
        tree.run(f"points/{name}-s{seed}", rows, settings)


def effects(drawn, column):
    """Return each level's mean LSD-HF above the first one's: speakers and clips are common to all points."""
    level = drawn.data[drawn.data["metric"] == "lsd_hf"].set_index(column)["mean"]
    return {key: round(float(value - level.iloc[0]), 6) for key, value in level.items()}


def test_the_discretisation_shown_is_that_of_the_objective_that_varies_it(tree):
    for stages, lsd_hf in ((1, 1.0), (2, 1.1), (8, 1.3)):
        point(tree, f"ect{stages}", lsd_hf, stages=stages, n=18)
    point(tree, "cd", 9.0, "cd", stages=2, n=36)
    drawn = draw(load(tree.root), "metric_by_discretisation")
    assert effects(drawn, "config.objective.stages") == {1: 0, 2: 0.1, 8: 0.3}
    assert drawn.figure.axes[0].get_xlabel() == "Curriculum stages (ect)"


def test_levels_of_the_grid_are_the_discretisation_of_distillation(tree):
    for n, lsd_hf in ((9, 1.0), (18, 0.9), (4, 1.2)):
        point(tree, f"cd{n}", lsd_hf, "cd", n=n)
    drawn = draw(load(tree.root), "metric_by_discretisation")
    ticks = [t.get_text() for t in drawn.figure.axes[0].get_xticklabels()]
    assert (drawn.figure.axes[0].get_xlabel(), ticks) == ("Levels of the grid, N (cd)", ["4", "9", "18"])
    assert "nothing else varies" in drawn.figure._supxlabel.get_text()


def test_objectives_that_differ_in_their_grids_alone_have_no_discretisation_to_show(tree):
    point(tree, "cd", 1.0, "cd", n=18)
    point(tree, "rose", 1.1, "rose", n=30)
    assert "step_counts_cd" in draw(load(tree.root), "metric_by_discretisation").reason


def test_teachers_steps_stand_beside_a_mix_and_the_original_in_this_order(tree):
    point(tree, "hr", 1.0)
    for steps, lsd_hf in ((18, 1.1), (2, 1.5), (8, 1.2)):
        point(tree, f"t{steps}", lsd_hf, target="teacher", steps=steps)
    point(tree, "mix", 1.05, target="mix")
    drawn = draw(load(tree.root), "metric_by_teacher_steps")
    assert [t.get_text() for t in drawn.figure.axes[0].get_xticklabels()] == ["2", "8", "18", "mix, 18", "original"]
    found = effects(drawn, "teacher_target")
    assert {k: round(v - found["original"], 6) for k, v in found.items()} == {"original": 0, "18": 0.1, "2": 0.5, "8": 0.2, "mix, 18": 0.05}


def test_teachers_steps_alone_are_numbers_on_a_line(tree):
    for steps in (18, 4):
        point(tree, f"t{steps}", 1.0, target="teacher", steps=steps)
    axis = draw(load(tree.root), "metric_by_teacher_steps").figure.axes[0]
    assert (axis.get_xlabel(), [t.get_text() for t in axis.get_xticklabels()]) == ("Heun steps of the teacher", ["4", "18"])


def test_sampling_steps_have_a_line_for_each_discretisation(tree):
    for stages in (1, 4):
        point(tree, f"p{stages}", 1.0, stages=stages, sampling=(1, 2))
    drawn = draw(load(tree.root), "metric_by_steps")
    assert sorted(set(drawn.data["config.objective.stages"])) == [1, 4]
    assert drawn.figure.legends[0].get_title().get_text() == "Curriculum stages"


def points(**columns):
    count = len(next(iter(columns.values())))
    named = {f"config.{name}": values for name, values in columns.items()}
    return pd.DataFrame({"signature": [f"p{i}" for i in range(count)], "system": "student", **named})


@pytest.mark.parametrize(
    ("columns", "kept", "how"),
    [
        ({"a": [1, 2]}, ["p0", "p1"], "nothing else varies"),
        ({"a": [1, 1, 2, 2], "b": [0, 1, 0, 1]}, ["p0", "p1", "p2", "p3"], "mean over the grid of b"),
        ({"a": [1, 2, 1], "b": [0, 0, 1]}, ["p0", "p1"], "b held at the chosen point"),
        ({"a": [1, 2], "b": [0, 1]}, ["p0", "p1"], "caution: b vary along this axis too"),
    ],
)
def test_an_axis_is_shown_by_points_that_differ_in_nothing_else_where_there_are_such(columns, kept, how):
    assert along(points(**columns), "config.a", "p0") == (kept, how)


def test_settings_that_an_axis_stands_for_may_vary_along_it():
    assert along(points(a=[1, 2], b=[0, 1]), "config.a", "p0", ["config.b"]) == (["p0", "p1"], "nothing else varies")


def test_levels_are_written_briefly():
    assert [level_text(v) for v in ("[]", "[1, 1, 2, 4]", "[1, 1, 1, 1, 1, 1, 1, 1]", "[4, 4]", 0.30000000000000004, 18, "mix, 18")] == [
        "one block", "[1,1,2,4]", "[1]*8", "[4,4]", "0.3", "18", "mix, 18",
    ]  # fmt: skip


def test_a_heat_map_of_many_levels_and_one_seed_has_a_colour_bar_and_names_some(tree):
    for partition in ((8,), (4, 4)):
        for number in range(14):
            point(tree, f"{len(partition)}-{number}", 1.0 + 0.01 * number, partition=partition, mr_stft=0.1 * number)
    figure = draw(load(tree.root), "interaction_heatmap").figure
    assert [t.get_text() for t in figure.axes[0].get_xticklabels()] == ["0", "0.2", "0.4", "0.6", "0.8", "1", "1.2"]
    assert [t for axis in figure.axes[:2] for t in axis.texts] == []
    assert len(figure.axes) == 4

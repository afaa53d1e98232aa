from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from tables_of_values import grid, tidy

from analysis import load
from analysis.figures import NotDrawn, axis_effects, draw, interaction_heatmap, metric_by_loss_weight
from analysis.figures.effects import MOST_LEVELS

LEVELS = {"blocks__partition": ["[8]", "[2,6]"], "losses__mr_stft": [0.0, 0.1, 1.0]}


def _sweep(together=0.0, seed=0, shift=0.3):
    def mean(partition, weight):
        return 1.5 + 0.1 * (partition == "[8]") + shift * (weight == 0.0) + together * (partition == "[8]" and weight == 1.0)

    return grid(LEVELS, mean, np.random.default_rng(seed))


def _texts(figure):
    return [text.get_text() for axis in figure.axes for text in axis.texts]


@pytest.fixture(scope="module")
def effects(full):
    return draw(load(full.root), "axis_effects")


def test_the_axis_that_explains_most_comes_first_and_every_level_has_a_line(effects):
    own = effects.data[effects.data["metric"] == "lsd_hf"]
    assert list(own["axis"]) == ["blocks.partition"] * 3 + ["losses.mr_stft"] * 2
    labels = [label.get_text() for label in effects.figure.axes[0].get_yticklabels()]
    assert labels == ["blocks.partition", "[8]", "[4,4]", "[1,1,2,4]", "losses.mr_stft", "0.5", "1"]


def test_marks_of_effects_that_chance_explains_are_open(effects):
    for axis, metric in zip(effects.figure.axes, ("lsd_hf", "si_sdr"), strict=True):
        own = effects.data[effects.data["metric"] == metric]
        marks = [line for line in axis.lines if line.get_marker() == "o"]
        assert [mark.get_markerfacecolor() != "white" for mark in marks] == list(own["p_holm"] < 0.05)


def test_of_very_many_levels_the_axes_that_explain_most_are_drawn():
    levels = {"objective__stages": list(range(MOST_LEVELS - 5)), "train__rate": [0.1 * n for n in range(8)]}
    stars = [(s, r) for s in levels["objective__stages"] for r in levels["train__rate"] if s and r]
    table = grid(levels, lambda s, r: 1 + s + 0.01 * r, np.random.default_rng(1), seeds=2, speakers=3, clips=1, skip=stars)
    assert len(axis_effects(table).axes[0].get_yticks()) == MOST_LEVELS - 5 + 1


def test_without_levels_to_compare_the_reason_says_what_to_sweep():
    with pytest.raises(NotDrawn, match="sweep one"):
        axis_effects(tidy(np.ones((2, 4, 1))))


def test_an_interaction_is_starred_where_it_was_put():
    texts = _texts(interaction_heatmap(_sweep(together=0.4)))
    assert sum("*" in text for text in texts) >= 2


def test_axes_that_do_not_interact_have_no_star():
    assert not [text for text in _texts(interaction_heatmap(_sweep())) if "*" in text]


def test_the_heat_map_holds_the_means_of_all_pairs(full):
    drawn = draw(load(full.root), "interaction_heatmap")
    assert len(drawn.data) == 6
    assert drawn.data.set_index(["first", "second"]).loc[("[8]", "1"), "mean"] == pytest.approx(1.35, abs=0.15)
    assert set(drawn.data["axis_first"]) == {"config.blocks.partition"}


def test_without_a_grid_of_two_axes_the_reason_says_what_to_sweep():
    table = grid({"objective__stages": [1, 2]}, lambda s: 1.0 * s, np.random.default_rng(2))
    with pytest.raises(NotDrawn, match="sweep two together"):
        interaction_heatmap(table)


def test_the_flat_region_of_a_loss_weight_is_shaded_and_in_the_data():
    from analysis.figures.spec import SPECS

    figure, data = SPECS["metric_by_loss_weight"].pair(_sweep())
    assert data.set_index("config.losses.mr_stft")["flat"].to_dict() == {0.0: False, 0.1: True, 1.0: True}
    assert len(figure.axes[0].patches) == 2
    assert "Shaded: not clearly worse" in figure.get_supxlabel()


def test_levels_that_cannot_be_compared_are_drawn_without_a_flat_region():
    others = [("[8]", 0.1), ("[8]", 1.0), ("[2,6]", 0.0), ("[2,6]", 0.1)]
    figure = metric_by_loss_weight(grid(LEVELS, lambda p, w: 1.0, np.random.default_rng(3), skip=others))
    assert not figure.axes[0].patches


def test_a_single_seed_and_a_level_without_numbers_still_give_a_figure():
    table = pd.concat([tidy(np.random.default_rng(4).normal(size=(1, 5, 2)), s, objective__name=s) for s in ("größe a", "b c")])
    assert len(axis_effects(table).axes) == 1

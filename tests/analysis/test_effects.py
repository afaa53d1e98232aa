from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats as scipy_stats
from tables_of_values import grid, tidy

from analysis import ResultsError, axis_table, flat_region, interactions, main_effects

LEVELS = {"blocks__partition": ["[8]", "[2,6]", "[1,1,2,4]"], "losses__mr_stft": [0.0, 0.1, 1.0]}
PARTITION, WEIGHT = (f"config.{name.replace('__', '.')}" for name in LEVELS)
OF_PARTITION, OF_WEIGHT = {"[8]": 0.2, "[2,6]": 0.0, "[1,1,2,4]": -0.2}, {0.0: 0.3, 0.1: 0.0, 1.0: 0.0}


def _additive(partition, weight):
    return 1.5 + OF_PARTITION[partition] + OF_WEIGHT[weight]


@pytest.fixture(scope="module")
def additive():
    return grid(LEVELS, _additive, np.random.default_rng(0))


def test_effects_of_a_grid_are_those_it_was_made_with(additive):
    found = main_effects(additive, "lsd_hf").set_index(["axis", "level"])
    for level, effect in OF_PARTITION.items():
        row = found.loc[("blocks.partition", level)]
        assert row["effect_low"] < effect < row["effect_high"]
        assert row["effect_high"] - row["effect_low"] < 0.12
    assert found.loc[("losses.mr_stft", "0"), "effect"] == pytest.approx(0.2, abs=0.03)
    assert found.loc[("blocks.partition", "[2,6]"), "p_holm"] > 0.05
    assert found.loc[("blocks.partition", "[8]"), "p_holm"] < 0.001


def test_the_effects_of_an_axis_add_up_to_nothing(additive):
    assert main_effects(additive, "lsd_hf").groupby("axis")["effect"].sum().tolist() == pytest.approx([0, 0])


def test_axes_that_do_not_interact_are_not_said_to(additive):
    table = axis_table(additive, "lsd_hf").set_index("axis")
    assert table.loc["blocks.partition x losses.mr_stft", "p_holm"] > 0.05
    assert table.loc["blocks.partition", ["best", "error"]].tolist() == ["[1,1,2,4]", "seeds"]
    assert table.loc["blocks.partition", "spread"] == pytest.approx(0.4, abs=0.05)


def test_an_interaction_is_found_where_it_was_put():
    table = grid(LEVELS, lambda p, w: _additive(p, w) + 0.3 * (p == "[8]" and w == 1.0), np.random.default_rng(1))
    assert axis_table(table, "lsd_hf").set_index("axis").loc["blocks.partition x losses.mr_stft", "p_holm"] < 0.001
    cells = interactions(table, "lsd_hf", PARTITION, WEIGHT).set_index(["first", "second"])
    assert cells["effect"].idxmax() == ("[8]", "1")
    row = cells.loc[("[8]", "1")]
    assert row["effect_low"] < 0.3 * 4 / 9 < row["effect_high"]  # a single cell of 3 x 3 keeps (1 - 1/3)(1 - 1/3) of what was put into it


def test_the_f_test_of_one_axis_is_scipys_one_way_analysis_of_run_means():
    table = grid({"objective__stages": [1, 2, 4]}, lambda s: 1 + 0.02 * s, np.random.default_rng(2), seeds=4)
    runs = [part.groupby("seed")["value"].mean() for _, part in table.groupby("signature")]
    expected = scipy_stats.f_oneway(*runs)
    row = axis_table(table, "lsd_hf").iloc[0]
    assert (row["f"], row["p"]) == pytest.approx((expected.statistic, expected.pvalue))


def test_without_repeated_seeds_the_blocks_are_the_error_as_in_the_textbook():
    table = grid(LEVELS, _additive, np.random.default_rng(3), seeds=1)
    means = table.groupby([PARTITION, WEIGHT])["value"].mean().unstack().to_numpy()
    rest = means - means.mean(0) - means.mean(1, keepdims=True) + means.mean()
    f = 3 * ((means.mean(1) - means.mean()) ** 2).sum() / 2 / ((rest**2).sum() / 4)
    row = axis_table(table, "lsd_hf").set_index("axis").loc["blocks.partition"]
    assert (row["f"], row["error"]) == (pytest.approx(f), "blocks")


def test_axes_without_an_effect_are_called_significant_in_five_percent_of_sweeps():
    generator = np.random.default_rng(4)
    tables = [grid({"objective__stages": [1, 2, 4, 8]}, lambda s: 1.0, generator, seeds=3, speakers=4, clips=1) for _ in range(300)]
    assert 0.02 <= np.mean([axis_table(t, "lsd_hf")["p"].item() < 0.05 for t in tables]) <= 0.08


def test_the_interval_of_an_effect_covers_the_truth():
    generator, hits = np.random.default_rng(5), 0
    for _ in range(300):
        table = grid(LEVELS, _additive, generator, seeds=3, speakers=8, clips=1, seed_noise=0.1, noise=0.1)
        row = main_effects(table, "lsd_hf", [PARTITION]).set_index("level").loc["[8]"]
        hits += row["effect_low"] <= 0.2 <= row["effect_high"]
    assert 0.93 <= hits / 300 <= 0.98


def test_a_gap_in_the_grid_takes_out_its_block_alone():
    whole, gap = (grid(LEVELS, _additive, np.random.default_rng(6), skip=skip) for skip in ((), (("[8]", 0.1),)))
    found, full = (main_effects(t, "lsd_hf", [PARTITION]).set_index("level") for t in (gap, whole))
    assert found["blocks"].tolist() == [2, 2, 2]
    assert full["blocks"].tolist() == [3, 3, 3]
    assert found.loc["[8]", "effect"] == pytest.approx(0.2, abs=0.05)


def test_a_star_of_single_changes_is_compared_through_its_centre():
    star = [(p, w) for p in LEVELS["blocks__partition"] for w in LEVELS["losses__mr_stft"] if p != "[2,6]" and w != 0.1]
    found = main_effects(grid(LEVELS, _additive, np.random.default_rng(7), skip=star), "lsd_hf").set_index(["axis", "level"])
    assert set(found["blocks"]) == {1}
    assert found.loc[("blocks.partition", "[8]"), "effect"] == pytest.approx(0.2, abs=0.05)


def test_axes_that_change_together_are_not_told_apart():
    diagonal = [(p, w) for i, p in enumerate(LEVELS["blocks__partition"]) for j, w in enumerate(LEVELS["losses__mr_stft"]) if i != j]
    assert main_effects(grid(LEVELS, _additive, np.random.default_rng(8), skip=diagonal), "lsd_hf").empty


def test_two_axes_without_a_grid_have_no_interaction_and_that_is_said():
    diagonal = [(p, w) for i, p in enumerate(LEVELS["blocks__partition"]) for j, w in enumerate(LEVELS["losses__mr_stft"]) if i != j]
    table = grid(LEVELS, _additive, np.random.default_rng(9), skip=diagonal)
    with pytest.raises(ResultsError, match="form no grid"):
        interactions(table, "lsd_hf", PARTITION, WEIGHT)


def test_an_axis_that_does_not_vary_is_refused_by_name(additive):
    with pytest.raises(ResultsError, match=r"config\.train\.steps does not vary .* choose of config\.blocks\.partition"):
        interactions(additive, "lsd_hf", PARTITION, "config.train.steps")


def test_an_unknown_axis_is_refused_by_main_effects_too(additive):
    with pytest.raises(ResultsError, match=r"config\.nothing does not vary"):
        main_effects(additive, "lsd_hf", ["config.nothing"])


def test_with_one_seed_a_point_nothing_is_tested_and_that_is_said():
    table = grid(LEVELS, _additive, np.random.default_rng(12), seeds=1)
    found = main_effects(table, "lsd_hf")
    assert found[["p", "p_holm"]].isna().all(axis=None)
    assert set(found["warning"]) == {"1 seed, fewer than 3"}
    assert interactions(table, "lsd_hf", PARTITION, WEIGHT)["p_holm"].isna().all()
    assert flat_region(table, "lsd_hf", WEIGHT)["flat"].isna().all()


def test_the_flat_region_holds_the_levels_that_are_equally_good(additive):
    found = flat_region(additive, "lsd_hf", WEIGHT).set_index("level")
    assert found["flat"].to_dict() == {"0": False, "0.1": True, "1": True}
    assert found["best"].sum() == 1
    assert found.loc["0", "worse_low"] < 0.3 < found.loc["0", "worse_high"]


def test_the_flat_region_of_a_metric_that_should_be_high_is_at_its_top():
    table = grid(LEVELS, lambda p, w: 10 - _additive(p, w), np.random.default_rng(10)).assign(metric="si_sdr")
    found = flat_region(table, "si_sdr", PARTITION).set_index("level")
    assert found.index[found["best"]].tolist() == ["[1,1,2,4]"]
    assert found["flat"].sum() == 1


def test_a_metric_with_a_target_has_no_flat_region():
    with pytest.raises(ResultsError, match="best at a target"):
        flat_region(grid(LEVELS, _additive, np.random.default_rng(11)).assign(metric="hf_bias"), "hf_bias", WEIGHT)


def test_unequal_numbers_of_seeds_leave_every_point_the_same_weight():
    parts = [tidy(np.full((n, 4, 1), v), name, objective__stages=s) for n, v, name, s in ((2, 1.0, "a", 1), (5, 2.0, "b", 2))]
    found = main_effects(pd.concat(parts, ignore_index=True), "lsd_hf")
    assert found["effect"].tolist() == pytest.approx([-0.5, 0.5])


def test_a_point_that_lacks_clips_is_compared_on_those_it_has():
    table = grid({"objective__stages": [1, 2, 3]}, lambda s: 1 - 0.3 * (s == 2), np.random.default_rng(13), speakers=10)
    easy = table["speaker"].isin(["s0", "s1", "s2", "s3"])
    table.loc[easy, "value"] -= 2.0
    table = table[~(easy & (table["config.objective.stages"] == 2))]
    found = main_effects(table, "lsd_hf").set_index("level")
    assert found["effect"].idxmin() == "2"
    assert found.loc["2", "effect"] == pytest.approx(-0.2, abs=0.05)
    assert "8 clips left out that some run lacks" in found.loc["2", "warning"]


def test_a_level_that_stands_alone_is_left_out_and_named():
    table = grid(LEVELS, _additive, np.random.default_rng(14))
    odd = grid({"blocks__partition": ["[4,4]"], "losses__mr_stft": [9.0]}, lambda p, w: 1.0, np.random.default_rng(15))
    found = main_effects(pd.concat([table, odd.assign(signature="odd")], ignore_index=True), "lsd_hf")
    assert len(found) == 6
    assert set(found["warning"]) == {"not compared: [4,4]", "not compared: 9"}
    assert found.set_index("level").loc["[8]", "effect"] == pytest.approx(0.2, abs=0.05)


def test_the_flat_region_calls_equal_levels_worse_in_five_percent_of_sweeps_at_most():
    generator, wrong = np.random.default_rng(16), 0
    for _ in range(150):
        table = grid({"objective__stages": list(range(8))}, lambda s: 1.0, generator, seeds=5, speakers=5, clips=1)
        wrong += not flat_region(table, "lsd_hf", "config.objective.stages")["flat"].all()
    assert wrong / 150 <= 0.09  # 0.05 and two standard errors


def test_a_random_search_of_two_axes_is_answered_at_once():
    generator = np.random.default_rng(17)
    parts = [tidy(np.ones((1, 3, 1)), f"p{n}", train__rate=float(r), schedule__sigma_max=float(s))
             for n, (r, s) in enumerate(generator.uniform(size=(300, 2)))]  # fmt: skip
    assert main_effects(pd.concat(parts, ignore_index=True), "lsd_hf").empty


def test_levels_that_are_not_numbers_have_one_order():
    from analysis.design import rank

    assert sorted(["nan", "1", "inf", "0.5", "[8]"], key=rank) == sorted(["inf", "[8]", "1", "nan", "0.5"], key=rank)


def test_another_system_is_explained_at_its_most_steps():
    table = grid({"teacher__steps": [2, 4]}, lambda s: 1.0 * s, np.random.default_rng(18)).assign(system="teacher", steps=18)
    assert len(main_effects(table, "lsd_hf", system="teacher")) == 2

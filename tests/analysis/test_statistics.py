from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest
from scipy import stats as scipy_stats

from analysis import ResultsError, probability_of_improvement
from analysis.cells import Cell
from analysis.pairs import paired_difference, paired_ratio
from analysis.stats import interval, summary


def _table(values, system="student", metric="lsd_hf", clips=2, signature="a"):
    """Turn values [runs, speakers] into a tidy table; every clip of a speaker has the speaker's value."""
    rows = [
        (signature, seed, system, f"s{k}u{u}", f"s{k}", 1, True, metric, values[seed][k], "1", 1)
        for seed in range(len(values)) for k in range(len(values[seed])) for u in range(clips)
    ]  # fmt: skip
    names = ["signature", "seed", "system", "utterance", "speaker", "steps", "low_band_copy", "metric", "value", "unit", "protocol"]
    return pd.DataFrame(rows, columns=names)


def _coverage(seeds, speakers, spreads, trials, method="auto"):
    generator, hits = np.random.default_rng(5), 0
    of_seed, of_speaker, of_both = spreads
    for _ in range(trials):
        y = of_seed * generator.normal(size=(seeds, 1)) + of_speaker * generator.normal(size=(1, speakers))
        y = y + of_both * generator.normal(size=(seeds, speakers))
        cell = Cell(y * 3, np.full_like(y, 3), np.full(seeds, 1 / seeds), np.zeros(seeds, np.int64), np.ones(seeds, bool))
        found = interval(cell, resamples=600, method=method)
        hits += found.low <= 0 <= found.high
    return hits / trials


def test_one_run_has_the_t_interval_of_its_speakers():
    values = np.random.default_rng(0).normal(size=(1, 8))
    row = summary(_table(values), ["system"]).iloc[0]
    half = scipy_stats.t.ppf(0.975, 7) * values.std(ddof=1) / np.sqrt(8)
    assert (row["mean"], row["low"], row["high"]) == pytest.approx((values.mean(), values.mean() - half, values.mean() + half))


def test_a_whole_set_metric_has_the_t_interval_of_its_seeds():
    table = _table(np.array([[1.0], [2.0], [4.0]]), clips=1).assign(utterance="*", speaker="*")
    row = summary(table, ["system"]).iloc[0]
    half = scipy_stats.t.ppf(0.975, 2) * np.std([1, 2, 4], ddof=1) / np.sqrt(3)
    assert row["high"] - row["mean"] == pytest.approx(half)
    assert "speaker" not in row["warning"]


def test_a_whole_set_metric_of_one_seed_has_no_interval():
    row = summary(_table([[3.0]], clips=1).assign(utterance="*", speaker="*"), ["system"]).iloc[0]
    assert row["mean"] == 3.0
    assert np.isnan(row["low"])
    assert row["method"] == "none"


def test_utterances_of_one_speaker_do_not_count_as_independent():
    values = np.random.default_rng(1).normal(size=(1, 6))
    few, many = (summary(_table(values, clips=n), ["system"]).iloc[0] for n in (1, 50))
    assert (few["low"], few["high"]) == pytest.approx((many["low"], many["high"]))


@pytest.mark.parametrize(
    ("seeds", "speakers", "spreads"),
    [
        (1, 8, (0, 1, 1)), (3, 8, (0.3, 1, 0.5)), (3, 8, (1, 1, 0.5)), (3, 8, (1, 0.3, 0.3)), (3, 20, (1, 1, 0.5)), (3, 20, (0.2, 0.2, 1)),
        (5, 10, (0.5, 0.5, 1)), (5, 20, (1, 1, 0.5)), (10, 20, (0.3, 1, 0.5)),
    ],
)  # fmt: skip
def test_the_interval_covers_the_truth_in_93_to_97_percent_of_simulations(seeds, speakers, spreads):
    assert 0.93 <= _coverage(seeds, speakers, spreads, 1000) <= 0.97


def test_where_seeds_and_speakers_interact_and_do_nothing_else_the_interval_is_too_wide_rather_than_too_narrow():
    assert 0.97 <= _coverage(3, 8, (0, 0, 1), 1000) <= 0.993


def test_a_bootstrap_of_three_seeds_would_cover_far_too_little():
    assert _coverage(3, 8, (1, 0.3, 0.3), 300, "bootstrap") < 0.85


def test_the_bootstrap_of_many_speakers_covers_the_truth():
    assert 0.93 <= _coverage(1, 20, (0, 1, 1), 1000) <= 0.97


def test_a_bootstrap_is_the_same_for_the_same_seed_and_differs_for_another():
    table = _table(np.random.default_rng(2).normal(size=(1, 25)))
    first, again, other = (summary(table, ["system"], seed=s).iloc[0] for s in (0, 0, 1))
    assert first["method"] == "bootstrap"
    assert first["low"] == again["low"] != other["low"]


def test_a_paired_difference_is_the_t_interval_of_the_speakers_differences():
    generator = np.random.default_rng(3)
    a, b = generator.normal(size=(1, 7)), generator.normal(size=(1, 7))
    found = paired_difference(_table(a), _table(b, system="sinc", signature="b"))
    difference = (a - b)[0]
    half = scipy_stats.t.ppf(0.975, 6) * difference.std(ddof=1) / np.sqrt(7)
    assert (found.mean, found.low) == pytest.approx((difference.mean(), difference.mean() - half))


def test_pairing_removes_what_clips_share():
    shared = 10 * np.random.default_rng(4).normal(size=(1, 10))
    noise = 0.1 * np.random.default_rng(5).normal(size=(2, 10))
    found = paired_difference(_table(shared + noise[:1] + 1), _table(shared + noise[1:], system="sinc", signature="b"))
    assert found.clear
    assert found.high - found.low < 0.5


def test_an_interval_clustered_by_speaker_is_wider_than_one_by_utterance_where_speakers_differ():
    a, b = np.random.default_rng(7).normal(size=(2, 1, 8))
    sides = _table(a, clips=5), _table(b, system="sinc", signature="b", clips=5)
    clustered = paired_difference(*sides)
    loose = paired_difference(*(side.assign(speaker=side["utterance"]) for side in sides))
    assert clustered.mean == pytest.approx(loose.mean)
    assert clustered.high - clustered.low > 1.8 * (loose.high - loose.low)


def test_two_step_counts_of_one_network_are_paired_seed_by_seed():
    generator = np.random.default_rng(8)
    one = generator.normal(size=(3, 1)) + generator.normal(size=(1, 6))
    change = 0.2 + 0.01 * generator.normal(size=(3, 6))
    first, second = _table(one), _table(one + change).assign(steps=2)
    found = paired_difference(second, first)
    assert found.low < 0.2 < found.high
    assert found.high - found.low < 0.1
    assert paired_difference(second.assign(signature="b"), first).high - found.mean > 0.3  # other networks: their seeds are not shared


def test_a_ratio_of_proportional_systems_is_known_exactly():
    base = np.random.default_rng(9).uniform(1, 3, size=(1, 8))
    found = paired_ratio(_table(1.1 * base), _table(base, system="sinc", signature="b"))
    assert (found.mean, found.low, found.high) == pytest.approx((1.1, 1.1, 1.1))


def test_the_interval_of_a_ratio_covers_the_truth():
    generator, hits = np.random.default_rng(10), 0
    for _ in range(400):
        base = generator.uniform(1, 3, size=(1, 10))
        found = paired_ratio(_table(1.1 * base + 0.2 * generator.normal(size=(1, 10))), _table(base, system="sinc", signature="b"))
        hits += found.low <= 1.1 <= found.high
    assert 0.92 <= hits / 400 <= 0.98


def test_a_difference_between_trainings_is_unclear_when_seeds_vary_as_much():
    shared = np.random.default_rng(6).normal(size=(1, 10))
    a, b = shared + np.array([[0.3], [-0.2], [0.2]]), shared + np.array([[-0.3], [0.2], [0.0]])
    assert not paired_difference(_table(a), _table(b, system="token_ce", signature="b")).clear


def test_systems_are_compared_on_the_clips_they_share():
    a, b = _table([[1.0, 2.0, 3.0]]), _table([[0.0, 1.0, 99.0]], system="sinc", signature="b")
    b = b[b["speaker"] != "s2"]
    assert paired_difference(a, b).mean == pytest.approx(1.0)


def test_systems_without_a_clip_in_common_have_no_difference():
    found = paired_difference(_table([[1.0, 2.0]]), _table([[1.0, 2.0]]).assign(utterance="other"))
    assert found.method == "none"
    assert not found.clear


def test_metrics_are_not_compared_with_each_other():
    with pytest.raises(ValueError, match="one metric, got lsd_hf, si_sdr"):
        paired_difference(_table([[1.0, 2.0]]), _table([[1.0, 2.0]], metric="si_sdr"))


@pytest.mark.parametrize("compare", [paired_difference, paired_ratio, probability_of_improvement])
@pytest.mark.parametrize(
    ("other", "told"),
    [
        ({"steps": 2}, "one steps, got 1, 2 in {}: select one before, e.g. rows[rows.steps == 1]"),
        ({"low_band_copy": False}, "one low_band_copy, got False, True in {}: select one before, e.g. rows[rows.low_band_copy == False]"),
    ],
)
def test_step_counts_and_copies_are_not_averaged_on_one_side_of_a_comparison(compare, other, told):
    one = _table([[1.0, 2.0], [1.5, 2.5]])
    both, rival = pd.concat([one, one.assign(value=9.0, **other)]), _table([[2.0, 3.0]], system="sinc", signature="b")
    for sides, name in (((both, rival), "table"), ((rival, both), "baseline")):
        with pytest.raises(ResultsError, match=re.escape(f"{compare.__name__} compares {told.format(name)}")):
            compare(*sides)


@pytest.mark.parametrize("compare", [paired_difference, paired_ratio, probability_of_improvement])
def test_protocol_versions_are_not_compared_with_each_other(compare):
    with pytest.raises(ResultsError, match="one protocol, got 1, 2"):
        compare(_table([[1.0, 2.0]]), _table([[1.0, 2.0]]).assign(protocol=2))


def test_protocol_versions_are_summarised_apart():
    table = pd.concat([_table([[1.0, 2.0]]), _table([[5.0, 6.0]]).assign(protocol=2)])
    assert list(summary(table, ["system"])["mean"]) == [1.5, 5.5]


def test_values_that_are_not_finite_do_not_touch_the_mean():
    table = _table([[1.0, 2.0, 3.0]])
    table.loc[0, "value"] = np.nan
    table.loc[5, "value"] = np.inf
    row = summary(table, ["system"]).iloc[0]
    assert row["mean"] == pytest.approx((1 + 2 + 2 + 3) / 4)
    assert row["utterances"] == 4


@pytest.mark.parametrize(("system", "warned"), [("student", True), ("sinc", False)])
def test_only_trained_systems_are_warned_of_few_seeds(system, warned):
    row = summary(_table(np.random.default_rng(0).normal(size=(1, 8)), system=system), ["system"]).iloc[0]
    assert ("1 seed, fewer than 3" in row["warning"]) == warned


def test_a_test_set_of_one_speaker_is_clustered_by_utterance_and_says_so():
    table = _table([[1.0, 2.0, 4.0]]).assign(speaker="only")
    row = summary(table, ["system"]).iloc[0]
    assert np.isfinite(row["low"])
    assert row["warning"].endswith("one speaker: says nothing about others")


def test_every_configuration_weighs_the_same_however_many_seeds_it_has():
    table = pd.concat([_table([[0.0, 0.0]] * 4), _table([[1.0, 1.0]], signature="b")])
    assert summary(table, ["system"])["mean"].iloc[0] == pytest.approx(0.5)


def test_a_run_that_lacks_clips_does_not_turn_a_comparison_round():
    """One of three seeds lacks the easy speakers: the student is 0.3 better on every clip all the same."""
    generator = np.random.default_rng(12)
    level = np.array([[1.0] * 4 + [9.0] * 4])
    student = _table(level - 0.3 + 0.01 * generator.normal(size=(3, 8)))
    student = student[(student["seed"] != 0) | ~student["speaker"].isin(["s0", "s1", "s2", "s3"])]
    found = paired_difference(student, _table(level, system="sinc", signature="b"))
    assert found.low < -0.3 < found.high
    assert found.high < -0.25


def test_a_seed_that_one_side_lacks_does_not_undo_the_pairing_of_the_others():
    generator = np.random.default_rng(13)
    one = generator.normal(size=(4, 1)) + generator.normal(size=(1, 6))
    first, second = _table(one), _table(one + 0.2 + 0.01 * generator.normal(size=(4, 6))).assign(steps=2)
    found = paired_difference(second[second["seed"] != 3], first)
    assert found.low < 0.2 < found.high
    assert found.high - found.low < 0.1


def test_the_p_value_agrees_with_the_interval_for_single_runs_of_many_speakers():
    generator = np.random.default_rng(14)
    for _ in range(200):
        a, b = generator.normal(size=(2, 1, 24))
        found = paired_difference(_table(0.4 + a), _table(b, "sinc", signature="b"))
        assert (found.p < 0.05) == found.clear


@pytest.mark.parametrize("clips", [(2, 2, 2, 2, 4, 4, 8, 16), (1, 1, 1, 1, 1, 1, 1, 6)])
def test_speakers_with_many_clips_do_not_make_the_interval_too_narrow(clips):
    generator, hits = np.random.default_rng(15), 0
    counts = np.array([clips], float)
    for _ in range(600):
        means = generator.normal(size=(1, len(clips))) + generator.normal(size=(1, len(clips))) / np.sqrt(counts)
        cell = Cell(means * counts, counts, np.ones(1), np.zeros(1, np.int64), np.ones(1, bool))
        found = interval(cell, method="t")
        hits += found.low <= 0 <= found.high
    assert hits / 600 >= 0.92


def test_a_speaker_with_most_clips_is_warned_of():
    counts = np.array([[1.0] * 7 + [40.0]])
    cell = Cell(counts * 0, counts, np.ones(1), np.zeros(1, np.int64), np.zeros(1, bool))
    assert "8 speakers, by their clips worth 1.4, fewer than 5" in interval(cell).warning


def test_a_configuration_of_one_seed_is_given_the_seed_variance_of_the_others():
    generator, hits = np.random.default_rng(16), 0
    for _ in range(600):
        y = generator.normal(size=(4, 1)) + 0.3 * generator.normal(size=(1, 8)) + 0.3 * generator.normal(size=(4, 8))
        weights, strata = np.array([1 / 3, 1 / 3, 1 / 3, -1]), np.array([0, 0, 0, 1])
        found = interval(Cell(y, np.ones_like(y), weights, strata, np.ones(4, bool)))
        hits += found.low <= 0 <= found.high
    assert 0.92 <= hits / 600 <= 0.98


def test_a_bootstrap_takes_no_run_for_zero_of_which_no_clip_was_drawn():
    sums, counts = np.full((2, 25), 5.0), np.ones((2, 25))
    sums[1, 1:] = counts[1, 1:] = 0
    found = interval(Cell(sums, counts, np.full(2, 0.5), np.zeros(2, np.int64), np.ones(2, bool)), method="bootstrap")
    assert found.low == pytest.approx(5.0)


def test_a_ratio_is_tested_against_one():
    base = np.random.default_rng(17).uniform(1, 3, size=(1, 8))
    noise = 0.2 * np.random.default_rng(18).normal(size=(1, 8))
    found = paired_ratio(_table(base + noise), _table(base, system="sinc", signature="b"))
    assert (found.p < 0.05) == found.clear
    assert found.low < 1 < found.high


def test_rounding_is_no_difference():
    values = np.random.default_rng(19).normal(size=(3, 6))
    found = paired_difference(_table(values + 1e-15), _table(values, system="sinc", signature="b"))
    assert found.p == 1.0

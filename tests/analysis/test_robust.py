from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats as scipy_stats
from tables_of_values import crossed, tidy

from analysis import interquartile_mean
from analysis.robust import pseudo_values, trimmed_mean


def test_the_interquartile_mean_is_scipys_trimmed_mean_where_the_trim_is_whole():
    values = np.random.default_rng(0).standard_t(2, size=40)
    assert trimmed_mean(values, np.ones(40)) == pytest.approx(scipy_stats.trim_mean(values, 0.25))


def test_weights_count_like_repeated_values():
    values, weights = np.array([1.0, 2.0, 5.0, 9.0]), np.array([3, 1, 2, 2])
    assert trimmed_mean(values, weights.astype(float)) == pytest.approx(scipy_stats.trim_mean(np.repeat(values, weights), 0.25))


def test_broken_clips_move_the_mean_but_not_the_interquartile_mean():
    values = np.random.default_rng(1).normal(size=(1, 10, 4))
    broken = values.copy()
    broken[0, :2, 0] = 1000.0
    before, after = (interquartile_mean(tidy(v), ["metric"])["mean"].iloc[0] for v in (values, broken))
    assert abs(after - before) < 0.3


def test_its_spread_is_that_of_a_trimmed_mean_of_independent_values():
    values = np.random.default_rng(2).normal(size=400)
    pseudo = pseudo_values(values)
    winsorised = np.clip(values, *np.quantile(values, [0.25, 0.75], method="hazen"))
    assert pseudo.mean() == pytest.approx(scipy_stats.trim_mean(values, 0.25))
    assert pseudo.std(ddof=1) / 20 == pytest.approx(winsorised.std(ddof=1) / (0.5 * 20))  # Tukey & McLaughlin (1963)


@pytest.mark.parametrize(
    ("runs", "speakers", "spreads"), [(1, 10, (0, 0.5, 0, 1)), (3, 10, (0.3, 0.5, 0.3, 1)), (5, 20, (0.3, 0.5, 0.3, 1))]
)
def test_its_interval_covers_the_truth(runs, speakers, spreads):
    generator, hits = np.random.default_rng(3), 0
    for _ in range(400):
        row = interquartile_mean(tidy(crossed(generator, runs, speakers, 4, spreads)), ["metric"]).iloc[0]
        hits += row["low"] <= 0 <= row["high"]
    assert 0.93 <= hits / 400 <= 0.975


def test_the_stratified_bootstrap_covers_the_truth_with_ten_seeds():
    generator, hits = np.random.default_rng(4), 0
    for _ in range(150):
        values = tidy(crossed(generator, 10, 20, 2, (0.3, 0.5, 0.3, 1)))
        row = interquartile_mean(values, ["metric"], method="bootstrap", resamples=400).iloc[0]
        hits += row["low"] <= 0 <= row["high"]
    assert 0.92 <= hits / 150 <= 0.995


def test_the_bootstrap_resamples_seeds_within_their_configuration():
    """Two configurations that differ a lot: resampling across them would give an interval as wide as their distance."""
    generator = np.random.default_rng(5)
    parts = [tidy(level + 0.01 * generator.normal(size=(4, 8, 2)), name) for level, name in ((0.0, "a"), (10.0, "b"))]
    row = interquartile_mean(pd.concat(parts), ["metric"], method="bootstrap", resamples=300).iloc[0]
    assert row["high"] - row["low"] < 0.1


def test_unequal_numbers_of_seeds_weigh_every_configuration_alike():
    parts = [tidy(np.random.default_rng(n).normal(level, 0.1, size=(n, 8, 2)), name) for n, level, name in ((4, 0.0, "a"), (1, 1.0, "b"))]
    plain, again = (
        interquartile_mean(pd.concat(parts), ["metric"], method=method, resamples=300).iloc[0] for method in ("t", "bootstrap")
    )
    assert plain["mean"] == pytest.approx(0.5, abs=0.1)
    assert again["low"] < plain["mean"] < again["high"]

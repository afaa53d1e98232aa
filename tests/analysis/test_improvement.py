from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats as scipy_stats
from tables_of_values import crossed, tidy

from analysis import performance_profile, probability_of_improvement


def test_the_probability_of_one_run_each_is_the_share_of_clips_won():
    a, b = np.random.default_rng(0).normal(size=(2, 1, 10, 3))
    found = probability_of_improvement(tidy(a), tidy(b, "b", "sinc"))
    assert found.mean == pytest.approx((a < b).mean())  # a lower LSD is better


def test_over_all_pairs_of_runs_it_is_the_mann_whitney_statistic():
    a, b = np.random.default_rng(1).normal(size=(2, 4, 1, 1))
    found = probability_of_improvement(tidy(a, metric="si_sdr"), tidy(b, "b", "sinc", metric="si_sdr"))
    assert found.mean == pytest.approx(scipy_stats.mannwhitneyu(a.ravel(), b.ravel()).statistic / 16)


def test_a_tie_counts_half():
    same = np.zeros((1, 6, 1))
    assert probability_of_improvement(tidy(same), tidy(same, "b", "sinc")).mean == 0.5


def test_its_interval_covers_the_truth():
    generator, hits, trials = np.random.default_rng(2), 0, 250
    truth = scipy_stats.norm.cdf(0.5 / np.sqrt(2 * (0.3**2 + 0.3**2 + 1)))
    for _ in range(trials):
        shared = 0.5 * generator.normal(size=(1, 10, 1))
        a, b = (shared + crossed(generator, 3, 10, 4, (0.3, 0, 0.3, 1)) for _ in range(2))
        found = probability_of_improvement(tidy(a - 0.5), tidy(b, "b", "token_ce"))
        hits += found.low <= truth <= found.high
    assert 0.93 <= hits / trials <= 0.98


def test_a_win_on_every_clip_is_not_certainty():
    found = probability_of_improvement(tidy(np.zeros((1, 6, 1))), tidy(np.ones((1, 6, 1)), "b", "sinc"))
    assert (found.mean, found.high) == (1.0, 1.0)
    assert found.low == pytest.approx(0.025 ** (1 / 6))  # Clopper & Pearson, six speakers


def test_metrics_are_not_compared_with_each_other():
    with pytest.raises(ValueError, match="one metric, got lsd_hf, si_sdr"):
        probability_of_improvement(tidy(np.zeros((1, 3, 1))), tidy(np.zeros((1, 3, 1)), metric="si_sdr"))


def test_a_profile_is_the_share_of_clips_that_are_at_least_so_good():
    values = np.arange(20.0).reshape(1, 10, 2)
    for metric, share in (("lsd_hf", 0.25), ("si_sdr", 0.8)):
        row = performance_profile(tidy(values, metric=metric), ["system"], [4.0]).iloc[0]
        assert row["share"] == pytest.approx(share)
        assert 0 <= row["low"] <= share <= row["high"] <= 1


def test_a_better_system_has_the_higher_profile_everywhere():
    generator = np.random.default_rng(3)
    good, bad = (tidy(level + generator.normal(size=(3, 8, 2)), name, name) for level, name in ((0.0, "student"), (3.0, "token_ce")))
    wide = performance_profile(pd.concat([good, bad]), ["system"]).pivot_table(index="threshold", columns="system", values="share")
    assert (wide["student"] >= wide["token_ce"]).all()
    assert (wide["student"] - wide["token_ce"]).max() > 0.7


def test_with_three_seeds_a_win_in_all_pairs_is_no_more_than_three_seeds_can_say():
    found = probability_of_improvement(tidy(np.zeros((3, 12, 1))), tidy(np.ones((3, 12, 1)), "b", "token_ce"))
    assert found.low == pytest.approx(0.025 ** (1 / 3))


def test_its_p_value_tests_against_a_half():
    a, b = np.random.default_rng(6).normal(size=(2, 3, 10, 2))
    found = probability_of_improvement(tidy(a), tidy(b, "b", "token_ce"))
    assert found.low < 0.5 < found.high
    assert found.p > 0.05

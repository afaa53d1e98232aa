from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats as scipy_stats
from tables_of_values import tidy

from analysis import ResultsError, differences, holm, load, paired_difference


def test_holm_is_the_textbooks_step_down():
    assert holm([0.01, 0.04, 0.03, 0.005]).tolist() == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_an_untested_comparison_is_no_member_of_the_family():
    adjusted = holm([0.02, np.nan, 0.03])
    assert adjusted[[0, 2]].tolist() == pytest.approx([0.04, 0.04])
    assert np.isnan(adjusted[1])


def test_holm_keeps_false_findings_of_a_family_below_five_percent():
    generator, families = np.random.default_rng(0), 2000
    false = [(holm(generator.uniform(size=12)) < 0.05).any() for _ in range(families)]
    assert np.mean(false) < 0.05 + 2 * np.sqrt(0.05 * 0.95 / families)


def test_the_p_value_of_one_seed_is_that_of_the_paired_t_test_over_speakers():
    a, b = np.random.default_rng(1).normal(size=(2, 1, 9, 1))
    found = paired_difference(tidy(a), tidy(b, "b", "sinc"))
    assert found.p == pytest.approx(scipy_stats.ttest_rel(a[0, :, 0], b[0, :, 0]).pvalue)


def test_a_p_value_is_below_five_percent_just_where_the_interval_excludes_zero():
    generator = np.random.default_rng(2)
    for shift in np.linspace(0, 1.5, 12):
        found = paired_difference(tidy(shift + generator.normal(size=(3, 8, 1))), tidy(generator.normal(size=(3, 8, 1)), "b", "sinc"))
        assert (found.p < 0.05) == found.clear


def test_every_point_is_compared_with_the_baseline_on_its_own_metric(full):
    frame = differences(load(full.root).table, "token_ce", metrics=("lsd_hf",))
    student = frame[frame["system"] == "student"]
    assert len(student) == 6
    assert set(student["verdict"]) == {"better"}
    assert frame.loc[frame["label"] == "sinc", "verdict"].item() == "worse"
    assert frame["mean"].is_monotonic_increasing  # best first, and less is better
    assert (frame["p_holm"] >= frame["p"]).all()


def test_a_baseline_may_be_a_point(full):
    frame = differences(load(full.root).table, "ect-8-1.0", metrics=("lsd_hf",))
    assert "ect-8-1.0" not in set(frame["signature"])
    assert frame.loc[frame["signature"] == "ect-4-4-1.0", "mean"].item() == pytest.approx(-0.25, abs=0.08)


def test_an_unknown_baseline_is_refused_with_those_there_are(full):
    with pytest.raises(ResultsError, match=r"No system or point is called 'mbd': choose a baseline of .*codec_ceiling"):
        differences(load(full.root).table, "mbd")


def test_a_metric_with_a_target_is_better_where_it_is_nearer():
    table = pd.concat([
        tidy(np.full((3, 6, 1), -1.0) + 0.01 * np.random.default_rng(3).normal(size=(3, 6, 1)), metric="hf_bias"),
        tidy(np.full((1, 6, 1), 5.0), "b", "sinc", metric="hf_bias", steps=0),
    ])  # fmt: skip
    assert differences(table, "sinc", metrics=("hf_bias",))["verdict"].tolist() == ["better"]


def test_systems_on_either_side_of_a_target_are_equally_good():
    generator, verdicts = np.random.default_rng(4), []
    for _ in range(60):
        sides = [tidy(bias + 0.5 * generator.normal(size=(3, 8, 1)), name, system, metric="hf_bias", steps=1)
                 for bias, name, system in ((-1.0, "a", "student"), (1.0, "b", "regression"))]  # fmt: skip
        verdicts += differences(pd.concat(sides), "regression", metrics=("hf_bias",))["verdict"].tolist()
    assert verdicts.count("no clear difference") >= 54


def test_a_signature_that_several_systems_share_is_no_baseline():
    table = pd.concat([tidy(np.full((1, 4, 1), v), "baselines", s, steps=0) for v, s in ((1.0, "sinc"), (3.0, "codec_ceiling"))])
    with pytest.raises(ResultsError, match=r"'baselines' is the signature of several systems \(codec_ceiling, sinc\): name one"):
        differences(pd.concat([table, tidy(np.ones((3, 4, 1)))]), "baselines")

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from scipy import stats as scipy_stats
from synthetic_tree import GOOD, Tree, config, means, study

from analysis import load
from analysis.bars import main
from analysis.check import check
from analysis.criteria import BARS, TEACHER_STEPS
from analysis.pairs import costs


def _lines(tree, student="s"):
    return check(load(tree.root).table, student)


def _verdicts(lines):
    return {(x.bar.rival, x.bar.metric, x.bar.steps, x.bar.rule.text): x.verdict for x in lines if x.bar.asked and x.bar.copy}


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    return study(Tree(tmp_path_factory.mktemp("good") / "runs"))


def test_a_student_that_is_good_enough_meets_every_bar(good):
    assert [(x.bar, x.worsening) for x in _lines(good) if x.bar.asked and x.verdict != "met"] == []


def test_every_bar_has_one_line_where_each_rival_has_one_point(good):
    assert [x.bar for x in _lines(good)] == list(BARS)


def test_a_student_that_is_worse_misses_the_bars_of_what_is_worse_alone(tmp_path):
    worse = {steps: values | {"lsd_hf": 1.6} for steps, values in GOOD.items()}
    missed = {key[:2] for key, verdict in _verdicts(_lines(study(Tree(tmp_path / "runs"), student=worse))).items() if verdict == "missed"}
    assert missed == {("teacher", "lsd_hf"), ("regression", "lsd_hf"), ("codec_ceiling", "lsd_hf")}


def test_more_steps_that_make_it_worse_are_missed(tmp_path):
    worse = GOOD | {4: means(1.40, 21.3, 0.2, frechet=40)}
    found = {key: v for key, v in _verdicts(_lines(study(Tree(tmp_path / "runs"), student=worse))).items() if key[0] == "student"}
    assert {key[1:3] for key, verdict in found.items() if verdict == "missed"} == {("lsd_hf", 4), ("frechet_hf", 4)}


def test_two_seeds_are_not_enough_and_that_is_said(tmp_path):
    lines = _lines(study(Tree(tmp_path / "runs"), seeds=(0, 1)))
    assert {x.verdict for x in lines} == {"not measured"}
    assert {x.missing for x in lines if x.bar.rival == "teacher"} == {"student: 2 of 3 seeds"}
    assert {x.missing for x in lines if x.bar.rival == "token_ce"} == {"student: 2 of 3 seeds; token_ce: 2 of 3 seeds"}
    assert all(np.isfinite(x.worsening.mean) for x in lines)


def test_a_system_without_records_is_missing_by_name(tmp_path):
    tree = study(Tree(tmp_path / "runs"), teacher_steps=16, regressions={}, student={1: GOOD[1]})
    missing = {x.bar.rival: x.missing for x in _lines(tree) if x.bar.steps == 1}
    assert missing["teacher"] == f"teacher: no records at {TEACHER_STEPS} steps, only at 16"
    assert missing["regression"] == "regression: no records"
    assert missing["sinc"] == ""
    assert {x.missing for x in _lines(tree) if x.bar.steps == 4} == {"student: no records at 4 steps, only at 1"}


def test_a_metric_without_records_is_missing_by_name(tmp_path):
    lean = {steps: {k: v for k, v in values.items() if k != "mr_stft"} for steps, values in GOOD.items()}
    lines = _lines(study(Tree(tmp_path / "runs"), student=lean))
    assert {x.missing for x in lines if x.bar.metric == "mr_stft" and x.bar.copy} == {"student: no mr_stft with low-band copy"}


def test_one_test_speaker_does_not_measure_a_bar(tmp_path):
    lines = _lines(study(Tree(tmp_path / "runs", speakers=1, clips=20)))
    assert {x.missing for x in lines if x.bar.metric != "frechet_hf"} == {"2 or more test speakers"}
    assert {x.missing for x in lines if x.bar.metric == "frechet_hf"} == {""}


def test_each_regression_point_is_compared_under_its_name(tmp_path):
    plain, with_loss = (means(1.28, 22.0, 0.08, frechet=frechet) for frechet in (80, 25))
    points = {"reg": (plain, config("regression", mr_stft=0.0)), "reg-m": (with_loss, config("regression", mr_stft=0.1))}
    lines = [x for x in _lines(study(Tree(tmp_path / "runs"), regressions=points)) if x.bar.metric == "frechet_hf" and x.bar.copy]
    assert {x.rival: x.verdict for x in lines if x.bar.rival == "regression"} == {"regression": "met", "regression mr_stft 0.1": "missed"}


def test_a_mean_within_the_margin_whose_interval_is_not_is_missed_and_noted(tmp_path):
    line = next(x for x in _lines(study(Tree(tmp_path / "runs"), run_noise=0.15)) if x.bar.rival == "teacher" and x.bar.metric == "lsd_hf")
    assert line.worsening.mean < 0.02 < line.worsening.high
    assert (line.verdict, line.note) == ("missed", "the mean is within the margin, its interval is not")


def test_the_interval_of_a_frechet_distance_is_the_seeds_t_interval(good):
    line = next(x for x in _lines(good) if x.bar.metric == "frechet_hf" and x.bar.steps == 4)
    table = load(good.root).table
    own = table[(table["system"] == "student") & (table["metric"] == "frechet_hf") & table["low_band_copy"]]
    values = own.pivot_table(index="seed", columns="steps", values="value", observed=True)
    change = (values[4] - values[1]).to_numpy()
    half = scipy_stats.t.ppf(0.975, 2) * change.std(ddof=1) / np.sqrt(3)
    assert (line.worsening.mean, line.worsening.high) == pytest.approx((change.mean(), change.mean() + half))


def test_a_relative_worsening_is_a_share_of_the_rivals_mean(good):
    line = next(x for x in _lines(good) if x.bar.rival == "teacher" and x.bar.metric == "lsd_hf" and x.bar.copy)
    assert line.worsening.mean == pytest.approx(line.student_mean / line.rival_mean - 1)
    assert line.worsening.mean == pytest.approx(1.30 / 1.40 - 1, abs=0.02)


def test_a_bias_costs_each_runs_distance_from_its_target():
    rows = pd.DataFrame({"metric": "hf_bias", "signature": "a", "seed": [0, 0, 1, 1], "value": [-3.0, 1.0, 2.0, 4.0]})
    assert list(costs(rows)["value"].groupby(rows["seed"]).mean()) == [1.0, 3.0]


def test_a_metric_the_student_was_trained_on_and_another_budget_are_noted(tmp_path):
    lines = _lines(study(Tree(tmp_path / "runs"), auto={"mr_stft": 0.3}, steps=400))
    notes = {(x.bar.rival, x.bar.metric): x.note for x in lines}
    assert notes["teacher", "mr_stft"] == "the student was trained on MR-STFT"
    assert notes["token_ce", "lsd"] == "not the same budget: train.steps 400 against 200"
    assert notes["sinc", "si_sdr"] == ""


def test_verdicts_beside_the_bars_are_in_brackets_and_do_not_count(good, capsys):
    assert main([str(good.root), "--student", "s"]) == 0
    text = capsys.readouterr().out
    count = sum(bar.asked for bar in BARS)
    assert f"Of {count} bars: {count} met, 0 missed, 0 not measured" in text
    assert "| SI-SDR against token_ce | on | " in text
    assert "| shown |" in text
    assert "| (met) |" in text


def test_the_command_writes_markdown_and_csv(good, tmp_path, capsys):
    assert main([str(good.root), "-o", str(tmp_path / "bars.md")]) == 0
    assert capsys.readouterr().out == (tmp_path / "bars.md").read_text(encoding="utf-8") + "\n"
    assert main([str(good.root), "-o", str(tmp_path / "bars.csv")]) == 0
    table = pd.read_csv(tmp_path / "bars.csv")
    assert len(table) == len(BARS)
    assert set(table["verdict"][table["asked"]]) == {"met"}


def test_the_point_of_report_json_is_the_student_and_a_choice_on_the_test_is_said(tmp_path, capsys):
    tree = study(Tree(tmp_path / "runs"), mr_stft=1.0)
    for seed in range(3):
        tree.run(f"points/o-s{seed}", tree.rows("o", seed, "student", 1, means(1.5, 20.0, 0.1)), config("cd", mr_stft=0.0))
    main([str(tree.root)])
    text = capsys.readouterr().out
    assert "`s`, the best of 2 points in LSD-HF); seeds: 3; 24 clips of 6 speakers; protocol 1. It was chosen on the" in text
    (tree.root / "report.json").write_text(json.dumps({"student": "o"}))
    main([str(tree.root)])
    assert "Student: cd (`o`, named by the sweep's report.json)" in capsys.readouterr().out


def test_unknown_signatures_and_suffixes_are_answered_with_what_there_is(good, tmp_path, capsys):
    for arguments, answer in (
        (["--student", "x"], "No student has signature 'x'. Signatures: s"),
        (["--teacher", "x"], "No teacher has signature 'x'. Signatures: t"),
        (["-o", str(tmp_path / "bars.txt")], "written as .md or .csv"),
    ):
        assert main([str(good.root), *arguments]) == 1
        assert answer in capsys.readouterr().err


def test_without_a_student_nothing_is_measured(tree, capsys):
    tree.run("baselines", tree.rows("b", 0, "sinc", 0, means(5.0, 19.0, 0.1), copies=(False,)), {})
    assert main([str(tree.root)]) == 0
    assert "0 met, 0 missed, " in capsys.readouterr().out

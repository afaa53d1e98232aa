from __future__ import annotations

import html
import json
import re

import pandas as pd
import pytest
from synthetic_tree import Tree, config, fill, means

from analysis import ResultsError, load
from analysis.bars import main as bars_main
from analysis.bars import run as bars
from analysis.cautions import cautions
from analysis.figures import NAMES
from analysis.figures.__main__ import main as figures
from analysis.report import build, main
from analysis.tables import number
from analysis.verdict import compare, sentences


@pytest.fixture(scope="module")
def page(full, tmp_path_factory):
    out = tmp_path_factory.mktemp("report")
    return build(full.root, out).read_text(encoding="utf-8")


def _verdicts(root):
    return {(c.metric, c.system): c.verdict for c in compare(load(root).table)}


def test_the_right_winner_is_named_and_no_difference_is_declined(full):
    found = _verdicts(full.root)
    assert found["lsd_hf", "token_ce"] == "better"
    assert found["lsd_hf", "sinc"] == "better"
    assert found["lsd_hf", "teacher"] == "worse"
    assert found["lsd_hf", "regression"] == "no clear difference"
    assert found["si_sdr", "sinc"] == "worse"


def test_the_winner_changes_with_the_data(tmp_path):
    found = _verdicts(fill(Tree(tmp_path / "runs"), student=1.7, token_ce=1.3, regression=2.0).root)
    assert found["lsd_hf", "token_ce"] == "worse"
    assert found["lsd_hf", "regression"] == "better"


def test_the_interval_holds_the_difference_that_was_simulated(full):
    gain = next(c.gain for c in compare(load(full.root).table) if (c.metric, c.system) == ("lsd_hf", "token_ce"))
    assert gain.low < 0.5 < gain.high
    assert gain.high - gain.low < 0.3


def test_the_answer_is_a_sentence_with_intervals(page):
    assert re.search(r"In LSD-HF the one-step student is better than token_ce \(by 0\.\d\d \[0\.\d\d,\s0\.\d\d\]\) and sinc", page)
    assert "shows no clear difference from regression" in page


def test_without_a_student_there_is_no_answer(tree):
    tree.run("baselines", tree.rows("b", 0, "sinc", 0, means(5.0, 19.0, 0.1), copies=(False,)), {})
    assert sentences(compare(load(tree.root).table))[0].startswith("No answer")


def test_the_page_stands_alone(page):
    links = re.findall(r'(?:src|href)="([^"]{0,40})', page)
    assert links
    assert all(link.startswith(("data:", "#")) for link in links)
    assert not re.search(r"https?://", page)
    assert not re.search(r"@import|url\((?!data:)", page)


def test_the_page_has_every_figure_player_and_system(page):
    shown = [name for name in NAMES if f'<figure id="{name}">' in page]
    assert page.count("data:image/png;base64,") == len(shown) == page.count("its numbers are in figures/")
    assert {"quality_vs_speed", "tradeoff", "per_sample", "training_loss", "spectrogram_grid"} <= set(shown)
    assert page.count("<audio controls") == 14  # two clips through seven systems
    assert 'class="reference"><th scope="row">codec ceiling' in page
    assert "built-in" not in page


def test_title_note_and_question_come_from_report_json(tmp_path):
    tree = fill(Tree(tmp_path / "runs"), seeds=(0,))
    words = {"title": "Größe <b>", "note": "a demo & no more", "question": "Is it?", "student": "ect-8-0.5"}
    (tree.root / "report.json").write_text(json.dumps(words), encoding="utf-8")
    page = build(tree.root, tmp_path / "out").read_text(encoding="utf-8")
    assert "<h1>Größe &lt;b&gt;</h1>" in page
    assert "a demo &amp; no more" in page
    assert "<code>ect-8-0.5</code> (named by the sweep" in page


def test_a_student_of_report_json_that_does_not_exist_is_warned_of_with_those_that_do(full_copy):
    (full_copy / "report.json").write_text(json.dumps({"student": "ect-9"}))
    told = "report.json names the student 'ect-9', which has no records. Signatures: a"
    assert [f.text for f in load(full_copy).warnings] == [f"{told}. The student's point is chosen by rule."]
    assert told in html.unescape(build(full_copy, full_copy / "out").read_text(encoding="utf-8"))
    assert f"the only point; {told})" in bars(full_copy)


def test_what_is_null_in_report_json_is_not_said(full_copy):
    (full_copy / "report.json").write_text(json.dumps({"title": None, "note": None, "question": None, "student": None}))
    assert ">None<" not in build(full_copy, full_copy / "out").read_text(encoding="utf-8")


def test_a_damaged_report_json_is_named(full_copy):
    (full_copy / "report.json").write_text("{")
    with pytest.raises(ResultsError, match=r"report\.json is not JSON"):
        build(full_copy, full_copy / "out")


@pytest.fixture
def full_copy(tree):
    tree.run("points/a-s0", tree.rows("a", 0, "student", 1, means(1.0, 15.0, 0.1)), config())
    return tree.root


def test_one_seed_few_speakers_and_an_optimised_metric_are_warned_of(tmp_path):
    tree = Tree(tmp_path / "runs", speakers=3)
    page = build(fill(tree, seeds=(0,)).root, tmp_path / "out").read_text(encoding="utf-8")
    assert "Fewer than 3 seeds: regression (1), student (1), token_ce (1)" in page
    assert "3 test speakers, fewer than 5" in page
    assert "regression was trained on MR-STFT; the student was trained on MR-STFT; token_ce was trained on MR-STFT; judge" in page
    assert "8 of 8 points have fewer than 3 seeds" in page
    assert "on the test set itself" in page


def test_test_speakers_seen_in_training_are_warned_of(full_copy):
    folder = full_copy / "corpus"
    folder.mkdir()
    (folder / "manifest.csv").write_text("utterance,speaker,split\na,spk0,train\nb,spk0,test\nc,spk1,test\n")
    assert "No held-out speakers: 1 test speaker" in build(full_copy, full_copy / "out").read_text(encoding="utf-8")


def test_failed_runs_stand_in_the_run_table_and_in_the_warnings(tree):
    for name, state in (("a", "done"), ("b", "failed")):
        rows = tree.rows(name, 0, "student", 1, means(1.0, 15.0, 0.1))
        tree.run(f"points/{name}-s0", rows, config(), state=state, error="out of memory" if state == "failed" else None)
    page = build(tree.root, tree.root / "out").read_text(encoding="utf-8")
    assert "Run points/b-s0 failed at step 200: out of memory" in page
    assert '<span class="state failed">failed</span>' in page


def test_a_metric_with_nan_values_still_gives_a_page(tree):
    rows = list(tree.rows("a", 0, "student", 1, means(1.0, 15.0, 0.1)))
    for row in rows[::3]:
        row[8] = float("nan")
    tree.run("points/a-s0", rows, config())
    assert "are not defined" in build(tree.root, tree.root / "out").read_text(encoding="utf-8")


def test_a_calibrated_loss_is_a_loss_too_and_one_that_is_off_is_not(tmp_path):
    for auto, warned in (({"si_sdr": 0.1}, True), ({}, False)):
        tree = Tree(tmp_path / f"runs-{warned}")
        tree.run("points/a-s0", tree.rows("a", 0, "student", 1, means(1.0, 15.0, 0.1)), config(mr_stft=0.0, auto=auto))
        text = " ".join(f.text for f in cautions(load(tree.root)))
        assert ("the student was trained on SI-SDR; judge" in text) == warned


def test_every_point_stands_in_a_table_of_the_page_and_in_a_file(full, page, tmp_path):
    assert page.count('<th scope="row">ect') == 6
    assert '<th scope="row">ect [8] mr_stft 1' not in page  # one block is named, not listed
    assert '<th scope="row">ect one block' in page
    build(full.root, tmp_path)
    points = pd.read_csv(tmp_path / "points.csv")
    own = points[(points["objective"] == "ect") & (points["steps"] == 4) & points["low_band_copy"]]
    assert len(own) == 6
    assert set(own["seeds"]) == {3}
    assert {"time_network", "time_total", "fine_structure_low", "config.losses.mr_stft"} <= set(points.columns)


def test_the_trade_off_has_a_caption_that_says_how_to_read_it(page):
    assert page.count("the lower left corner is best") == 1


def test_the_worst_clips_and_what_is_missing_are_files_beside_the_page(full, page, tmp_path):
    build(full.root, tmp_path)
    worst, missing = pd.read_csv(tmp_path / "worst.csv"), pd.read_csv(tmp_path / "missing.csv")
    student = worst[worst["system"] == "student"]
    assert (len(student), student["value"].is_monotonic_decreasing) == (10, True)
    assert set(worst["system"]) >= {"teacher", "sinc", "codec_ceiling"}
    assert [f"{value:.2f}" for value in student["value"]] == re.findall(r"student, 1 step <b>([\d.]+)</b>", page)
    assert list(missing.columns) == ["kind", "run", "what", "do"]


def test_the_summary_beside_the_page_holds_the_numbers(full, tmp_path):
    build(full.root, tmp_path)
    summary = pd.read_csv(tmp_path / "summary.csv")
    ceiling = summary[(summary["system"] == "codec_ceiling") & (summary["metric"] == "lsd_hf") & summary["low_band_copy"]]
    assert ceiling["mean"].item() == pytest.approx(0.95, abs=0.2)
    assert set(summary["low_band_copy"]) == {True, False}


@pytest.mark.parametrize(("form", "mark"), [("csv", "system,low-band copy,LSD-HF"), ("md", "| --- |"), ("latex", r"\begin{tabular}")])
def test_the_table_is_written_in_other_formats(full, tmp_path, form, mark):
    text = build(full.root, tmp_path, form=form).read_text(encoding="utf-8")
    assert mark in text
    assert "codec ceiling" in text


def test_csv_has_every_number_in_a_cell_of_its_own_that_a_program_reads(full, tmp_path):
    table = pd.read_csv(build(full.root, tmp_path, form="csv")).set_index(["system", "low-band copy"])
    student = table.loc["student, 1 step", "on"]
    assert student["LSD-HF low"] < student["LSD-HF mean"] < student["LSD-HF high"]
    assert student["HF bias mean"] < 0
    assert all(pd.api.types.is_numeric_dtype(dtype) for dtype in table.dtypes)


@pytest.mark.parametrize(("value", "metric", "text"), [(1.234, "lsd_hf", "1.23"), (-0.004, "lsd_hf", "0.00"), (-3.3, "si_sdr", "−3.30"),
                                                       (0.00042, "time_total", "0.00042"), (0.9991, "stoi", "0.999")])  # fmt: skip
def test_numbers_have_the_digits_of_their_metric(value, metric, text):
    assert number(value, metric) == text


def test_the_command_names_the_page_or_the_reason(full, tmp_path, capsys):
    assert main([str(full.root), "-o", str(tmp_path / "out")]) == 0
    assert capsys.readouterr().out.strip().endswith("index.html")
    assert main([str(tmp_path / "nothing"), "-o", str(tmp_path / "out")]) == 1
    assert "No results folder" in capsys.readouterr().err


def test_a_place_that_cannot_be_written_is_named_with_the_reason(full_copy, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    for command, out in ((main, "file"), (main, "file/in it"), (figures, "file"), (bars_main, "file/bars.md")):
        assert command([str(full_copy), "-o", str(tmp_path / out), *(["--only", "results_table"] if command is figures else [])]) == 1
        told = capsys.readouterr().err
        assert re.match(re.escape(f"{tmp_path / out} cannot be written (") + r"(File exists|Not a directory)\): give -o a place", told)

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import pytest
from synthetic_tree import config, means

from analysis import load
from analysis.page import context, page
from analysis.page_tables import MISSING_ROWS, comparison_table, missing_table, p_text, plain, runs_table
from analysis.players import Audition
from analysis.stats import Interval
from analysis.tables import results
from analysis.verdict import Comparison, compare


@pytest.fixture
def small(tree):
    for name, weight in (("a", 0.5), ("b", 10.0), ("c", 2.0)):
        state, error = ("failed", "out of memory\nTraceback of the failure") if name == "c" else ("done", None)
        rows = tree.rows(name, 0, "student", 1, means(1.0, 15.0, 0.1))
        tree.run(f"points/{name}-s0", rows, config(mr_stft=weight, partition=(1, 7) if name == "b" else (8,)), state=state, error=error)
    return load(tree.root)


def _html(loaded, **words):
    return page(loaded, results(loaded.table), [], {}, Audition(), words)


def test_the_run_table_tells_numbers_from_texts(small):
    assert dict(runs_table(small)["axes"]) == {"blocks.partition": "text", "losses.mr_stft": "number"}


def test_the_run_table_has_the_first_line_of_an_error_and_none_where_there_is_none(small):
    assert {row["run"]: row["error"] for row in runs_table(small)["rows"]} == {
        "points/a-s0": "", "points/b-s0": "", "points/c-s0": "out of memory",
    }  # fmt: skip


def test_a_failed_run_has_no_scores(small):
    scores = {row["run"]: row["scores"] for row in runs_table(small)["rows"]}
    assert scores["points/c-s0"] == ["", ""]
    assert all(float(text) > 0 for text in scores["points/a-s0"])


def test_what_is_missing_is_shown_up_to_a_number_of_rows_with_the_count_of_the_rest(small):
    many = pd.DataFrame({"kind": "seed", "run": [f"r{i}" for i in range(MISSING_ROWS + 7)], "what": "seed 2", "do": "`make <it>`"})
    html = _html(replace(small, missing=many))
    assert html.count('<th scope="row">seed</th>') == MISSING_ROWS
    assert "And 7 more, in missing.csv." in html
    assert f"Missing ({MISSING_ROWS + 7})" in html
    assert "<code>make &lt;it&gt;</code>" in html


def test_of_a_whole_sweep_nothing_is_missing_on_the_page(small):
    assert missing_table(small.missing.head(0)) == {"rows": [], "count": 0, "rest": 0}
    assert "What is missing" not in _html(replace(small, missing=small.missing.head(0)))


def test_what_is_missing_stands_above_the_warnings(small):
    html = _html(small)
    assert 0 < html.index("What is missing</h2>") < html.index("<h2>Warnings")


@dataclass(frozen=True)
class Corrected(Comparison):
    """A comparison whose p is known."""

    p_holm: float = 0.012


def test_the_comparison_has_holms_p_and_the_page_says_what_is_corrected(full):
    gain = Interval(0.3, 0.1, 0.5, 6, 3, "t")
    table = comparison_table([Corrected("lsd_hf", "sinc", "sinc", gain), Corrected("si_sdr", "sinc", "sinc", gain)])
    assert table["metrics"] == ["LSD-HF", "SI-SDR (dB)"]
    assert [cell["p"] for cell in table["rows"][0]["cells"]] == ["= 0.012"] * 2
    assert table["corrected"]
    loaded = load(full.root)
    known = comparison_table(compare(loaded.table))["corrected"]
    html = _html(loaded)
    assert ("Verdicts are corrected by Holm’s method" in html) == known
    assert ("p (Holm)" in html) == known


@pytest.mark.parametrize(("p", "text"), [(0.0004, "< 0.001"), (0.0123, "= 0.012"), (0.34, "= 0.34"), (1.0, "= 1.00"), (math.nan, "")])
def test_p_values_have_the_digits_that_matter(p, text):
    assert p_text(p) == text


@pytest.mark.parametrize(("value", "text"), [(None, ""), (np.nan, ""), (0.50, "0.5"), (3, "3"), ("[1, 1]", "[1,1]"), ("a b", "a b")])
def test_settings_are_written_plainly(value, text):
    assert plain(value) == text


def test_an_interval_stays_on_one_line_with_its_unit(full):
    answers = context(load(full.root), results(load(full.root).table), {})["answers"]
    assert "]\u00a0dB" in answers[1]
    words = [word for answer in answers for word in answer.split(" ") if "[" in word]
    assert words
    assert all("]" in word for word in words)


def test_words_from_outside_cannot_become_markup(small):
    html = _html(small, title="<script>alert(1)</script>", question="a `b` <i>")
    assert "<script>alert(1)" not in html
    assert "<i>" not in html


def test_the_page_forbids_itself_every_request(small):
    assert "default-src 'none'" in _html(small)

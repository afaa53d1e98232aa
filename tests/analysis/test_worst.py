from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from synthetic_tree import config

from analysis import load
from analysis.worst import with_cutoffs, worst_clips
from lcm.records import UNITS

CLIPS = ("a", "b", "c", "d")


def _rows(signature, seed, system, steps, values, metric="lsd_hf", copy=True):
    return [
        [signature, seed, system, clip, f"speaker of {clip}", steps, copy, metric, float(value), UNITS[metric], 1]
        for clip, value in zip(CLIPS, values, strict=True)
    ]  # fmt: skip


@pytest.fixture
def table(tree):
    """A student of two seeds with raw scores, further steps and a rival point that would all give another order."""
    for seed, values in enumerate(([1.0, 3.0, 2.0, 1.4], [1.2, 3.2, 2.2, 1.6])):
        rows = [
            *_rows("s", seed, "student", 1, values), *_rows("s", seed, "student", 1, [9, 1, 1, 1], copy=False),
            *_rows("s", seed, "student", 4, [1, 1, 1, 9]), *_rows("s", seed, "student", 1, [2.0, 8.0, -4.0, 6.0], "si_sdr"),
            *_rows("s", seed, "student", 1, [0.5, -0.1, -3.0, 2.0], "hf_bias"),
        ]  # fmt: skip
        tree.run(f"points/s-s{seed}", rows, config())
    rows = [*_rows("b", 0, "teacher", 8, [7, 7, 7, 7]), *_rows("b", 0, "teacher", 16, [0.5, 0.6, 0.7, 0.8])]
    tree.run("baselines", [*rows, *_rows("b", 0, "sinc", 0, [5, 5.1, 5.2, 5.3], copy=False)])
    return load(tree.root).table


def _order(worst):
    return worst.drop_duplicates("rank")["utterance"].tolist()


def test_the_worst_clip_comes_first_by_the_mean_over_seeds_at_one_step_with_low_band_copy(table):
    worst = worst_clips(table)
    student = worst[worst["system"] == "student"]
    assert student["utterance"].tolist() == ["b", "c", "d", "a"]
    assert student["value"].tolist() == pytest.approx([3.1, 2.1, 1.5, 1.1])
    assert student["rank"].tolist() == [1, 2, 3, 4]
    assert set(student["seeds"]) == {2}
    assert set(student["steps"]) == {1}


def test_every_system_is_given_for_each_clip_at_its_most_steps(table):
    first = worst_clips(table).query("rank == 1")
    assert first[["system", "steps"]].to_numpy().tolist() == [["student", 1], ["teacher", 16], ["sinc", 0]]
    assert first["value"].tolist() == pytest.approx([3.1, 0.6, 5.1])
    assert set(first["speaker"]) == {"speaker of b"}


def test_worst_is_what_the_metric_calls_worse(table):
    assert _order(worst_clips(table, metric="si_sdr")) == ["c", "a", "d", "b"]
    assert _order(worst_clips(table, metric="hf_bias")) == ["c", "d", "a", "b"]


def test_only_as_many_clips_as_are_wanted_and_equal_ones_by_their_id(table, tree):
    assert _order(worst_clips(table, count=2)) == ["b", "c"]
    tree.run("points/t-s0", _rows("t", 0, "student", 1, [1, 2, 2, 1]), config(mr_stft=0.5))
    assert _order(worst_clips(load(tree.root).table, "t")) == ["b", "c", "a", "d"]


def test_a_clip_without_a_value_is_no_failure_and_without_a_student_there_is_none(tree):
    tree.run("baselines", _rows("b", 0, "sinc", 0, [1, 2, 3, 4], copy=False))
    assert worst_clips(load(tree.root).table).empty
    tree.run("points/s-s0", _rows("s", 0, "student", 1, [1.0, np.nan, 3.0, 2.0]), config())
    assert _order(worst_clips(load(tree.root).table)) == ["c", "d", "a"]


def test_cutoffs_are_joined_where_the_runs_agree_on_them(table):
    facts = pd.DataFrame({"utterance": ["a", "a", "b", "b", "c"], "cutoff_hz": [4000.0, 4000.0, 5000.0, 5500.0, 6000.0]})
    found = with_cutoffs(worst_clips(table), facts).drop_duplicates("utterance").set_index("utterance")["cutoff_hz"]
    assert found[["a", "c"]].tolist() == [4000.0, 6000.0]
    assert found[["b", "d"]].isna().all()

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from synthetic_tree import config, means

from analysis import load
from analysis.choose import choose_student, headline_rows, headline_steps, point_axes, point_rows, points_of_runs, prefer_copy, select

SYSTEMS = ("student", "teacher", "sinc", "regression")


def records(seed, categories, versions=1):
    generator = np.random.default_rng(seed)
    table = pd.DataFrame({
        "system": generator.choice(SYSTEMS, 300), "signature": generator.choice([f"p{i}" for i in range(6)], 300),
        "metric": generator.choice(["lsd_hf", "si_sdr"], 300), "low_band_copy": generator.random(300) < 0.2,
        "value": generator.normal(size=300), "steps": generator.choice([0, 1, 2, 18], 300), "seed": generator.integers(0, 3, 300),
        "protocol": generator.integers(0, versions, 300), "utterance": generator.choice(["u", "v"], 300),
    })  # fmt: skip
    table["config.a"] = table["signature"].map(lambda s: int(s[1:]) % 3)
    table["config.b"] = table["signature"].map(lambda s: ["x", None, "y"][int(s[1:]) % 3])
    table["config.c"] = "same"
    return table.astype(dict.fromkeys(["system", "signature", "metric", "config.a", "config.b"], "category")) if categories else table


@pytest.fixture(params=[(seed, kind) for seed in range(3) for kind in (False, True)], ids=str)
def table(request):
    return records(*request.param)


def test_low_band_copy_is_preferred_for_each_system_and_metric_that_has_it(table):
    has = table.groupby(["system", "metric"], observed=True)["low_band_copy"].transform("any")
    pd.testing.assert_frame_equal(prefer_copy(table), table[table["low_band_copy"] | ~has])


def test_the_headline_is_one_step_of_the_student_and_the_most_of_each_other_point(table):
    most = table.groupby(["system", "signature"], observed=True)["steps"].transform("max")
    wanted = most.where(table["system"] != "student", 1)
    pd.testing.assert_frame_equal(headline_steps(table), table[table["steps"] == wanted])


def test_the_axes_of_the_points_are_those_that_vary(table):
    assert point_axes(table) == point_axes(point_rows(table)) == ["config.a", "config.b"]
    assert point_axes(table[table["system"] == "sinc"]) == []


def test_there_is_one_row_for_each_point_the_first(table):
    pd.testing.assert_frame_equal(point_rows(table), table.drop_duplicates(["system", "signature"]))


def test_of_several_protocol_versions_the_newest_alone_is_selected(table):
    mixed = records(1, categories=True, versions=3)
    kept = select(mixed, system=("student", "nobody"), metric=["lsd_hf"])
    assert set(kept["protocol"]) == set(point_rows(mixed)["protocol"]) == set(headline_rows(mixed)[0]["protocol"]) == {2}
    assert len(kept) == ((mixed["protocol"] == 2) & (mixed["system"] == "student") & (mixed["metric"] == "lsd_hf")).sum()


def test_one_point_stands_for_each_system(table):
    rows, chosen = headline_rows(table)
    assert rows.groupby("system", observed=True)["signature"].nunique().eq(1).all()
    assert set(rows["signature"][rows["system"] == "student"]) == {chosen.signature}
    assert set(rows["system"]) == set(table["system"])


def test_a_table_without_rows_has_no_point(table):
    empty = table.iloc[:0]
    assert headline_rows(empty)[1].signature == ""
    assert prefer_copy(empty).empty
    assert headline_steps(empty).empty


def test_the_student_of_a_sweep_around_a_centre_is_its_centre(tree):
    for name, partition, weight in (("a", (8,), 1.0), ("b", (8,), 0.5), ("c", (4, 4), 1.0)):
        tree.run(f"points/{name}-s0", tree.rows(name, 0, "student", 1, means(1.0, 15.0, 0.1)), config(partition=partition, mr_stft=weight))
    chosen = choose_student(load(tree.root).table)
    assert (chosen.signature, chosen.on_test) == ("a", False)


def test_the_student_of_a_full_grid_is_the_best_one_and_that_is_said(full):
    chosen = choose_student(load(full.root).table)
    assert chosen.signature in ("ect-4-4-1.0", "ect-1-1-2-4-1.0")
    assert chosen.on_test


def test_a_run_without_records_belongs_to_the_point_in_its_folders_name(tree):
    tree.run("points/größe-s1-s0", tree.rows("größe-s1", 0, "student", 1, means(1.0, 15.0, 0.1)), config())
    tree.run("points/größe-s1-s1", tree.rows("größe-s1", 1, "student", 1, means(1.0, 15.0, 0.1)), config(), state="failed")
    assert list(points_of_runs(load(tree.root).runs)) == ["größe-s1", "größe-s1"]

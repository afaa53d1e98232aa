from __future__ import annotations

import json

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from synthetic_tree import Tree, config, fill, means

from analysis import ResultsError, load
from analysis.table import current_protocol


def _one(tree, name="points/a-s0", signature="a", seed=0, **kwargs):
    return tree.run(name, tree.rows(signature, seed, "student", 1, means(1.0, 15.0, 0.1)), config(), **kwargs)


def _texts(results, level=None):
    return " ".join(f.text for f in results.warnings if level in (None, f.level))


def test_every_record_of_a_finished_run_is_in_the_table_once(full):
    table = load(full.root).table
    assert len(table) == sum(pq.read_metadata(path).num_rows for path in full.root.rglob("records.parquet"))
    assert not table.duplicated(["run", "system", "utterance", "steps", "low_band_copy", "metric"]).any()


def test_configuration_that_varies_is_joined_by_its_dotted_key(full):
    table = load(full.root).table
    of_run = table[table["run"] == "points/ect-4-4-0.5-s1"].iloc[0]
    assert of_run["config.blocks.partition"] == "[4, 4]"
    assert of_run["config.losses.mr_stft"] == 0.5


def test_seeds_are_not_an_axis(full):
    assert not [c for c in load(full.root).table.columns if c.endswith(".seed")]


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(ResultsError, match="nowhere"):
        load(tmp_path / "nowhere")


def test_an_empty_folder_says_what_to_do_next(tmp_path):
    with pytest.raises(ResultsError, match="Run an evaluation first"):
        load(tmp_path)


def test_a_failed_run_is_named_with_its_first_error_line_and_left_out(tree):
    _one(tree)
    _one(tree, "points/b-s0", "b", state="failed", error="loss term mr_stft is NaN\nmore")
    results = load(tree.root)
    assert "points/b-s0 failed at step 200: loss term mr_stft is NaN." in _texts(results, "error")
    assert set(results.table["signature"]) == {"a"}
    assert set(results.runs["state"]) == {"done", "failed"}


def test_a_run_that_died_before_its_records_is_named(tree):
    _one(tree)
    (_one(tree, "points/b-s0", "b", state="running") / "records.parquet").unlink()
    assert "points/b-s0 is not finished" in _texts(load(tree.root), "warning")


def test_a_half_written_parquet_file_is_named_and_the_rest_is_analysed(tree):
    _one(tree)
    broken = _one(tree, "points/b-s0", "b") / "records.parquet"
    broken.write_bytes(broken.read_bytes()[:200])
    results = load(tree.root)
    assert "points/b-s0 is left out" in _texts(results, "error")
    assert set(results.table["signature"]) == {"a"}


def test_records_of_another_schema_are_named_and_the_rest_is_analysed(tree):
    _one(tree)
    pd.DataFrame({"name": ["x"], "score": [1.0]}).to_parquet(_one(tree, "points/b-s0", "b") / "records.parquet")
    results = load(tree.root)
    assert "schema" in _texts(results, "error")
    assert set(results.table["signature"]) == {"a"}


def test_a_damaged_status_file_is_named_and_its_records_are_kept(tree):
    (_one(tree) / "status.json").write_text('{"state": "do')
    results = load(tree.root)
    assert "status.json cannot be read" in _texts(results, "warning")
    assert len(results.table)


def test_values_that_are_not_defined_are_counted_by_system_and_metric(tree):
    rows = list(tree.rows("a", 0, "student", 1, {"lsd_hf": 1.0}))
    rows[0][8] = rows[1][8] = float("nan")
    tree.run("points/a-s0", rows, config())
    assert "2 of 48 values of lsd_hf for student are not defined" in _texts(load(tree.root))


def test_mixed_protocols_are_an_error_and_only_the_newest_is_current(tree):
    _one(tree)
    tree.protocol = 2
    _one(tree, "points/b-s0", "b")
    results = load(tree.root)
    assert "Mixed protocol versions 1, 2" in _texts(results, "error")
    assert set(current_protocol(results.table)["signature"]) == {"b"}


def test_a_duplicate_signature_and_seed_counts_once_and_both_places_are_named(tree):
    _one(tree)
    _one(tree, "copy of points/a-s0")
    results = load(tree.root)
    assert "copy of points/a-s0, points/a-s0" in _texts(results, "warning")
    assert not results.table.duplicated(["signature", "seed", "utterance", "metric", "low_band_copy"]).any()


def test_of_twins_with_different_clips_and_metrics_the_first_named_is_used_alone(tree):
    rows = list(tree.rows("a", 0, "student", 1, {"lsd_hf": 1.0}, copies=(True,)))
    tree.run("points/a-s0", [r for r in rows if r[4] != "spk5"], config())
    more = tree.rows("a", 0, "student", 1, {"si_sdr": 15.0}, copies=(True,))
    tree.run("points2/a-s0", [*([*r[:8], r[8] + 100, *r[9:]] for r in rows), *more], config())
    results = load(tree.root)
    assert "Duplicate signature and seed in points/a-s0, points2/a-s0: of what both scored, the first alone" in _texts(results, "warning")
    assert (set(results.table["run"]), set(results.table["metric"]), len(results.table)) == ({"points/a-s0"}, {"lsd_hf"}, 20)
    assert results.table["value"].max() < 50


def test_a_value_that_stands_twice_in_one_run_counts_once(tree):
    path = _one(tree) / "records.parquet"
    once = pq.read_table(path)
    pq.write_table(pa.concat_tables([once, once.slice(0, 3)]), path)
    results = load(tree.root)
    assert "Records that stand twice in points/a-s0" in _texts(results, "warning")
    assert len(results.table) == len(once)


def test_another_protocols_run_of_the_same_point_is_no_duplicate(tree):
    _one(tree)
    tree.protocol = 2
    _one(tree, "again/a-s0")
    results = load(tree.root)
    assert "Duplicate" not in _texts(results)
    assert set(current_protocol(results.table)["run"]) == {"again/a-s0"}


def test_a_run_without_some_of_the_test_clips_is_named(tree):
    _one(tree)
    tree.clips = 3
    _one(tree, "points/b-s0", "b")
    assert "points/b-s0 6 of 24 clips missing: spk0_utt3, spk1_utt3, spk2_utt3 and 3 more" in _texts(load(tree.root), "warning")


def test_unicode_and_spaces_in_names_are_kept(tmp_path):
    tree = Tree(tmp_path / "Läufe 試験")
    _one(tree, "points/größe α-s0", "größe α")
    assert set(load(tree.root).table["signature"]) == {"größe α"}


def test_provenance_is_kept_by_run(tree):
    (_one(tree) / "provenance.json").write_text(json.dumps({"commit": "f00"}))
    assert load(tree.root).provenance["points/a-s0"]["commit"] == "f00"


def test_loading_reads_the_same_table_whatever_the_order_of_writing(tmp_path):
    trees = [Tree(tmp_path / name) for name in "xy"]
    for tree, names in zip(trees, ("ab", "ba"), strict=True):
        for name in names:
            _one(tree, f"points/{name}-s0", name)
    first, second = (load(tree.root).table.astype(str) for tree in trees)
    pd.testing.assert_frame_equal(first, second)


def test_the_synthetic_sweep_has_the_effects_it_was_given(tmp_path):
    table = load(fill(Tree(tmp_path / "r", clips=8), seeds=(0,)).root).table
    rows = table[(table["metric"] == "lsd_hf") & table["low_band_copy"] & (table["steps"] == 1)]
    level = rows.groupby("signature", observed=True)["value"].mean()
    assert level["ect-8-1.0"] - level["ect-4-4-1.0"] == pytest.approx(0.25, abs=0.07)


def test_a_run_without_its_config_does_not_keep_the_page_from_being_made(tmp_path):
    """Its settings are missing values in the table."""
    from analysis.figures import draw_all
    from analysis.tables import results

    tree = fill(Tree(tmp_path / "runs"), seeds=(0, 1))
    for folder in tree.root.glob("points/ect-8-0.5-s*"):
        (folder / "config.yaml").write_text("x: [1")
    loaded = load(tree.root)
    drawn = {d.name: d for d in draw_all(loaded)}
    assert set(drawn["metric_by_blocks"].data["config.blocks.partition"]) == {"[8]", "[4, 4]", "[1, 1, 2, 4]"}
    assert drawn["tradeoff"].data["label"].str.contains("none").any()
    assert len(results(loaded.table))

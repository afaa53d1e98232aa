from __future__ import annotations

import json
import shlex
from dataclasses import asdict

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from synthetic_tree import Tree, config, fill, means

from analysis import ResultsError, lazy, load
from lcm.paths import Root, write_text


def _point(tree, name, signature="a", seed=0, own=None, **kwargs):
    rows = tree.rows(signature, seed, "student", 1, means(1.0, 15.0, 0.1))
    return tree.run(f"points/{name}", rows, own or config(), **kwargs)


def _missing(tree, kind):
    found = load(tree.root).missing
    return [tuple(row) for row in found[found["kind"] == kind][["run", "what"]].to_numpy()]


def test_nothing_is_missing_from_a_whole_sweep(full):
    results = load(full.root)
    assert results.missing.empty
    assert not [f for f in results.warnings if "Missing" in f.text]


def test_a_seed_that_most_points_have_is_missing_by_name(tmp_path):
    tree = fill(Tree(tmp_path / "runs"))
    for path in (tree.root / "points" / "ect-8-1.0-s2").iterdir():
        path.unlink() if path.is_file() else None
    ((run, what),) = _missing(tree, "seed")
    assert run.startswith("points/ect-8-1.0")
    assert what == "student ect-8-1.0 has no seed 2, which most points have"


def test_a_failed_and_a_running_point_are_missing_with_their_state(tree):
    _point(tree, "a-s0")
    _point(tree, "b-s0", "b", state="failed", error="LcmError: boom\nmore")
    (_point(tree, "c-s0", "c", state="running") / "records.parquet").unlink()
    assert _missing(tree, "point") == [
        ("points/b-s0", "failed at step 200 of 200: LcmError: boom"),
        ("points/c-s0", "running at step 200 of 200"),
    ]


@pytest.mark.parametrize("state", ["running", "interrupted", "stopped", "trained", "some later state"])
def test_a_point_that_is_neither_done_nor_failed_is_missing_and_warned_of_by_its_state(tree, state):
    _point(tree, "a-s0")
    _point(tree, "b-s0", "b", state=state)
    results = load(tree.root)
    assert set(results.table["signature"]) == {"a"}
    assert _missing(tree, "point") == [("points/b-s0", f"{state} at step 200 of 200")]
    assert f"Run points/b-s0 is not finished ({state}, step 200 of 200)" in " ".join(f.text for f in results.warnings)


def test_a_point_that_was_submitted_and_has_not_begun_is_missing_by_its_overrides(tree):
    from sweeps.sweep.record import Sweep, SweepPoint

    _point(tree, "a-s0")
    points = [SweepPoint(n, f"blocks.partition=[{n}] seed=0", 0, f"key{n}", name) for n, name in ((0, "a-s0"), (1, "b-s0"))]
    sweep = Sweep("20250101-x", "label", "now", "command", "commit", [], points=points)
    write_text(Root(tree.root).sweep(sweep.name).record, json.dumps(asdict(sweep)))
    ((run, what),) = _missing(tree, "point")
    assert run == "b-s0"
    assert "blocks.partition=[1] seed=0 (number 1 of sweep 20250101-x) was submitted and has not begun" in what


def test_a_damaged_sweep_record_is_named_and_the_rest_is_analysed(tree):
    _point(tree, "a-s0")
    write_text(Root(tree.root).sweep("x").record, "{")
    assert "sweep x has submitted is not known" in _missing(tree, "point")[0][1]


def test_a_hole_in_a_grid_is_named_by_its_settings(tree):
    for number, (partition, weight) in enumerate([((8,), 0.0), ((8,), 1.0), ((4, 4), 0.0)]):
        _point(tree, f"p{number}-s0", f"p{number}", own=config("ect", partition, weight))
    ((_, what),) = _missing(tree, "point")
    assert what == "the grid has no point blocks.partition=[4, 4] losses.mr_stft=1.0"


def test_the_command_for_a_hole_is_one_that_a_shell_and_hydra_read(tree):
    for number, (partition, weight) in enumerate([((8,), 0.0), ((8,), 1.0), ((4, 4), 0.0)]):
        _point(tree, f"p{number}-s0", f"p{number}", own=config("ect", partition, weight))
    (do,) = load(tree.root).missing["do"]
    command = do.split("`")[1]
    assert command == "python -m sweeps.run 'blocks.partition=[4,4]' losses.mr_stft=1.0"
    parsed = OverridesParser.create().parse_overrides(shlex.split(command)[3:])
    assert [(one.key_or_group, one.value()) for one in parsed] == [("blocks.partition", [4, 4]), ("losses.mr_stft", 1.0)]


def test_a_star_of_single_changes_has_no_holes(tree):
    settings = [((8,), 0.0, 200), ((4, 4), 0.0, 200), ((8,), 1.0, 200), ((8,), 0.0, 400)]
    for number, (partition, weight, steps) in enumerate(settings):
        _point(tree, f"p{number}-s0", f"p{number}", own=config("ect", partition, weight, steps=steps))
    assert _missing(tree, "point") == []


def test_clips_that_other_runs_have_are_missing_by_name(tree):
    _point(tree, "a-s0")
    _point(tree, "b-s0", "b")
    tree.clips = 3
    _point(tree, "c-s0", "c")
    ((run, what),) = _missing(tree, "utterance")
    assert run == "points/c-s0"
    assert what.startswith("6 of 24 clips missing: spk0_utt3, spk1_utt3, spk2_utt3 and 3 more")


def test_a_metric_that_other_runs_have_is_missing_by_name(tree):
    _point(tree, "a-s0")
    rows = [r for r in tree.rows("b", 0, "student", 1, means(1.0, 15.0, 0.1)) if r[7] != "stoi"]
    tree.run("points/b-s0", rows, config())
    assert _missing(tree, "metric") == [("points/b-s0", "has no stoi, which other runs have")]


def test_an_older_protocol_is_listed_with_its_run(tree):
    _point(tree, "a-s0")
    tree.protocol = 2
    _point(tree, "b-s0", "b")
    assert _missing(tree, "protocol") == [("points/a-s0", "scored by protocol 1, others by 2; never averaged together")]


def test_another_test_set_under_the_same_names_is_found_by_its_identity(tree):
    for name, store in (("a", "x"), ("b", "x"), ("c", "y")):
        folder = _point(tree, f"{name}-s0", name)
        (folder / "provenance.json").write_text(json.dumps({"contents": {"manifest": "m", "store": store}}))
    assert [run for run, _ in _missing(tree, "test set")] == ["points/c-s0"]


def test_what_is_missing_is_warned_of_once_a_kind(tree):
    _point(tree, "a-s0")
    for name in "bcd":
        rows = [r for r in tree.rows(name, 0, "student", 1, means(1.0, 15.0, 0.1)) if r[7] != "stoi"]
        tree.run(f"points/{name}-s0", rows, config())
    (text,) = [f.text for f in load(tree.root).warnings if f.text.startswith("Missing")]
    assert text.startswith("Missing metrics (3): points/b-s0 has no stoi")


def test_a_few_metrics_can_be_read_alone(full):
    table = load(full.root, metrics=["lsd_hf"]).table
    assert set(table["metric"]) == {"lsd_hf"}
    assert len(table) == (load(full.root).table["metric"] == "lsd_hf").sum()


def test_a_metric_that_nobody_scored_is_refused_with_those_there_are(full):
    with pytest.raises(ResultsError, match=r"No record of pesq below .*: metrics there are fine_structure, frechet_hf, "):
        load(full.root, metrics=["pesq"])


def test_a_lazy_frame_answers_without_loading_all(full):
    import polars as pl

    scores = lazy(full.root).filter(pl.col("metric") == "lsd_hf", pl.col("system") == "sinc").select("value").collect()
    assert scores["value"].mean() == pytest.approx(5.1, abs=0.3)


def test_a_file_with_other_types_is_left_out_by_name(tree):
    import pyarrow as pa
    import pyarrow.parquet as pq

    _point(tree, "a-s0")
    path = _point(tree, "b-s0", "b") / "records.parquet"
    table = pq.read_table(path)
    pq.write_table(table.set_column(table.schema.get_field_index("seed"), "seed", table["seed"].cast(pa.int32())), path)
    results = load(tree.root)
    assert set(results.table["signature"]) == {"a"}
    assert "points/b-s0 is left out: records.parquet: its columns are not of the types" in " ".join(f.text for f in results.warnings)


def test_page_damage_inside_a_file_leaves_that_run_out_alone(tree):
    _point(tree, "a-s0")
    path = _point(tree, "b-s0", "b") / "records.parquet"
    content = bytearray(path.read_bytes())
    content[4:400] = b"\xff" * 396  # the footer stays whole
    path.write_bytes(content)
    results = load(tree.root)
    assert set(results.table["signature"]) == {"a"}
    assert "Run points/b-s0 is left out" in " ".join(f.text for f in results.warnings if f.level == "error")


def test_a_failed_point_of_a_grid_is_no_hole_too(tree):
    for number, (partition, weight) in enumerate([((8,), 0.0), ((8,), 1.0), ((4, 4), 0.0), ((4, 4), 1.0)]):
        _point(tree, f"p{number}-s0", f"p{number}", own=config("ect", partition, weight), state="failed" if number == 3 else "done")
    assert [what for _, what in _missing(tree, "point")] == ["failed at step 200 of 200: no reason was written"]


def test_a_loss_that_an_older_config_does_not_name_is_off_and_no_level_of_its_own(tree):
    for number, (partition, weight) in enumerate([((8,), 0.0), ((8,), 1.0), ((4, 4), 0.0), ((4, 4), 1.0)]):
        own = config("ect", partition, weight)
        if not weight:
            del own["losses"]["mr_stft"]
        _point(tree, f"p{number}-s0", f"p{number}", own=own)
    assert _missing(tree, "point") == []


@pytest.mark.parametrize("text", ["a: !!set {x, y}\n", f"seed: {2**70}\nlosses: {{mr_stft: {2**80}}}\n", "a: " + "[" * 3000 + "]" * 3000])
def test_an_odd_config_does_not_keep_the_others_from_being_read(tree, text):
    _point(tree, "a-s0")
    (_point(tree, "b-s0", "b") / "config.yaml").write_text(text)
    assert set(load(tree.root).table["signature"]) == {"a", "b"}


def test_linked_run_folders_are_read_once(tree, tmp_path):
    folder = _point(tree, "a-s0")
    moved = tmp_path / "elsewhere"
    folder.rename(moved)
    folder.symlink_to(moved)
    (tree.root / "points" / "loop").symlink_to(tree.root)
    assert set(load(tree.root).runs["run"]) == {"points/a-s0"}


def test_a_folder_goes_by_its_own_name_and_not_by_a_links(tree):
    _point(tree, "a-s0")
    for name in ("n", "z", "b", "m"):
        (tree.root / name).symlink_to("points")
    assert load(tree.root).runs["run"].tolist() == ["points/a-s0"]


def test_of_several_links_to_a_folder_the_first_by_name_is_used(tree, tmp_path):
    _point(tree, "a-s0").parent.rename(tmp_path / "elsewhere")
    for name in ("n", "z", "b", "m"):
        (tree.root / name).symlink_to(tmp_path / "elsewhere")
    assert load(tree.root).runs["run"].tolist() == ["b/a-s0"]

import json
import subprocess
import sys
from dataclasses import replace

import pytest
import yaml

from lcm.codec import CodecConfig
from lcm.errors import LcmError
from lcm.network import NetworkConfig
from lcm.records import read_records
from lcm.store import Store
from sweeps.config import BlocksConfig
from sweeps.demo import commands, corpus_overrides, default_root, quote
from sweeps.point import headline, run_point

TINY = ["corpus.demo_voices=3", "corpus.demo_utterances=2", "shards=2", "network.width=32", "network.depth=1", "network.heads=2"]
SHORT = ["train.steps=2", "train.batch=2", "train.checkpoint_every=1", "evaluate.steps=[1]", "evaluate.max_utterances=1", "init=none"]



@pytest.fixture(scope="session")
def run(tiny):
    return run_point(tiny)


def test_a_point_leaves_config_status_provenance_model_scalars_and_records(run):
    assert run.read_status()["state"] == "done"
    for path in (run.config, run.provenance, run.last, run.model, run.scalars, run.records):
        assert path.exists(), path
    assert yaml.safe_load(run.config.read_text())["train"]["steps"] == 2
    assert json.loads(run.provenance.read_text())["packages"]["torch"]


def test_the_folder_is_named_by_the_signature_in_the_records(run):
    assert run.folder.name == f"{read_records(run.records).signature.iloc[0]}-s0"


def test_a_student_is_scored_at_each_number_of_steps_with_and_without_low_band_copy(run):
    table = read_records(run.records)
    assert set(zip(table.steps, table.low_band_copy, strict=True)) == {(1, False), (1, True), (2, False), (2, True)}
    assert set(table.system) == {"student"}
    assert headline(run) > 0


def test_baselines_of_the_same_test_set_stand_beside_the_point(run):
    table = read_records(run.folder.parents[1] / "baselines" / "records.parquet")
    assert set(table.system) == {"sinc", "linear", "zero_order_hold", "degraded_codes", "codec_ceiling"}
    assert set(table.utterance) == set(read_records(run.records).utterance)
    assert list((run.folder.parents[1] / "baselines").glob("samples/*/ground_truth.flac"))


def test_the_codes_store_holds_original_and_degraded_codes_with_their_degradation(run):
    store = Store(run.folder.parents[1] / "codes")
    key = store.keys[0]
    assert store.read(key, "hr").shape == store.read(key, "lr0").shape == (store.frames(key), 8)
    assert store.meta(key)["degradations"] == [{"cutoff_hz": 6000.0, "family": "resample", "order": 0}]
    assert store.frames(key) == -(-store.meta(key)["samples"] // 320)


def test_stores_are_read_from_the_nodes_own_disk_where_one_is_named(run, tiny, tmp_path):
    from sweeps.prepare import prepare

    near = prepare(replace(tiny, scratch=str(tmp_path)))
    assert near.store.folder.parent == tmp_path
    assert near.contents == prepare(tiny).contents


def test_the_same_call_again_does_nothing(run, tiny):
    before = {p: p.stat().st_mtime_ns for p in run.folder.rglob("*")}
    assert run_point(tiny) == run
    assert {p: p.stat().st_mtime_ns for p in run.folder.rglob("*")} == before


def test_new_evaluation_settings_score_the_trained_model_again_without_training(run, tiny):
    trained = run.model.stat().st_mtime_ns
    run_point(replace(tiny, evaluate=replace(tiny.evaluate, steps=[1])))
    assert set(read_records(run.records).steps) == {1}
    assert run.model.stat().st_mtime_ns == trained
    run_point(tiny)


def test_a_failed_point_says_so_on_disk_and_raises(tiny, run, monkeypatch):
    def burst(*_args, **_kwargs):
        raise RuntimeError("the disk is full\nof sand")

    monkeypatch.setattr("sweeps.point.trained", burst)
    broken = replace(tiny, seed=5)
    with pytest.raises(RuntimeError, match="the disk is full"):
        run_point(broken)
    status = json.loads((run.folder.parent / f"{run.folder.name[:-3]}-s5" / "status.json").read_text())
    assert status["state"] == "failed"
    assert status["error"] == "RuntimeError: the disk is full"


def test_a_debug_run_is_short_and_out_of_the_reports_sight(tiny):
    debug = run_point(replace(tiny, debug=True, blocks=BlocksConfig([2, 6])))
    assert debug.folder.parent.name == "debug"


def test_a_partition_that_does_not_fit_is_refused_before_training(tiny):
    with pytest.raises(LcmError, match=r"blocks\.partition=\[4, 5\]"):
        run_point(replace(tiny, blocks=BlocksConfig([4, 5])))


def test_missing_codec_weights_stop_the_run_with_what_to_fetch(tiny, tmp_path):
    with pytest.raises(LcmError, match="encodec_24khz-d7cc33bc"):
        run_point(replace(tiny, root=str(tmp_path), codec=CodecConfig("encodec_24khz", folder=str(tmp_path))))


@pytest.mark.slow
def test_a_multirun_from_the_command_line_runs_every_point(run, root):
    axes = ["seed=0,1", "losses.mr_stft=0.0,0.1"]
    subprocess.run([sys.executable, "-m", "sweeps.run", "--multirun", f"root={quote(str(root))}", *TINY, *SHORT, *axes], check=True)
    done = [json.loads(p.read_text()) for p in (root / "points").glob("*/status.json")]
    assert sum(s["state"] == "done" and s["steps"] == 2 for s in done) >= 4


@pytest.mark.slow
def test_an_error_for_the_user_ends_the_command_without_a_traceback(root):
    command = [sys.executable, "-m", "sweeps.run", f"root={quote(str(root))}", *TINY, *SHORT, "blocks.partition=[3]"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "blocks.partition=[3] must be positive sizes" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_demo_refuses_folders_that_do_not_exist(tmp_path):
    with pytest.raises(SystemExit, match=r"SPEECH=.*is not a folder"):
        corpus_overrides(tmp_path / "none", None)
    with pytest.raises(SystemExit, match="TEST is given without SPEECH"):
        corpus_overrides(None, tmp_path)


def test_each_folder_of_speech_gets_a_root_of_its_own(tmp_path):
    assert str(default_root(None, None)) == "runs/demo"
    roots = {default_root(tmp_path / a, b) for a in ("x", "y") for b in (None, tmp_path)}
    assert len(roots) == 4


def test_a_setting_that_the_teacher_fixes_is_refused(tiny, tmp_path):
    config = replace(tiny, root=str(tmp_path), init="teacher", network=NetworkConfig(window=7))
    with pytest.raises(LcmError, match=r"network\.window=7 differs from the teacher's 32: set init=none"):
        run_point(config)


def test_odd_folder_names_survive_hydras_grammar(tmp_path):
    from hydra.core.override_parser.overrides_parser import OverridesParser

    odd = tmp_path / "it's a {strange}, [name]=é"
    odd.mkdir()
    override = corpus_overrides(odd, None)[1]
    assert OverridesParser.create().parse_override(override).value() == str(odd)


def test_the_demo_runs_the_rivals_the_teachers_student_and_a_grid_of_twelve():
    titles = [title for title, _ in commands([])]
    assert titles == ["regression", "token_ce, the reference system", "a student of the teacher's stored codes", "twelve students"]

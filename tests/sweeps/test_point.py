import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import pandas as pd
import pytest
import torch
import yaml

from lcm import checkpoint
from lcm.codec import CodecConfig
from lcm.data import CropSource
from lcm.errors import LcmError
from lcm.network import NetworkConfig
from lcm.paths import Run
from lcm.records import read_records
from lcm.store import Store
from sweeps.claim import Lost, Taken, claimed, owner_of
from sweeps.claim_files import ClaimFiles, this_process
from sweeps.config import BlocksConfig
from sweeps.demo import commands, corpus_overrides, default_root, quote
from sweeps.point import headline, headlines, run_point
from sweeps.stopping import Stopped
from sweeps.training import progress

TINY = ["corpus.demo_voices=3", "corpus.demo_utterances=2", "shards=2", "network.width=32", "network.depth=1", "network.heads=2"]
NAME = "init=none network.width=32 network.depth=1 network.heads=2 train.steps=2 train.batch=2"
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


def test_the_status_says_what_the_point_is_where_it_runs_and_how_good_it_is(run, monkeypatch, tiny):
    status = run.read_status()
    assert (status["name"], status["seed"], status["signature"]) == (NAME, 0, run.folder.name[:-3])
    assert (status["step"], status["steps"]) == (2, 2)
    assert status["loss"] > 0
    assert status["host"]
    assert status["started"] <= status["updated"]
    assert status["headline"]["lsd_hf"] == pytest.approx(headline(run), abs=1e-6)
    assert set(status["headline"]) == {"lsd_hf", "si_sdr"}
    monkeypatch.setenv("LCM_JOB", "123_4")
    monkeypatch.setenv("LCM_NODE", "node7")
    there = run_point(replace(tiny, seed=11, evaluate=replace(tiny.evaluate, steps=[1]))).read_status()
    assert (there["job"], there["host"], there["first_step"]) == ("123_4", "node7", 0)


def test_a_headline_leaves_out_what_is_not_defined_for_any_clip():
    rows = [("lsd_hf", 1.0), ("lsd_hf", float("nan")), ("si_sdr", float("nan")), ("stoi", 1.0)]
    table = pd.DataFrame([{"metric": m, "value": v, "steps": 1, "low_band_copy": True} for m, v in rows])
    assert headlines(table) == {"lsd_hf": 1.0}


def test_a_finished_point_belongs_to_nobody(run):
    assert run.claims.is_dir()
    assert owner_of(run) is None


def test_a_point_can_be_trained_in_one_call_and_evaluated_in_another(tiny):
    parts = replace(tiny, seed=12)
    run = run_point(parts, until="trained")
    assert run.read_status()["state"] == "trained"
    assert not run.records.exists()
    before = {p: p.stat().st_mtime_ns for p in run.folder.rglob("*")}
    run_point(parts, until="trained")
    assert {p: p.stat().st_mtime_ns for p in run.folder.rglob("*")} == before
    trained = run.model.stat().st_mtime_ns
    run_point(parts)
    assert (run.read_status()["state"], run.model.stat().st_mtime_ns) == ("done", trained)
    run_point(parts, until="trained")
    assert run.read_status()["state"] == "done"


def test_the_run_folder_is_told_before_work_begins(tiny, run):
    told = []
    with pytest.raises(ZeroDivisionError):
        run_point(replace(tiny, seed=13), on_run=lambda run: told.append(run.folder) or 1 / 0)
    assert told == [run.folder.with_name(f"{run.folder.name[:-3]}-s13")]
    assert not told[0].exists()


def test_a_point_that_has_become_another_is_refused_and_what_changed_is_named(tiny, run):
    expected = run.folder.name[:-3]
    assert run_point(tiny, expect=expected) == run
    with pytest.raises(LcmError, match=r"submitted as 0123456789ab and is .* now: the store, codec or teacher behind .* Submit again"):
        run_point(tiny, expect="0123456789ab")
    with pytest.raises(LcmError, match=rf"submitted as {expected} and is .*"):
        run_point(replace(tiny, blocks=BlocksConfig([2, 6])), expect=expected)
    begun = Run(run.folder.with_name("ba9876543210-s3"))
    begun.folder.mkdir()
    contents = json.loads(run.provenance.read_text())["contents"]
    begun.provenance.write_text(json.dumps({"contents": {**contents, "codec": "another"}}))
    with pytest.raises(LcmError, match="now: the codec behind its paths has changed"):
        run_point(tiny, expect="ba9876543210")
    shutil.rmtree(begun.folder)


def test_a_point_in_the_hands_of_another_process_is_left_to_it(tiny, run):
    other = Run(run.folder.with_name(f"{run.folder.name[:-3]}-s14"))
    with claimed(other, wait=False, beat_s=0.05), pytest.raises(Taken, match="it goes on there"):
        run_point(replace(tiny, seed=14), wait=False)
    assert other.read_status() == {}


@pytest.fixture
def at_step(monkeypatch):
    """Let something happen in a step of training."""

    def install(number, act):
        batch = CropSource.batch

        def acting(source, size, *, seed, step, **rest):
            if step == number:
                act()
            return batch(source, size, seed=seed, step=step, **rest)

        monkeypatch.setattr(CropSource, "batch", acting)

    yield install
    monkeypatch.undo()


def long(tiny, seed):
    return replace(tiny, seed=seed, train=replace(tiny.train, steps=6, checkpoint_every=100, estimate=False))


def test_a_point_that_is_asked_to_stop_while_it_trains_goes_on_to_the_same_weights(tiny, at_step, monkeypatch):
    config = long(tiny, 15)
    run = run_point(config, until="trained")
    whole = checkpoint.load(run.last)[0]
    shutil.rmtree(run.folder)
    at_step(2, lambda: os.kill(os.getpid(), signal.SIGUSR2))
    with pytest.raises(Stopped):
        run_point(config)
    status = run.read_status()
    assert (status["state"], status["step"], status["error"], status["first_step"]) == ("stopped", 3, None, 0)
    assert status["train_seconds"] > 0
    assert (run.model.exists(), owner_of(run)) == (False, None)
    monkeypatch.undo()
    assert run_point(config).read_status()["first_step"] == 3
    assert run.read_status()["state"] == "done"
    assert all(torch.equal(tensor, checkpoint.load(run.last)[0][name]) for name, tensor in whole.items())


def test_ctrl_c_while_training_keeps_the_step_at_hand(tiny, at_step):
    at_step(2, lambda: os.kill(os.getpid(), signal.SIGINT))
    runs = []
    with pytest.raises(KeyboardInterrupt):
        run_point(long(tiny, 16), on_run=runs.append)
    assert (runs[0].read_status()["state"], checkpoint.load(runs[0].last)[1]["step"]) == ("interrupted", 3)


def test_a_request_in_the_last_step_leaves_a_trained_model_to_be_evaluated(tiny, at_step):
    at_step(5, lambda: os.kill(os.getpid(), signal.SIGTERM))
    runs = []
    with pytest.raises(Stopped):
        run_point(long(tiny, 17), on_run=runs.append)
    assert (runs[0].read_status()["state"], runs[0].model.exists(), runs[0].records.exists()) == ("stopped", True, False)


def test_a_point_that_is_asked_to_stop_while_it_evaluates_stops_at_once_and_is_evaluated_again(tiny, monkeypatch):
    runs, config = [], replace(tiny, seed=18)
    monkeypatch.setattr("sweeps.point.evaluate_model", lambda *_: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(Stopped):
        run_point(config, on_run=runs.append)
    assert runs[0].read_status()["state"] == "stopped"
    monkeypatch.undo()
    trained = runs[0].model.stat().st_mtime_ns
    assert run_point(config).read_status()["state"] == "done"
    assert runs[0].model.stat().st_mtime_ns == trained


def test_a_point_that_was_taken_over_writes_nothing_more(tiny, at_step):
    runs, config = [], long(tiny, 19)

    def take_over():
        ClaimFiles(runs[0].claims).make(2, this_process())
        runs[0].write_status("running", host="the new owner")

    at_step(3, take_over)
    with pytest.raises(Lost, match="was taken over by"):
        run_point(config, on_run=runs.append)
    assert (runs[0].read_status()["state"], runs[0].read_status()["host"]) == ("running", "the new owner")
    assert not runs[0].last.exists()
    assert owner_of(runs[0]).pid == os.getpid()


def test_the_status_follows_training_every_so_often_also_where_steps_are_slow(tiny, tmp_path, monkeypatch):
    run, config, clock = Run(tmp_path), replace(tiny, train=replace(tiny.train, steps=2000)), [0.0]
    monkeypatch.setattr("sweeps.training.time", SimpleNamespace(monotonic=lambda: clock[0]))
    run.write_status("running", train_seconds=100.0)
    trainer, fence = SimpleNamespace(first=500, values={"total": 1.25}), SimpleNamespace(lost=False, check=lambda: None)
    with progress(config, run, trainer, fence) as on_step:
        on_step(501)
        assert (run.read_status()["step"], run.read_status()["loss"]) == (501, 1.25)
        on_step(502)
        assert run.read_status()["step"] == 501  # not every step
        on_step(600)
        assert run.read_status()["step"] == 600
        clock[0] = 31.0
        on_step(601)
        assert run.read_status()["step"] == 601
        on_step(602)
        assert run.read_status()["step"] == 601
    assert run.read_status()["step"] == 602
    assert run.read_status()["train_seconds"] == 131.0


def test_a_debug_run_is_short_and_out_of_the_reports_sight(tiny):
    debug = run_point(replace(tiny, debug=True, blocks=BlocksConfig([2, 6])))
    assert debug.folder.parent.name == "debug"
    assert len(list(debug.samples.glob("*/ground_truth.flac"))) == 1


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

"""A root filled on this machine by `cluster=local`: the whole chain with the real codec and teacher, once, and what may go wrong."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from lcm.errors import LcmError
from lcm.paths import Root
from lcm.store import Store, StoreError, StorePaths
from slurm import acts
from slurm.cli import main
from slurm.report import report
from slurm.stages import Generation, stage_work
from slurm.submission import Submissions

WORDS = [
    "corpus=demo", "corpus.demo_voices=4", "corpus.demo_utterances=2", "corpus.max_seconds=30", "teacher.steps=2",
    "shards=3", "cluster=local", "cluster.processes=2", "cluster.threads=1",
]  # fmt: skip


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("a root")
    with pytest.MonkeyPatch.context() as here:
        here.chdir(folder.parent)
        acts.submit(folder.name, WORDS)  # a relative folder, as from a notebook
    return folder


@pytest.mark.slow
def test_the_chain_makes_codes_and_overlay(root: Path):
    overlay = Generation.at(root).overlay()
    assert overlay is not None
    codes, made = Store(Root(root).codes), Store(overlay)
    train = [key for key in codes.keys if codes.meta(key)["split"] == "train"]
    assert sorted(made.keys) == sorted(f"{key}|0" for key in train)
    assert {made.read(key, "codes").dtype for key in made.keys} == {np.dtype(np.int16)}


@pytest.mark.slow
def test_multibanddiffusion_fills_its_overlay_the_same_whatever_the_shards_and_processes(root: Path, tmp_path: Path):
    narrow = ["teacher=mbd", "teacher.weights=random", "teacher.hidden=4", "teacher.steps=3", "batch=2"]
    made = []
    for name, words in (("several", []), ("one", ["shards=1", "cluster.processes=1"])):
        folder = tmp_path / name
        changed = {word.partition("=")[0] for word in words}
        acts.submit(folder, [*(word for word in WORDS if word.partition("=")[0] not in changed), *narrow, *words])
        made.append(Store(Generation.at(folder).overlay()))
    assert made[0].identity == made[1].identity
    assert {made[0].meta(key)["steps"] for key in made[0].keys} == {3}


@pytest.mark.slow
def test_submitting_again_does_nothing(root: Path):
    before = {path: path.stat().st_mtime_ns for path in (root / "codes").rglob("*")}
    assert acts.submit(root).lines == ["Nothing to do: all is made."]
    assert {path: path.stat().st_mtime_ns for path in (root / "codes").rglob("*")} == before


@pytest.mark.slow
def test_the_codes_do_not_depend_on_shards_processes_or_batches(root: Path, tmp_path: Path):
    changed = ["shards=5", "cluster.processes=1", "batch=1"]
    acts.submit(tmp_path, [*(word for word in WORDS if word.partition("=")[0] not in {"shards", "cluster.processes"}), *changed])
    assert Store(Root(tmp_path).codes).identity == Store(Root(root).codes).identity
    assert Store(Generation.at(tmp_path).overlay()).identity == Store(Generation.at(root).overlay()).identity


@pytest.mark.slow
def test_a_sweep_finds_the_stores_instead_of_making_them(root: Path):
    from lcm.corpus import CorpusConfig
    from lcm.data import DataConfig
    from lcm.teachers import TeacherConfig
    from sweeps.config import Config
    from sweeps.prepare import prepare

    before = sorted(path for path in root.rglob("*.h5"))
    config = Config(
        root=str(root), corpus=CorpusConfig(demo_voices=4, demo_utterances=2, max_seconds=30), teacher=TeacherConfig(steps=2),
        data=DataConfig(target="teacher"),
    )  # fmt: skip
    assert prepare(config).overlay is not None
    assert sorted(path for path in root.rglob("*.h5")) == before


@pytest.mark.slow
def test_a_shard_that_is_lost_is_the_only_one_made_again(root: Path):
    store = Root(root).codes
    identity, lost = Store(store).identity, StorePaths(store).shard(1, 3)
    others = {path: path.stat().st_mtime_ns for path in lost.parent.iterdir() if path != lost}
    lost.unlink()
    with pytest.raises(StoreError, match="is missing"):
        Store(store).preload()
    acts.submit(root)
    assert Store(store).identity == identity
    assert {path: path.stat().st_mtime_ns for path in others} == others


@pytest.mark.slow
def test_a_damaged_shard_is_found_by_verify_set_aside_and_made_again(root: Path, capsys: pytest.CaptureFixture[str]):
    store = Root(root).codes
    path, identity = StorePaths(store).shard(2, 3), Store(store).identity
    damaged = bytearray(path.read_bytes())
    damaged[len(damaged) // 2] ^= 0xFF
    path.write_bytes(damaged)
    assert main(["verify", f"store={root}"]) == 1
    assert "shard-00002-of-00003.h5" in capsys.readouterr().out
    assert path.exists()
    assert main(["verify", f"store={root}", "--set-aside"]) == 1
    assert not path.exists()
    acts.submit(root)
    assert main(["verify", f"store={root}"]) == 0
    assert Store(store).identity == identity


@pytest.mark.slow
def test_the_plan_tells_the_measured_rate_of_what_is_left(root: Path, tmp_path: Path):
    acts.calibrate(tmp_path, [word for word in WORDS if not word.startswith("shards")] + ["shards=40"], limit_s=6)
    text = "\n".join(report(tmp_path, []))
    assert re.search(r"\[codes\] planned \d+ clips in \d+ shards", text)
    assert re.search(r"rate: [\d.]+ s of audio a second", text)
    assert "Nothing was submitted." in text


@pytest.mark.slow
def test_jobs_run_the_code_as_it_was_at_submit(root: Path):
    snapshot = next((root / "snapshots").iterdir())
    assert (snapshot / "lcm" / "codec.py").exists()
    log = next((root / "logs").rglob("*_log.out")).read_text()
    assert "Job completed successfully" in log


@pytest.mark.slow
def test_a_root_with_another_plan_is_refused_with_the_difference(root: Path):
    with pytest.raises(StoreError, match=r"begun with another plan:\n  shards: 3 before, 4 asked"):
        acts.submit(root, ["shards=4"])


@pytest.mark.slow
def test_a_task_refuses_a_corpus_that_has_changed_since_the_plan(root: Path, tmp_path: Path):
    import shutil

    folder = tmp_path / "moved"
    shutil.copytree(root, folder)
    manifest = folder / "codes" / "corpus" / "manifest.csv"
    lines = manifest.read_text().splitlines()
    manifest.write_text("\n".join(lines[:-1]) + "\n")
    with pytest.raises(LcmError, match="manifest"):
        stage_work(folder, "codes")


@pytest.mark.slow
def test_a_task_refuses_weights_that_have_changed_since_the_plan(root: Path):
    from dataclasses import replace

    from lcm.codec import CodecConfig

    generation = Generation.at(root)
    other = replace(generation, config=replace(generation.config, codec=CodecConfig(weights="random")))
    producer = stage_work(root, "codes").producer()
    producer.prepare()
    assert producer.expects
    changed = other.producer("codes")()
    changed.expects = producer.expects
    with pytest.raises(LcmError, match=r"The codec is \w+, the store is planned for \w+: its file has changed"):
        changed.prepare()


@pytest.mark.slow
def test_a_refused_corpus_leaves_the_one_before(root: Path):
    before = {path: path.read_bytes() for path in (root / "corpus").glob("*.*")}
    with pytest.raises(StoreError, match="begun with another plan"):
        acts.submit(root, ["corpus.max_seconds=20"])
    assert {path: path.read_bytes() for path in (root / "corpus").glob("*.*")} == before
    assert acts.submit(root).lines == ["Nothing to do: all is made."]


@pytest.mark.slow
def test_a_recording_that_is_added_later_does_not_block_what_was_planned(root: Path, tmp_path: Path):
    import shutil

    speech, folder = tmp_path / "speech", tmp_path / "root"
    shutil.copytree(root / "corpus" / "audio", speech)
    words = ["corpus=folder", f"corpus.root={speech}", "teacher=original", *WORDS[5:]]
    acts.submit(folder, words)
    added = sorted(speech.rglob("*.*"))[0]
    shutil.copy(added, added.with_name(f"added-{added.name}"))
    StorePaths(folder / "codes").shard(0, 3).unlink()
    assert acts.submit(folder).lines == ["codes: 1 shards made"]
    with pytest.raises(StoreError, match="begun with another plan"):
        acts.submit(folder, words)


def test_a_calibration_takes_shards_of_all_lengths_and_the_longest():
    assert acts._spread(range(10, 20), 2) == [14, 19]
    assert acts._spread([3, 7], 5) == [3, 7]
    assert acts._spread([], 2) == []


@pytest.mark.slow
def test_jobs_keep_to_the_settings_they_were_submitted_with(root: Path):
    from slurm.config import freeze

    frozen, store = freeze(root, Generation.at(root).config), Generation.at(root).overlay()
    list(report(root, ["teacher.steps=3"]))
    assert Generation.at(root).overlay() != store
    assert stage_work(root, "overlay", frozen).folder == store
    list(report(root, ["teacher.steps=2"]))


@pytest.mark.slow
def test_the_overlay_is_planned_again_for_another_teacher_beside_the_first(root: Path):
    first = Generation.at(root).overlay()
    text = "\n".join(report(root, ["teacher.steps=3"]))
    second = Generation.at(root).overlay()
    assert first != second
    assert "[codes] finished" in text
    assert "[overlay] planned" in text
    list(report(root, ["teacher.steps=2"]))
    assert Generation.at(root).overlay() == first


def test_acts_on_a_folder_without_a_plan_say_what_to_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    for act in ("merge", "verify", "status"):
        assert main([act, f"store={tmp_path}"]) == 2
        assert "python -m slurm plan" in capsys.readouterr().err
    assert main(["cancel", f"store={tmp_path}"]) == 0


def test_a_wrong_teacher_is_found_before_the_codes_are_made(tmp_path: Path):
    words = ["corpus=demo", "corpus.demo_voices=3", "corpus.demo_utterances=1"]
    with pytest.raises(LcmError, match="no teacher 'latnt'"):
        acts.submit(tmp_path, [*words, "teacher=latnt"])
    with pytest.raises(LcmError, match="nowhere"):
        acts.submit(tmp_path, [*words, "teacher.checkpoint=nowhere.safetensors"])
    assert not list(tmp_path.rglob("*.h5"))


def test_a_mistyped_folder_is_refused_instead_of_being_filled(tmp_path: Path):
    with pytest.raises(LcmError, match=r"Nothing was planned in .*nowhere"):
        acts.submit(str(tmp_path / "nowhere"))
    assert not (tmp_path / "nowhere" / "codes").exists()


def test_a_flag_of_another_act_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["submit", f"store={tmp_path}", "--failed"]) == 2
    assert "--failed belongs to status" in capsys.readouterr().err


def test_the_help_names_every_act():
    done = subprocess.run([sys.executable, "-m", "slurm", "-h"], cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True)
    for act in ("plan", "submit", "status", "retry", "calibrate", "merge", "verify", "cancel", "doctor", "prefetch", "compare"):
        assert re.search(rf"^  {act} ", done.stdout, re.MULTILINE)


def test_a_cancelled_submissions_tasks_do_nothing(tmp_path: Path):
    from slurm.task import Task

    submission = Submissions(tmp_path).new("codes", "slurm", [[[0]]])
    Submissions(tmp_path).cancel(submission.name)
    assert "cancelled" in Task(place=tmp_path, submission=submission.name, element=0, work=_never)()


def _never() -> None:
    raise AssertionError("a cancelled task asked for its work")

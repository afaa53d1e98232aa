"""Points whose target MultiBandDiffusion makes: stored once, read at any number of codebooks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from lcm.codec import CodecConfig
from lcm.data import DataConfig
from lcm.errors import LcmError
from lcm.objectives import ObjectiveConfig
from lcm.paths import Root
from lcm.records import read_records
from lcm.store import Store
from lcm.teachers import TeacherConfig
from sweeps.build import initial_model
from sweeps.check import check
from sweeps.config import BlocksConfig
from sweeps.point import run_point
from sweeps.prepare import prepare
from sweeps.training import crop_source

NARROW = TeacherConfig(name="mbd", weights="random", hidden=4, steps=2, bw=3.0)


@pytest.fixture(scope="module")
def point(tiny, tmp_path_factory):
    root = str(tmp_path_factory.mktemp("mbd"))
    return replace(tiny, root=root, teacher=NARROW, data=DataConfig(target="teacher"), codec=CodecConfig(bandwidth_kbps=6.0))


def at(point, codebooks):
    return replace(point, blocks=BlocksConfig(codebooks=codebooks))


def test_a_point_learns_its_codes_and_its_audio_is_scored_beside(point):
    run = run_point(point)
    root = Root(Path(point.root))
    (overlay,) = root.folder.glob("overlays/mbd-*")
    assert Store(overlay).streams["codes"].width == 8
    records = read_records(root.teacher(overlay.name.rpartition("-seed")[0]).records)
    assert set(zip(records.system, records.steps, strict=True)) == {("mbd", 2)}
    assert set(read_records(run.records).system) == {"student"}


@pytest.mark.parametrize("codebooks", [2, 4])
def test_students_of_fewer_codebooks_read_the_first_of_the_same_stores(point, codebooks):
    whole, prepared = prepare(point), prepare(at(point, codebooks))
    assert (prepared.store.identity, prepared.overlay.identity) == (whole.store.identity, whole.overlay.identity)
    batches = [crop_source(c, p).batch(4, seed=0, step=0) for c, p in ((point, whole), (at(point, codebooks), prepared))]
    assert torch.equal(batches[1].target_codes, batches[0].target_codes[:, :codebooks])
    assert torch.equal(batches[1].lr_codes, batches[0].lr_codes[:, :codebooks])
    assert initial_model(at(point, codebooks), prepared).spec.codec == prepared.codec.identity != whole.codec.identity


def test_a_student_of_fewer_codebooks_is_a_point_of_its_own(point):
    assert run_point(at(point, 2)).folder != run_point(point).folder


@pytest.mark.parametrize("codebooks", [1, 3, 16])
def test_codebooks_that_are_not_stored_are_refused(point, codebooks):
    with pytest.raises(LcmError, match=rf"blocks\.codebooks={codebooks}: expected 2, 4, 8.*no more than the 8"):
        check(at(point, codebooks))


@pytest.mark.parametrize(("objective", "message"), [("cd", "name one by teacher.checkpoint"), ("pairs", "a latent teacher's noise")])
def test_objectives_that_need_a_latent_teacher_say_so(point, objective, message):
    config = replace(point, objective=ObjectiveConfig(objective), init="teacher")
    with pytest.raises(LcmError, match=message):
        run_point(config)


def test_students_of_fewer_codebooks_start_from_a_latent_teacher_of_theirs(point):
    """The overlay holds eight codebooks, student and latent teacher have four; the teacher is scored beside."""
    fewer = replace(at(point, 4), data=DataConfig(target="hr"), train=replace(point.train, steps=1))
    trained = run_point(replace(fewer, objective=ObjectiveConfig("diffusion")))
    started = replace(at(point, 4), teacher=replace(NARROW, checkpoint=str(trained.model)), init="teacher")
    prepared = prepare(started)
    assert prepared.overlay.streams["codes"].width == 8
    assert prepared.teacher.model.spec.codec == prepared.codec.identity
    student, latent = initial_model(started, prepared).network.state_dict(), prepared.teacher.model.network.state_dict()
    assert all(torch.equal(student[name], latent[name]) for name in latent)
    assert "teacher" in prepared.contents


def test_making_its_codes_reads_no_latent_teacher(point, tmp_path):
    from lcm.codec import load_codec
    from lcm.teachers import load_teacher

    teacher = load_teacher(replace(NARROW, checkpoint=str(tmp_path / "not there.safetensors")), load_codec(point.codec))
    assert teacher.waveform(torch.zeros(1, 8, 4, dtype=torch.int64), [0]).shape == (1, 1, 1280)

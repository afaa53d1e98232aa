"""Every weight is on disk before jobs are submitted, or the error says how to put it there."""

from __future__ import annotations

import re
import shutil

import pytest

from lcm.codec import WEIGHTS, CodecConfig
from lcm.codec_files import ENCODEC_FILE
from lcm.compat import import_encodec
from lcm.errors import CheckpointError, CodecError
from lcm.offline import OFFLINE
from lcm.teachers import TeacherConfig
from slurm.prefetch import codec_file, prefetch


def test_what_ships_is_named_with_its_file_size_and_identity():
    codec, teacher = prefetch(CodecConfig(), TeacherConfig())
    file = WEIGHTS / "encodec_small.safetensors"
    assert str(file) in codec
    assert f"{file.stat().st_size:,} bytes" in codec
    assert re.search(r"identity [0-9a-f]{16}$", codec)
    assert "teacher_small.safetensors" in teacher


def test_a_teacher_of_one_s_own_is_loaded_from_where_it_lies(tmp_path):
    mine = tmp_path / "mine.safetensors"
    shutil.copy(WEIGHTS / "teacher_small.safetensors", mine)
    assert str(mine) in prefetch(CodecConfig(), TeacherConfig(checkpoint=str(mine)))[1]


def test_a_teacher_that_is_not_there_is_named_with_what_to_do(tmp_path):
    with pytest.raises(CheckpointError, match=r"no checkpoint at .*gone\.safetensors.*teacher\.checkpoint=PATH"):
        prefetch(CodecConfig(), TeacherConfig(checkpoint=str(tmp_path / "gone.safetensors")))


def test_the_original_as_teacher_needs_no_weights():
    assert prefetch(CodecConfig(), TeacherConfig("original"))[1] == "teacher original: needs no weights"


def test_random_weights_are_said_to_be_random():
    assert "random weights" in prefetch(CodecConfig(weights="random"), TeacherConfig("original"))[0]


def test_what_cannot_be_fetched_is_named_with_its_address_its_size_and_its_place(monkeypatch, tmp_path):
    def unreachable(_):
        raise OSError("Name or service not known")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.delenv(OFFLINE, raising=False)
    monkeypatch.setattr(import_encodec().EncodecModel, "_get_pretrained", staticmethod(unreachable))
    with pytest.raises(CodecError) as caught:
        prefetch(CodecConfig("encodec_24khz"), TeacherConfig("original"))
    said = str(caught.value)
    assert "Name or service not known" in said
    assert f"https://dl.fbaipublicfiles.com/encodec/v0/{ENCODEC_FILE}" in said
    assert "93,171,529 bytes" in said
    assert str(tmp_path / "hub" / "checkpoints" / ENCODEC_FILE) in said


def test_offline_on_the_login_node_is_said_to_be_the_reason(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv(OFFLINE, "1")
    with pytest.raises(CodecError, match="LCM_OFFLINE is set here"):
        prefetch(CodecConfig("encodec_24khz"), TeacherConfig("original"))


def test_damaged_weights_are_not_taken_for_absent_ones(tmp_path):
    (tmp_path / ENCODEC_FILE).write_bytes(b"half a download")
    with pytest.raises(CodecError, match="damaged") as caught:
        prefetch(CodecConfig("encodec_24khz", folder=str(tmp_path)), TeacherConfig("original"))
    assert "address" not in str(caught.value)


def test_the_codec_file_is_in_the_folder_that_is_named(tmp_path):
    assert codec_file(CodecConfig("encodec_24khz", folder=str(tmp_path))) == tmp_path / ENCODEC_FILE
    assert codec_file(CodecConfig(folder=str(tmp_path))) == tmp_path / "encodec_small.safetensors"

"""Weights are found where they usually lie, converted when they must be, and never fetched."""

from __future__ import annotations

import pytest
import released_toy
import torch

from lcm.errors import CheckpointError
from lcm.mbd.bands import load_bands
from lcm.mbd.convert import convert
from lcm.mbd.released import own_cache
from lcm.mbd.weights import home, locate, read
from lcm.offline import OFFLINE, no_network
from lcm.teachers import TeacherConfig


@pytest.fixture(autouse=True)
def caches(tmp_path, monkeypatch):
    for name, folder in {"TORCH_HOME": "torch", "HF_HOME": "hf", "AUDIOCRAFT_CACHE_DIR": "audiocraft"}.items():
        monkeypatch.setenv(name, str(tmp_path / folder))
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    return tmp_path


REVISION = "models--facebook--multiband-diffusion/snapshots/8fe85b1"


@pytest.mark.parametrize("place", ["audiocraft", f"audiocraft/{REVISION}", f"hf/hub/{REVISION}", "hf/hub", "torch/lcm-mbd"])
def test_weights_are_found_in_the_caches_that_others_fill(tmp_path, place):
    file = released_toy.write(tmp_path / place)
    assert locate(None, 8) == file


def test_a_named_folder_is_the_only_place(tmp_path):
    released_toy.write(tmp_path / "audiocraft")
    mine = released_toy.write(tmp_path / "mine")
    assert locate(str(mine.parent), 8) == mine
    with pytest.raises(CheckpointError, match="empty"):
        locate(str(tmp_path / "empty"), 8)


def test_a_named_folder_may_be_a_hub_cache(tmp_path):
    file = released_toy.write(tmp_path / "cache" / REVISION)
    assert locate(str(tmp_path / "cache"), 8) == file


def test_converted_weights_go_before_released_ones(tmp_path):
    released_toy.write(tmp_path / "audiocraft")
    pair = convert(released_toy.write(tmp_path / "other"), tmp_path / "torch" / "lcm-mbd").pair
    assert locate(None, 8) == pair.tensors


def test_a_released_file_is_converted_at_the_first_reading_alone(tmp_path, capsys):
    file = released_toy.write(tmp_path / "mine")
    first = read(str(file.parent), 8)
    assert f"converting {file}" in capsys.readouterr().out
    file.unlink()
    assert read(str(file.parent), 8).identity == first.identity
    assert capsys.readouterr().out == ""


def test_what_lies_in_a_folder_of_others_is_converted_into_the_own_cache(tmp_path, monkeypatch):
    file = released_toy.write(tmp_path / "theirs")
    monkeypatch.setattr("lcm.mbd.weights.os.access", lambda *_: False)  # root, as whom tests may run, may write anywhere
    identity = read(str(file.parent), 8).identity
    assert [p.name for p in file.parent.iterdir()] == [file.name]
    assert home(file).parent == own_cache()
    assert locate(str(file.parent), 8).parent == home(file)
    assert read(str(file.parent), 8).identity == identity


def test_absent_weights_are_named_with_size_place_repository_and_command(tmp_path):
    with pytest.raises(CheckpointError) as caught:
        read(None, 4)
    said = str(caught.value)
    for part in ("3 kbps (4 codebooks)", "mbd_comp_4.pt (4,583,268,549 bytes)", "mbd_comp_4.safetensors with mbd_comp_4.json"):
        assert part in said
    for part in (str(tmp_path / "audiocraft"), "facebook/multiband-diffusion", "teacher.folder=", "python -m slurm prefetch", "CC-BY-NC"):
        assert part in said


def test_half_a_pair_is_pointed_out(tmp_path):
    pair = convert(released_toy.write(tmp_path / "mine")).pair
    pair.description.unlink()
    (tmp_path / "mine" / "mbd_comp_8.pt").unlink()
    with pytest.raises(CheckpointError, match=r"mbd_comp_8\.safetensors lies alone"):
        read(str(tmp_path / "mine"), 8)


def test_reading_never_reaches_for_the_network(tmp_path):
    with no_network() as reached:
        with pytest.raises(CheckpointError, match=f"{OFFLINE} forbids it here"):
            read(None, 8)
        read(str(released_toy.write(tmp_path / "mine").parent), 8)
    assert reached == []


def test_a_number_of_codebooks_that_was_not_released_names_those_that_were():
    with pytest.raises(CheckpointError, match=r"not released for 32 codebooks: choose one of 1\.5 kbps \(2\), 3 kbps \(4\), 6 kbps \(8\)"):
        read(None, 32)


def test_audiocraft_s_own_classes_load_what_was_read(tmp_path):
    file, package = released_toy.write(tmp_path / "mine"), released_toy.package()
    bands = load_bands(TeacherConfig("mbd", bw=6.0, folder=str(file.parent)))
    assert bands.identity == read(str(file.parent), 8).identity
    for i, made in enumerate(bands.processes):
        scale = made.schedule.sample_processor.state_dict()
        assert all(torch.equal(v, package[i]["model_state"][k]) for k, v in made.model.state_dict().items())
        assert scale.keys() == package[i]["processor_state"].keys()

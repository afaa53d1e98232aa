"""A released file is opened without running what it carries."""

from __future__ import annotations

import os
import pickle
import shutil

import pytest
import released_toy
import torch
from omegaconf import OmegaConf

from lcm.errors import CheckpointError
from lcm.mbd.convert import convert
from lcm.mbd.unpickle import load


class Payload:
    """A pickle of it runs a command when it is loaded."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.system, (f"touch {self.mark}",)


class Subtle(Payload):
    """The same by a function that is no command."""

    def __reduce__(self):
        return open, (str(self.mark), "w")


def hostile(folder, mark, kind, where):
    whole = released_toy.package()
    if where == "at the top":
        whole["extra"] = kind(mark)
    elif where == "in place of a config":
        whole[2]["cfg"] = kind(mark)
    elif where == "inside a config":
        whole[2]["cfg"]._metadata.flags = {"x": kind(mark)}
    else:
        whole[1]["model_state"]["conv_codec.bias"] = kind(mark)
    file = folder / "mbd_comp_8.pt"
    torch.save(whole, file)
    return file


@pytest.mark.parametrize("kind", [Payload, Subtle])
@pytest.mark.parametrize("where", ["at the top", "in place of a config", "inside a config", "among the tensors"])
def test_a_hostile_pickle_is_refused_by_name_and_does_not_run(tmp_path, kind, where):
    mark = tmp_path / "it-ran"
    file = hostile(tmp_path, mark, kind, where)
    with pytest.raises(CheckpointError) as caught:
        convert(file)
    assert str(file) in str(caught.value)
    assert ("posix.system" if kind is Payload else "open") in str(caught.value)
    assert "Fetch it again from its publisher" in str(caught.value)
    assert not mark.exists()
    assert sorted(p.name for p in tmp_path.iterdir()) == [".lock", file.name]


def test_the_same_payload_runs_in_an_ordinary_unpickler(tmp_path):
    """Else the tests of the refusal would pass for a payload that does nothing."""
    mark = tmp_path / "it-ran"
    torch.load(hostile(tmp_path, mark, Payload, "at the top"), weights_only=False)
    assert mark.exists()


def test_a_bare_hostile_pickle_under_the_released_name_is_refused(tmp_path):
    mark, file = tmp_path / "it-ran", tmp_path / "mbd_comp_8.pt"
    file.write_bytes(pickle.dumps(Payload(mark)))
    with pytest.raises(CheckpointError, match=r"not a file of torch[.]save's present format"):
        load(file)
    assert not mark.exists()


def test_a_hostile_pickle_in_a_later_pickle_protocol_is_refused(tmp_path):
    mark, file = tmp_path / "it-ran", tmp_path / "mbd_comp_8.pt"
    torch.save({"extra": Payload(mark)}, file, pickle_protocol=4)
    with pytest.warns(UserWarning, match="protocol 4"), pytest.raises(CheckpointError, match="is refused"):
        load(file)
    assert not mark.exists()


def test_a_file_in_torch_s_old_format_says_so(tmp_path):
    file = tmp_path / "mbd_comp_8.pt"
    torch.save({"a": torch.zeros(2)}, file, _use_new_zipfile_serialization=False)
    with pytest.raises(CheckpointError, match=r"mbd_comp_8\.pt is not a file of torch.save's present format"):
        load(file)


@pytest.mark.parametrize("kept", [0.0, 0.5, 0.999])
def test_a_file_that_was_cut_off_is_refused_by_name(tmp_path, kept):
    file = released_toy.write(tmp_path)
    content = file.read_bytes()
    file.write_bytes(content[: int(kept * len(content))])
    with pytest.raises(CheckpointError, match=r"mbd_comp_8\.pt is .*Fetch it again"):
        load(file)


def test_the_list_of_what_is_allowed_holds_outside_of_the_loading_not(tmp_path):
    file = released_toy.write(tmp_path)
    assert OmegaConf.is_config(load(file)[0]["cfg"])
    with pytest.raises(pickle.UnpicklingError):
        torch.load(file, weights_only=True)


def test_a_link_into_a_hub_cache_loads(tmp_path):
    blob = tmp_path / "blobs" / "abc"
    blob.parent.mkdir()
    shutil.move(released_toy.write(tmp_path), blob)
    link = tmp_path / "mbd_comp_8.pt"
    link.symlink_to(blob)
    assert load(link)["n_bands"] == 4

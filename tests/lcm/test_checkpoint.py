import subprocess
import sys

import pytest
import torch

from lcm import checkpoint
from lcm.errors import CheckpointError


def test_a_model_comes_back_equal_with_its_spec(tmp_path, make_model, codec):
    model = make_model(partition=(2, 6))
    checkpoint.save_model(tmp_path / "m.safetensors", model)
    again = checkpoint.load_model(tmp_path / "m.safetensors", codec)
    assert again.spec == model.spec
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), again.state_dict().values(), strict=True))


def test_a_model_of_another_codec_is_refused_with_both_named(tmp_path, make_model, codec):
    model = make_model()
    model.spec.codec = "0123456789abcdef"
    checkpoint.save_model(tmp_path / "m.safetensors", model)
    with pytest.raises(CheckpointError, match=f"0123456789abcdef.*{codec.identity}"):
        checkpoint.load_model(tmp_path / "m.safetensors", codec)


@pytest.mark.parametrize("content", [b"", b"garbage" * 100])
def test_a_damaged_file_is_named(tmp_path, content):
    (tmp_path / "m.safetensors").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"m\.safetensors"):
        checkpoint.load(tmp_path / "m.safetensors")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(CheckpointError, match="no checkpoint at"):
        checkpoint.load(tmp_path / "none.safetensors")


KILLED = """
import os, signal, sys, torch
from pathlib import Path
from lcm import checkpoint
path = Path(sys.argv[1])
checkpoint.save(path, {"a": torch.zeros(10)}, {"step": 1})
os.fsync = lambda *_: os.kill(os.getpid(), signal.SIGKILL)  # die with the new file written but not yet in place
checkpoint.save(path, {"a": torch.ones(10)}, {"step": 2})
"""


def test_a_process_killed_while_writing_leaves_the_old_checkpoint_whole(tmp_path):
    path = tmp_path / "last.safetensors"
    assert subprocess.run([sys.executable, "-c", KILLED, str(path)], check=False).returncode == -9
    tensors, header = checkpoint.load(path)
    assert header == {"step": 1}
    assert torch.equal(tensors["a"], torch.zeros(10))


def test_the_command_writes_half_precision(tmp_path, make_model, codec, monkeypatch):
    checkpoint.save_model(tmp_path / "m.safetensors", make_model())
    monkeypatch.setattr(sys, "argv", ["checkpoint", str(tmp_path / "m.safetensors"), "-o", str(tmp_path / "half.safetensors")])
    checkpoint.main()
    assert (tmp_path / "half.safetensors").stat().st_size < 0.6 * (tmp_path / "m.safetensors").stat().st_size
    assert checkpoint.load_model(tmp_path / "half.safetensors", codec).spec.kind == "consistency"

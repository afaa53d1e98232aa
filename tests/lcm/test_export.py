import sys

import pytest
import torch

from lcm import checkpoint
from lcm.errors import LcmError
from lcm.export import export, parts
from lcm.pretrained.cli import main
from lcm.schedule import frame_noise

LENGTHS = (2, 31, 150)
CUTOFF_HZ = torch.tensor([6000.0])


@pytest.fixture
def student(tmp_path, make_model):
    def save(**spec):
        model = make_model(**spec)
        checkpoint.save_model(tmp_path / "student" / "model.safetensors", model)
        return tmp_path / "student", model

    return save


def expected(model, codec, frames):
    """Return inputs and eager outputs of the three programs."""
    audio = 0.1 * torch.randn(1, 1, 320 * frames, generator=torch.Generator().manual_seed(frames))
    codes = codec.encode(audio)
    noise = frame_noise(128 * len(model.spec.partition), frames, seed=0)[None]
    latents = model.restore(codec, codes, CUTOFF_HZ)
    return {
        "encoder": ({"audio": audio}, codes),
        "network": ({"codes": codes, "cutoff_hz": CUTOFF_HZ, "noise": noise}, latents),
        "decoder": ({"latents": latents}, codec.decode(latents)),
    }


@pytest.mark.parametrize("spec", [{}, {"partition": (2, 6)}, {"output": "tokens"}, {"kind": "regression"}, {"prior": "condition"}], ids=str)
def test_the_programs_modules_say_what_the_model_says(make_model, codec, spec):
    model = make_model(**spec)
    with torch.no_grad():
        for part in parts(model, codec):
            given, wanted = expected(model, codec, 40)[part.name]
            torch.testing.assert_close(part.module(**given), wanted, atol=1e-4, rtol=1e-4)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_torch_export_programs_of_any_length_agree_with_the_model(student, codec, tmp_path):
    folder, model = student()
    files = export(folder, tmp_path / "out" / "m.pt2")
    assert [file.name for file in files] == ["m-encoder.pt2", "m-network.pt2", "m-decoder.pt2"]
    programs = [torch.export.load(file).module() for file in files]
    for frames in LENGTHS:
        for program, (given, wanted) in zip(programs, expected(model, codec, frames).values(), strict=True):
            torch.testing.assert_close(program(**given), wanted, atol=1e-4, rtol=1e-4)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_onnx_programs_of_any_length_agree_with_the_model(student, codec, tmp_path):
    pytest.importorskip("onnxscript")
    runtime = pytest.importorskip("onnxruntime")
    folder, model = student()
    sessions = [runtime.InferenceSession(str(file)) for file in export(folder, tmp_path / "m.onnx")]
    for frames in LENGTHS:
        for session, (given, wanted) in zip(sessions, expected(model, codec, frames).values(), strict=True):
            (found,) = session.run(None, {name: value.numpy() for name, value in given.items()})
            torch.testing.assert_close(torch.from_numpy(found), wanted, atol=1e-4, rtol=1e-4)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_the_command_fixes_a_length(student, codec, tmp_path, capsys):
    folder, model = student()
    assert main(["export", str(folder), "-o", str(tmp_path / "m.pt2"), "--frames", "30"]) == 0
    assert "m-network.pt2: " in capsys.readouterr().out
    network = torch.export.load(tmp_path / "m-network.pt2").module()
    given, wanted = expected(model, codec, 30)["network"]
    torch.testing.assert_close(network(**given), wanted, atol=1e-4, rtol=1e-4)
    with pytest.raises((RuntimeError, AssertionError)):
        network(**expected(model, codec, 31)["network"][0])


@pytest.mark.parametrize(
    ("name", "frames", "message"),
    [("m.zip", None, r"expected FILE.pt2 \(torch.export\) or FILE.onnx"), ("m.pt2", 1, "--frames 1: expected 2 to")],
)
def test_settings_out_of_range_are_named(student, tmp_path, name, frames, message):
    with pytest.raises(LcmError, match=message):
        export(student()[0], tmp_path / name, frames=frames)


def test_a_model_of_several_steps_is_refused(student, tmp_path):
    with pytest.raises(LcmError, match="diffusion model over encodec_small cannot be exported: expected one of consistency, regression"):
        export(student(kind="diffusion")[0], tmp_path / "m.pt2")
    assert not list(tmp_path.glob("*.pt2"))


def test_without_its_packages_onnx_is_explained(student, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(LcmError, match=r"onnx.* must be installed: `pip install lcm-superres\[onnx\]`"):
        export(student()[0], tmp_path / "m.onnx")

"""A released file becomes safetensors and JSON: complete, checked, once."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
import released_toy
import torch
from safetensors.torch import load_file
from safetensors.torch import save_file as save

from lcm.errors import CheckpointError
from lcm.mbd import audiocraft
from lcm.mbd.cli import main
from lcm.mbd.convert import convert
from lcm.mbd.layout import unet_shapes
from lcm.mbd.released import FILE_BYTES, SHA256, UNET, UNET_RELEASED
from lcm.mbd.weights import read


@pytest.fixture
def source(tmp_path) -> Path:
    return released_toy.write(tmp_path / "here")


def test_every_tensor_and_every_config_comes_back(source):
    convert(source)
    weights, package = read(str(source.parent), 8), released_toy.package()
    assert (weights.n_q, weights.sample_rate, len(weights.bands)) == (8, 24_000, 4)
    for i, band in enumerate(weights.bands):
        for found, wanted in ((band.unet_state, package[i]["model_state"]), (band.processor_state, package[i]["processor_state"])):
            assert found.keys() == wanted.keys()
            assert all(torch.equal(found[k], wanted[k]) for k in wanted)
        assert band.unet == released_toy.TOY_UNET
        assert band.schedule["beta_exp"] == 7.5
        assert band.processor["use"] == (i >= 2)
        assert band.channels == 1


def test_the_json_holds_source_licence_and_digests_but_not_the_training(source):
    made = convert(source)
    described = json.loads(made.pair.description.read_text())
    assert described["source"]["sha256"] == hashlib.sha256(source.read_bytes()).hexdigest()
    assert described["source"]["published"] is False
    assert "CC-BY-NC 4.0" in described["licence"]
    assert "optim" not in json.dumps(described)


def test_the_identity_is_that_of_the_content_wherever_it_lies(source, tmp_path):
    other = released_toy.write(tmp_path / "there", optim={"another": "training"})
    assert convert(source).identity == convert(other, tmp_path / "elsewhere").identity
    package = released_toy.package()
    package[1]["model_state"]["conv_codec.bias"] += 1e-3
    torch.save(package, changed := tmp_path / "mbd_comp_8.pt")
    assert convert(changed).identity != convert(source).identity


def test_a_config_that_differs_is_another_identity(source, tmp_path):
    package = released_toy.package()
    package[0]["cfg"].schedule.beta_t1 = 0.03
    other = tmp_path / "mbd_comp_8.pt"
    torch.save(package, other)
    assert convert(other).identity != convert(source).identity


def test_converting_again_writes_nothing(source):
    made = convert(source)
    before = made.pair.tensors.stat().st_mtime_ns
    assert convert(source).identity == made.identity
    assert made.pair.tensors.stat().st_mtime_ns == before


def test_a_damaged_conversion_is_made_anew(source):
    made = convert(source)
    made.pair.tensors.write_bytes(b"half")
    assert convert(source).identity == made.identity
    assert read(str(source.parent), 8).identity == made.identity


def test_processes_that_convert_at_once_leave_one_whole_pair_and_nothing_else(source):
    command = [sys.executable, "-m", "lcm.mbd", "convert", str(source)]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    said = {p.communicate(timeout=120)[0] for p in running}
    assert [p.returncode for p in running] == [0, 0, 0]
    assert len(said) == 1
    assert sorted(p.name for p in source.parent.iterdir()) == [".lock", "mbd_comp_8.json", "mbd_comp_8.pt", "mbd_comp_8.safetensors"]
    read(str(source.parent), 8)


def test_a_conversion_that_fails_leaves_nothing_behind(source, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("lcm.mbd.pair.os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        convert(source)
    assert sorted(p.name for p in source.parent.iterdir()) == [".lock", "mbd_comp_8.pt"]


def test_tensors_that_share_memory_are_converted_too(tmp_path):
    package, flat = released_toy.package(), torch.randn(1000)
    package[0]["model_state"]["conv_codec.bias"] = flat[:16]
    package[1]["model_state"]["conv_codec.bias"] = flat[16:32]
    torch.save(package, file := tmp_path / "mbd_comp_4.pt")
    convert(file)
    assert torch.equal(read(str(tmp_path), 4).bands[1].unet_state["conv_codec.bias"], flat[16:32])


def without(key):
    def change(package):
        del package[key]

    return change


def at(band, part, name, value):
    def change(package):
        package[band][part][name] = value

    return change


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (without("n_bands"), "not 'sample_rate', 'n_bands' and the bands"),
        (without(3), r"n_bands is 4, but the bands in it are \[0, 1, 2\]"),
        (lambda p: p.update(n_bands=3), r"n_bands is 3, but the bands in it are \[0, 1, 2, 3\]"),
        (lambda p: p.update(sample_rate=32_000), "32000 Hz, not 24000"),
        (lambda p: p[1].pop("processor_state"), "band 1 lacks"),
        (lambda p: p[1]["model_state"].pop("conv_codec.bias"), r"band 1 lacks 1 tensors, such as conv_codec\.bias"),
        (at(1, "model_state", "more", torch.zeros(1)), "band 1 has 1 tensors too many, such as more"),
        (at(2, "model_state", "conv_codec.bias", torch.zeros(5)), r"conv_codec\.bias is \(5,\), but its config describes \(16,\)"),
        (
            at(2, "model_state", "conv_codec.bias", torch.full((16,), torch.nan)),
            r"band 2: conv_codec\.bias holds values that are not finite",
        ),
        (at(2, "model_state", "conv_codec.bias", "text"), "band 2 holds something else than floating-point tensors"),
        (at(3, "processor_state", "sum_x", torch.zeros(4)), r"processor: sum_x is \(4,\), but its config describes \(8,\)"),
        (at(3, "processor_state", "counts", torch.zeros(1)), "has counted no clip"),
        (at(0, "cfg", "diffusion_unet", {"hidden": 4}), r"lacks unet\.depth, unet\.kernel"),
        (at(0, "cfg", "channels", "${nowhere}"), "the config of band 0 cannot be read"),
        (lambda p: p[0].update(cfg=7), "the config of band 0 cannot be read"),
        (lambda p: p[0]["cfg"].diffusion_unet.update(transformer=True), "band 0 has an LSTM, a transformer"),
        (lambda p: p[0]["cfg"].schedule.update(repartition="cosine"), "a schedule that audiocraft 1.3.0 does not run"),
    ],
)
def test_what_is_not_as_released_is_named_and_nothing_is_written(tmp_path, change, said):
    package = released_toy.package()
    change(package)
    torch.save(package, file := tmp_path / "mbd_comp_2.pt")
    with pytest.raises(CheckpointError, match=said) as caught:
        convert(file)
    assert str(file) in str(caught.value)
    assert not list(tmp_path.glob("*.safetensors")) + list(tmp_path.glob("*.json"))


def test_a_full_disk_is_foreseen(source, monkeypatch):
    monkeypatch.setattr("lcm.mbd.convert.shutil.disk_usage", lambda _: type("Usage", (), {"free": 1000}))
    with pytest.raises(CheckpointError, match="has 1,000 bytes free"):
        convert(source)


def test_a_name_that_is_not_the_released_one_says_which_are(tmp_path):
    with pytest.raises(CheckpointError, match=r"mbd_comp_2\.pt, mbd_comp_4\.pt, mbd_comp_8\.pt"):
        convert(tmp_path / "mbd.pt")
    with pytest.raises(CheckpointError, match="not released for 32 codebooks"):
        convert(tmp_path / "mbd_comp_32.pt")


@pytest.mark.parametrize("unet", [{}, {"res_blocks": 2}, {"emb_all_layers": False, "depth": 3}, {"growth": 2.5, "max_channels": 8}])
def test_the_expected_tensors_are_those_of_audiocraft_s_own_network(unet):
    sizes = {**released_toy.TOY_UNET, **unet}
    own = audiocraft.load().DiffusionUnet(chin=1, num_steps=20, **sizes).state_dict()
    assert {k: tuple(v.shape) for k, v in own.items()} == unet_shapes(sizes, 1, 20)


def test_the_released_size_fits_two_residual_blocks_and_not_one():
    def size(unet):
        return 4 * 4 * sum(torch.Size(s).numel() for s in unet_shapes(unet, 1, 1000).values())

    assert 0 < FILE_BYTES - size(UNET_RELEASED) < 500_000
    assert FILE_BYTES - size(UNET) > 1_900_000_000


def test_the_publisher_s_own_file_is_known_by_its_digest(source, monkeypatch):
    assert "a file that is NOT the publisher's" in convert(source).lines()[-1]
    monkeypatch.setitem(SHA256, 4, hashlib.sha256(source.read_bytes()).hexdigest())
    (same := source.with_name("mbd_comp_4.pt")).write_bytes(source.read_bytes())
    assert "from the publisher's file" in convert(same).lines()[-1]


def test_the_command_prints_names_bytes_and_identity(source, tmp_path, capsys):
    assert main(["convert", str(source), str(tmp_path / "out")]) == 0
    said, tensors = capsys.readouterr().out, tmp_path / "out" / "mbd_comp_8.safetensors"
    assert f"{tensors}, {tensors.stat().st_size:,} bytes" in said
    assert f"identity {read(str(tmp_path / 'out'), 8).identity}" in said
    assert source.exists()


def test_the_command_ends_with_one_line_and_exit_code_1_where_something_is_wrong(tmp_path, capsys):
    assert main(["convert", str(tmp_path / "mbd_comp_8.pt")]) == 1
    assert capsys.readouterr().err == f"There is no {tmp_path / 'mbd_comp_8.pt'}.\n"


def test_a_damaged_pair_is_refused_by_name(source):
    pair = convert(source).pair
    content = bytearray(pair.tensors.read_bytes())
    content[-3] ^= 1
    pair.tensors.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"mbd_comp_8\.safetensors is damaged \(band \d is not what mbd_comp_8\.json describes"):
        read(str(source.parent), 8)
    pair.tensors.write_bytes(content[:-100])
    with pytest.raises(CheckpointError, match=r"mbd_comp_8\.safetensors is damaged"):
        read(str(source.parent), 8)


@pytest.mark.parametrize("edit", [lambda t: t[:-20], lambda t: t.replace("7.5", "7.6"), lambda t: t.replace('"format": 1', '"format": 2')])
def test_a_damaged_or_edited_description_is_refused_by_name(source, edit):
    description = convert(source).pair.description
    description.write_text(edit(description.read_text()))
    with pytest.raises(CheckpointError, match=r"mbd_comp_8\.json is damaged"):
        read(str(source.parent), 8)


def test_tensors_of_another_conversion_are_refused(source, tmp_path):
    mine = convert(source).pair
    tensors = load_file(mine.tensors)
    save({k: v + 1 for k, v in tensors.items()}, mine.tensors)
    with pytest.raises(CheckpointError, match="band 0 is not what"):
        read(str(source.parent), 8)

"""EnCodec 24 kHz loads from Meta's file and from the hub's, and is one codec."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file

from lcm.codec import CodecConfig, load_codec
from lcm.codec_files import ENCODEC_FILE, REPOSITORY, find, hub_name
from lcm.errors import CodecError
from lcm.offline import no_network

SNAPSHOT = f"models--{REPOSITORY.replace('/', '--')}/snapshots/c1dbe2a"


@pytest.fixture(scope="module")
def random():
    return load_codec(CodecConfig("encodec_24khz", weights="random"))


@pytest.fixture(autouse=True)
def caches(tmp_path, monkeypatch):
    for name, folder in {"TORCH_HOME": "torch", "HF_HOME": "hf"}.items():
        monkeypatch.setenv(name, str(tmp_path / folder))
    for name in ("HF_HUB_CACHE", "AUDIOCRAFT_CACHE_DIR"):
        monkeypatch.delenv(name, raising=False)


def under_hub_names(codec):
    return {hub_name(k): v.clone() for k, v in codec.model.state_dict().items()}


def write(file, tensors):
    file.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, file) if file.suffix == ".safetensors" else torch.save(tensors, file)
    return file


def same(codec, other):
    audio = 0.1 * torch.randn(1, 1, 3200)
    codes = codec.encode(audio)
    return (
        codec.identity == other.identity
        and torch.equal(codes, other.encode(audio))
        and torch.equal(codec.decode(codec.latents(codes)), other.decode(other.latents(codes)))
    )


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [  # a tensor of each kind, as transformers names them
        ("encoder.model.0.conv.conv.weight_g", "encoder.layers.0.conv.weight_g"),
        ("encoder.model.1.block.3.conv.conv.bias", "encoder.layers.1.block.3.conv.bias"),
        ("encoder.model.10.shortcut.conv.conv.weight_v", "encoder.layers.10.shortcut.conv.weight_v"),
        ("encoder.model.13.lstm.weight_ih_l1", "encoder.layers.13.lstm.weight_ih_l1"),
        ("decoder.model.1.lstm.bias_hh_l0", "decoder.layers.1.lstm.bias_hh_l0"),
        ("decoder.model.3.convtr.convtr.weight_v", "decoder.layers.3.conv.weight_v"),
        ("decoder.model.12.convtr.convtr.bias", "decoder.layers.12.conv.bias"),
        ("decoder.model.13.block.1.conv.conv.weight_g", "decoder.layers.13.block.1.conv.weight_g"),
        ("quantizer.vq.layers.31._codebook.embed_avg", "quantizer.layers.31.codebook.embed_avg"),
    ],
)
def test_tensors_have_the_hub_s_names(random, ours, theirs):
    assert ours in random.model.state_dict()
    assert hub_name(ours) == theirs


def test_all_252_tensors_have_a_hub_name_of_their_own(random):
    names = under_hub_names(random)
    assert len(names) == 252
    assert not [k for k in names if ".model." in k or "conv.conv" in k or "convtr" in k or ".vq." in k or "_codebook" in k]


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
@pytest.mark.parametrize("place", ["mine", f"mine/{SNAPSHOT}"])
def test_a_folder_with_the_hub_s_file_gives_the_same_codec_to_the_bit(tmp_path, random, name, place):
    write(tmp_path / place / name, under_hub_names(random))
    assert same(load_codec(CodecConfig("encodec_24khz", folder=str(tmp_path / "mine"))), random)


def test_the_hub_s_cache_is_found_without_being_named_and_without_network(tmp_path, random):
    write(tmp_path / "hf" / "hub" / SNAPSHOT / "model.safetensors", under_hub_names(random))
    with no_network() as reached:
        assert load_codec(CodecConfig("encodec_24khz")).identity == random.identity
    assert reached == []


def test_the_later_spelling_of_weight_normalisation_loads_too(tmp_path, random):
    later = (("weight_g", "parametrizations.weight.original0"), ("weight_v", "parametrizations.weight.original1"))
    tensors = under_hub_names(random)
    for old, new in later:
        tensors = {k.replace(old, new): v for k, v in tensors.items()}
    assert sum("original1" in k for k in tensors) == 36  # convolutions
    write(tmp_path / "model.safetensors", tensors)
    assert same(load_codec(CodecConfig("encodec_24khz", folder=str(tmp_path))), random)


def test_meta_s_own_file_goes_first(tmp_path, random):
    write(tmp_path / "model.safetensors", under_hub_names(random))
    (tmp_path / ENCODEC_FILE).write_bytes(b"not weights")
    assert find(str(tmp_path)) == tmp_path / ENCODEC_FILE
    with pytest.raises(CodecError, match="damaged or another file"):
        load_codec(CodecConfig("encodec_24khz", folder=str(tmp_path)))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t: t.pop("encoder.layers.0.conv.bias"), r"1 tensors are missing \['encoder\.layers\.0\.conv\.bias'\]"),
        (lambda t: t.update(more=torch.zeros(1)), r"1 left over \['more'\]"),
        (
            lambda t: t.update({"encoder.layers.0.conv.bias": torch.zeros(3)}),
            r"1 of another shape \['encoder\.model\.0\.conv\.conv\.bias'\]",
        ),
    ],
)
def test_a_file_of_another_model_is_refused_with_what_differs(tmp_path, random, change, said):
    tensors = under_hub_names(random)
    change(tensors)
    file = write(tmp_path / "model.safetensors", tensors)
    with pytest.raises(CodecError, match=said) as caught:
        load_codec(CodecConfig("encodec_24khz", folder=str(tmp_path)))
    assert str(file) in str(caught.value)


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
def test_a_damaged_file_from_the_hub_is_refused_by_name(tmp_path, name):
    (tmp_path / name).write_bytes(b"half a download")
    with pytest.raises(CodecError, match=rf"{name} is damaged"):
        load_codec(CodecConfig("encodec_24khz", folder=str(tmp_path)))


def test_what_is_missing_is_named_under_both_names(tmp_path):
    with pytest.raises(CodecError, match=rf"{ENCODEC_FILE} .*{REPOSITORY}'s model\.safetensors"):
        load_codec(CodecConfig("encodec_24khz", folder=str(tmp_path)))

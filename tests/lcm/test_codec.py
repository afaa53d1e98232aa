import subprocess
import sys

import pytest
import torch

from lcm.codec import CodecConfig, load_codec
from lcm.codec_files import ENCODEC_FILE
from lcm.errors import CodecError
from lcm.spectral import Mdct


def test_encodec_imports_beside_the_installed_torch():
    code = "from lcm.compat import import_encodec; print(import_encodec().EncodecModel.__name__)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "EncodecModel"


@pytest.mark.parametrize("length", [1, 319, 320, 24_001])
def test_the_mdct_reconstructs_any_length_exactly(length):
    audio, mdct = torch.randn(2, 1, length), Mdct()
    assert torch.allclose(mdct.synthesise(mdct.analyse(audio))[..., :length], audio, atol=1e-5)


def test_a_frame_is_320_samples_and_the_last_one_is_padded(codec):
    assert codec.encode(torch.zeros(1, 1, 24_001)).shape == (1, 8, 76)


def test_small_codec_is_the_encodec_packages_own_model_class(codec):
    assert type(codec.model).__name__ == "EncodecModel"
    assert type(codec.model.quantizer).__module__.startswith("encodec.")
    assert [tuple(table.shape) for table in codec.embeddings] == [(1024, 128)] * 8


def test_latents_of_codes_are_the_quantisers_own(codec):
    codes = codec.encode(0.1 * torch.randn(1, 1, 6400))
    assert torch.allclose(codec.latents(codes), codec.model.quantizer.decode(codes.transpose(0, 1)), atol=1e-5)


def test_requantising_one_codebook_returns_its_codes(codec):
    codes = codec.encode(0.1 * torch.randn(1, 1, 6400))
    vectors = codec.codebook_latents(codes)
    for k in range(8):
        assert torch.equal(codec.requantise(vectors[:, k], k, k + 1)[:, 0], codes[:, k])


def test_the_shipped_codec_restores_speech_better_than_silence(codec, speech):
    audio = torch.from_numpy(speech)[None, None]
    decoded = codec.decode(codec.latents(codec.encode(audio)), len(speech))
    assert (decoded - audio).norm() < 0.75 * audio.norm()


def test_gradients_pass_the_frozen_decoder_to_the_latents(codec):
    latents = torch.randn(1, 128, 20, requires_grad=True)
    codec.decode(latents).square().sum().backward()
    assert latents.grad is not None
    assert float(latents.grad.norm()) > 0
    assert all(not p.requires_grad for p in codec.parameters())


def test_encodec_24khz_runs_at_full_size_with_random_weights():
    big = load_codec(CodecConfig("encodec_24khz", 24.0, weights="random"))
    codes = big.encode(torch.randn(1, 1, 3200))
    assert codes.shape == (1, 32, 10)
    assert big.decode(big.latents(codes), 3200).shape == (1, 1, 3200)


def test_missing_encodec_weights_name_the_file_its_size_and_its_place(tmp_path):
    with pytest.raises(CodecError, match=r"encodec_24khz-d7cc33bc\.th \(93,171,529 bytes\)"):
        load_codec(CodecConfig("encodec_24khz", folder=str(tmp_path)))


def test_damaged_encodec_weights_are_refused(tmp_path):
    (tmp_path / ENCODEC_FILE).write_bytes(b"not weights")
    with pytest.raises(CodecError, match="damaged or another file"):
        load_codec(CodecConfig("encodec_24khz", folder=str(tmp_path)))


def test_weights_in_the_state_dict_layout_of_the_release_load(tmp_path, monkeypatch):
    random = load_codec(CodecConfig("encodec_24khz", weights="random"))
    torch.save(random.model.state_dict(), tmp_path / ENCODEC_FILE)
    monkeypatch.setattr("lcm.codec_files._check_digest", lambda file: None)  # these are random weights: the digest cannot match
    assert load_codec(CodecConfig("encodec_24khz", folder=str(tmp_path))).identity == random.identity


def test_an_unknown_codec_or_bandwidth_names_the_choices():
    with pytest.raises(CodecError, match="encodec_24khz"):
        load_codec(CodecConfig("opus"))
    with pytest.raises(CodecError, match=r"1\.5, 3\.0, 6\.0"):
        load_codec(CodecConfig(bandwidth_kbps=5.0))


def test_identity_changes_with_the_number_of_codebooks():
    assert load_codec(CodecConfig()).identity != load_codec(CodecConfig(bandwidth_kbps=3.0)).identity

import pytest
import torch

from lcm.codec import CodecConfig, load_codec
from lcm.codec_speed import _argmax, _Folded, fast


@pytest.fixture(scope="module")
def encodec():
    return load_codec(CodecConfig("encodec_24khz", 6.0, weights="random"))


@pytest.fixture(scope="module")
def noise():
    return 0.1 * torch.randn(2, 1, 24_001, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("samples", [24_001, 320, 321, 5, 1])
def test_the_fast_copy_gives_the_same_latents_codes_and_audio(encodec, noise, samples):
    audio, faster = noise[..., :samples], fast(encodec)
    with torch.no_grad():
        torch.testing.assert_close(faster.model.encoder(audio), encodec.model.encoder(audio), atol=1e-5, rtol=1e-4)
        codes = encodec.encode(audio)
        latents = encodec.latents(codes)
        torch.testing.assert_close(faster.decode(latents, samples), encodec.decode(latents, samples), atol=1e-5, rtol=1e-4)
    assert torch.equal(faster.encode(audio), codes)


def test_the_fast_copy_leaves_the_codec_as_it_is_and_passes_for_it(encodec):
    before = {name: value.clone() for name, value in encodec.state_dict().items()}
    faster = fast(encodec)
    assert all(torch.equal(value, before[name]) for name, value in encodec.state_dict().items())
    assert (faster.identity, faster.n_q, faster.device) == (encodec.identity, encodec.n_q, encodec.device)
    assert faster.model.quantizer is encodec.model.quantizer
    assert type(encodec.model.encoder).__name__ == "SEANetEncoder"


def test_layers_with_weight_norm_folded_give_the_same_to_the_bit(encodec, noise):
    with torch.no_grad():
        assert torch.equal(_Folded(encodec.model.encoder.model)(noise), encodec.model.encoder(noise))
    assert hasattr(encodec.model.encoder.model[0].conv.conv, "weight_g")


@pytest.mark.parametrize("samples", [48_000, 24_001, 320, 5, 1])
def test_the_small_codecs_fast_copy_gives_the_same_codes_and_audio(codec, speech, samples):
    audio, faster = torch.from_numpy(speech)[None, None, -samples:].repeat(2, 1, 1), fast(codec)
    codes = codec.encode(audio)
    assert torch.equal(faster.encode(audio), codes)
    latents = codec.latents(codes)
    torch.testing.assert_close(faster.latents(codes), latents, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(faster.decode(latents, samples), codec.decode(latents, samples), atol=1e-5, rtol=1e-4)


def test_fewer_codebooks_and_some_of_them_are_found_by_the_fast_quantiser(codec, speech):
    narrow = load_codec(CodecConfig(bandwidth_kbps=3.0))
    audio = torch.from_numpy(speech)[None, None]
    assert torch.equal(fast(narrow).encode(audio), narrow.encode(audio))
    latents = codec.model.encoder(audio)
    assert torch.equal(fast(codec).requantise(latents, 2, 5), codec.requantise(latents, 2, 5))
    some = codec.encode(audio)[:, :3]
    torch.testing.assert_close(fast(codec).latents(some), codec.latents(some))


def test_the_first_of_equally_near_codes_is_taken():
    scores = torch.zeros(3, 1024)
    scores[1, [77, 900]], scores[2, 1023] = 1.0, 2.0
    assert _argmax(scores).tolist() == [0, 77, 1023]


def test_a_fast_copy_is_not_copied_again(codec):
    faster = fast(codec)
    assert fast(faster) is faster

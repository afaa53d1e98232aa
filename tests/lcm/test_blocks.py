import pytest
import torch

from lcm.blocks import SIGMA_DATA, Blocks, check_partition
from lcm.codec import CodecConfig, load_codec
from lcm.degrade import Degradation, apply
from lcm.errors import LcmError


@pytest.fixture
def codes(codec, speech):
    return codec.encode(torch.from_numpy(speech)[None, None])


def fitted(codec, codes, partition):
    blocks = Blocks(partition, codec.dimension)
    blocks.fit(codec, [(codes, codes)])
    return blocks


@pytest.mark.parametrize("partition", [(8,), (2, 6), (1, 1, 2, 4), (1,) * 8])
def test_the_sum_of_the_blocks_is_the_codecs_latent(codec, codes, partition):
    blocks = fitted(codec, codes, partition)
    assert torch.allclose(blocks.to_latents(blocks.to_state(codec, codes)), codec.latents(codes), atol=1e-3)


@pytest.mark.parametrize("partition", [(8,), (1, 1, 2, 4)])
def test_each_channel_of_the_state_has_deviation_sigma_data(codec, codes, partition):
    state = fitted(codec, codes, partition).to_state(codec, codes).unflatten(1, (len(partition), -1))
    centred = state - state.mean(-1, keepdim=True)
    assert torch.allclose(centred.square().mean((0, 3)).sqrt(), torch.full((len(partition), 128), SIGMA_DATA), atol=1e-3)


def test_the_requantiser_returns_the_codes_of_one_codebook_blocks(codec, codes):
    blocks = fitted(codec, codes, (1,) * 8)
    assert torch.equal(blocks.to_codes(codec, blocks.to_state(codec, codes)), codes)


def test_requantising_a_wide_block_stays_close_in_latent_space(codec, codes):
    blocks = fitted(codec, codes, (8,))
    again = codec.latents(blocks.to_codes(codec, blocks.to_state(codec, codes)))
    error = (again - codec.latents(codes)).norm() / codec.latents(codes).norm()
    assert float(error) < 0.25


def test_coarse_blocks_weigh_more_than_fine_ones(codec, codes):
    weights = fitted(codec, codes, (1,) * 8).loss_weights()
    assert weights[0] == weights.max()
    assert torch.allclose(weights.mean(), torch.ones(()))


@pytest.mark.parametrize("partition", [[], [4], [9], [8, 0], [-1, 9]])
def test_a_partition_that_does_not_add_up_is_refused_with_a_valid_one(partition):
    with pytest.raises(LcmError, match=r"add up to the codec's 8 codebooks, e\.g\. \[8\]"):
        check_partition(partition, 8)


@pytest.fixture
def degraded(codec, speech):
    return codec.encode(torch.from_numpy(apply(speech, Degradation(4000.0)))[None, None])


@pytest.fixture
def around(codec, codes, degraded):
    """Blocks whose state is the residual to the degraded codes, and that anchor."""

    def make(partition):
        blocks = Blocks(partition, codec.dimension, prior="condition")
        blocks.fit(codec, [(codes, degraded)])
        return blocks, blocks.anchor(codec, degraded)

    return make


@pytest.mark.parametrize("partition", [(8,), (1, 1, 2, 4)])
def test_around_the_condition_the_state_of_the_degraded_codes_does_not_move(codec, around, degraded, partition):
    blocks, anchor = around(partition)
    state = blocks.to_state(codec, degraded, anchor)
    assert float((state - state[..., :1]).abs().max()) < 1e-5
    assert torch.allclose(blocks.to_latents(state, anchor), codec.latents(degraded), atol=1e-4)


@pytest.mark.parametrize("partition", [(8,), (2, 6), (1,) * 8])
def test_around_the_condition_the_way_to_latents_and_back_is_exact(codec, around, codes, partition):
    blocks, anchor = around(partition)
    state = blocks.to_state(codec, codes, anchor)
    assert torch.allclose(blocks.to_latents(state, anchor), codec.latents(codes), atol=1e-3)
    if max(partition) == 1:
        assert torch.equal(blocks.to_codes(codec, state, anchor), codes)


def test_around_the_condition_the_state_has_deviation_sigma_data_too(codec, around, codes):
    blocks, anchor = around((2, 6))
    state = blocks.to_state(codec, codes, anchor)
    assert float((state - state.mean(-1, keepdim=True)).square().mean().sqrt()) == pytest.approx(SIGMA_DATA, rel=0.05)


def test_the_normal_prior_has_no_anchor(codec, codes):
    assert fitted(codec, codes, (8,)).anchor(codec, codes) is None


def test_given_weights_are_used_and_scaled_to_mean_one(codec, codes):
    blocks = Blocks((2, 6), codec.dimension, weights=(3.0, 1.0))
    blocks.fit(codec, [(codes, codes)])
    assert blocks.loss_weights().tolist() == [1.5, 0.5]


@pytest.mark.parametrize("weights", [(1.0,), (1.0, -1.0), (0.0, 0.0), (1.0, 1.0, 1.0)])
def test_weights_that_do_not_fit_the_blocks_are_refused(weights):
    with pytest.raises(LcmError, match=r"must be 2 numbers >= 0, one a block, not all 0; or empty"):
        Blocks((2, 6), 128, weights=weights)


def test_an_unknown_prior_is_refused_with_the_valid_ones():
    with pytest.raises(LcmError, match="normal, condition"):
        Blocks((8,), 128, prior="uniform")


def test_statistics_of_clips_that_do_not_differ_from_their_condition_stay_finite(codec, codes):
    blocks = Blocks((2, 6), codec.dimension, prior="condition")
    blocks.fit(codec, [(codes, codes)])  # an undegraded corpus: every residual is 0
    state = blocks.to_state(codec, codes, blocks.anchor(codec, codes))
    assert bool(state.isfinite().all())
    assert bool(blocks.loss_weights().isfinite().all())


@pytest.fixture(scope="module")
def codec_of_32():
    return load_codec(CodecConfig("encodec_24khz", 24.0, weights="random"))


@pytest.mark.parametrize("partition", [(1,) * 32, (32,), (1, 1, 2, 4, 8, 16), (5, 27)])
def test_32_codebooks_go_to_a_state_and_back_for_any_partition(codec_of_32, partition):
    codes = torch.randint(1024, (1, 32, 50), generator=torch.Generator().manual_seed(0))
    blocks = fitted(codec_of_32, codes, partition)
    state = blocks.to_state(codec_of_32, codes)
    assert state.shape == (1, 128 * len(partition), 50)
    latents = codec_of_32.latents(codes)
    assert torch.allclose(blocks.to_latents(state), latents, atol=1e-3)
    again = blocks.to_codes(codec_of_32, state)
    assert again.shape == codes.shape
    for (start, stop), size in zip(blocks.bounds, partition, strict=True):
        if size == 1:
            assert torch.equal(again[:, start:stop], codes[:, start:stop])

import pytest
import torch

from lcm.blocks import SIGMA_DATA, Blocks, check_partition
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

import pytest
import torch

from lcm.codec_speed import fast
from lcm.network import LcmMcb
from lcm.network_speed import FastLcmMcb, fast_model


@pytest.mark.parametrize("frames", [1, 31, 32, 33, 150])
@pytest.mark.parametrize("partition", [(8,), (2, 6)])
def test_the_fast_copy_restores_the_same_latents_at_any_length(make_model, codec, frames, partition):
    model = make_model(partition=partition)
    torch.nn.init.normal_(model.network.modulate.weight, std=0.1)  # shift, scale and gate that say something
    codes = torch.randint(1024, (2, 8, frames), generator=torch.Generator().manual_seed(0))
    cutoffs = torch.tensor([4000.0, 8000.0])
    expected = model.restore(codec, codes, cutoffs, steps=2, seeds=[1, 2])
    found = fast_model(model).restore(fast(codec), codes, cutoffs, steps=2, seeds=[1, 2])
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_autocast_leaves_the_fast_trunk_in_float32(make_model, codec):
    model = make_model()
    codes = torch.randint(1024, (1, 8, 40), generator=torch.Generator().manual_seed(0))
    expected = model.restore(codec, codes, torch.tensor([6000.0]))
    with torch.autocast("cpu", torch.bfloat16):
        found = fast_model(model).restore(codec, codes, torch.tensor([6000.0])).float()
    torch.testing.assert_close(found, expected, atol=0.2, rtol=0.02)  # the heads are in bf16


def test_padding_is_not_looked_at(make_model):
    model = make_model()
    network, generator = model.network, torch.Generator().manual_seed(0)
    x, condition = (torch.randn(2, 128, 70, generator=generator) for _ in range(2))
    mask = torch.arange(70) < torch.tensor([[70], [41]])
    given = (torch.full((2,), 3.0), condition, torch.full((2,), 6000.0), mask)
    with torch.no_grad():
        expected = network(x, *given).state * mask[:, None]
        found = FastLcmMcb(network)(x, *given).state * mask[:, None]
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_the_fast_copy_leaves_the_model_as_it_is(make_model):
    model = make_model()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    faster = fast_model(model)
    assert type(model.network) is LcmMcb
    assert type(faster.network) is FastLcmMcb
    assert faster.blocks is model.blocks
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert fast_model(faster) is faster


def test_a_model_that_would_not_gain_is_returned_as_it_is(make_model):
    classifier = make_model("token_ce")
    assert fast_model(classifier) is classifier

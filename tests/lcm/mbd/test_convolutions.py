"""The U-Net's convolutions laid out for the CPU give what PyTorch's give."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from lcm.mbd import convolutions
from lcm.mbd.bands import process
from lcm.mbd.convolutions import MinimalConv1d, PackedConv1d, PhasedTranspose1d, speed_up
from lcm.mbd.released import PROCESSOR, SCHEDULE, UNET_RELEASED

pytestmark = pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="this torch has no oneDNN")


def same(made: nn.Module, conv: nn.Module, *shape: int) -> bool:
    torch.manual_seed(1)
    with torch.no_grad():
        signals = [torch.randn(shape), torch.randn(*shape[:2], shape[2] + 3)]  # the second has another shape than was laid out for
        return all(torch.allclose(made(x), conv(x), atol=2e-5) for x in signals)


@pytest.mark.parametrize(("kernel", "stride", "padding", "dilation"), [(3, 1, 1, 1), (8, 4, 2, 1), (3, 1, 2, 2)])
def test_a_packed_convolution_is_the_convolution(kernel, stride, padding, dilation):
    conv = nn.Conv1d(16, 32, kernel, stride, padding, dilation=dilation)
    assert same(PackedConv1d(conv), conv, 2, 16, 40)


@pytest.mark.parametrize("dilation", [1, 2, 3])
@pytest.mark.parametrize("length", [1, 2, 7, 40])
def test_minimal_filtering_is_the_convolution_at_every_length_and_dilation(dilation, length):
    conv = nn.Conv1d(24, 24, 3, padding=dilation, dilation=dilation)
    assert same(MinimalConv1d(conv), conv, 2, 24, length)


@pytest.mark.parametrize("stride", [2, 4])
def test_interleaved_phases_are_the_transposed_convolution(stride):
    conv = nn.ConvTranspose1d(12, 5, 2 * stride, stride, stride // 2, bias=False)
    assert same(PhasedTranspose1d(conv), conv, 2, 12, 9)


@pytest.fixture
def unet(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(convolutions, "_WIDE", 64)  # so that a small network has wide levels
    monkeypatch.setattr(convolutions, "_PACKED_FROM", 8)
    torch.manual_seed(0)
    return process({"chin": 1, **UNET_RELEASED, "hidden": 4, "depth": 3}, SCHEDULE, PROCESSOR).model


def test_a_u_net_uses_every_kind_and_gives_what_it_gave(unet):
    stock = copy.deepcopy(unet)
    fast = speed_up(unet)
    kinds = {type(module) for module in fast.modules()}
    assert {PackedConv1d, MinimalConv1d, PhasedTranspose1d} <= kinds
    x, condition = torch.randn(2, 1, 1000), torch.randn(2, 128, 6)
    with torch.no_grad():
        wanted = stock(x, 999, condition=condition).sample
        assert torch.allclose(fast(x, 999, condition=condition).sample, wanted, atol=1e-5)
        assert not torch.allclose(fast(x, 999, condition=condition * 0).sample, wanted, atol=1e-3)  # the condition arrives


def test_a_network_in_another_precision_is_left_alone(unet):
    before = [type(module) for module in unet.modules()]
    assert [type(module) for module in speed_up(unet.double()).modules()] == before

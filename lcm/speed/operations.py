"""Floating-point operations of a clip, counted by PyTorch: matrix products and convolutions, a multiplication and an addition each."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from lcm.speed.timed import Timed


def tflop(system: Timed, audio: Tensor) -> float | None:
    """Return the 1e12 operations of a system's network for one clip [1, 1, T], or None where they are not counted."""
    if system.count is None:
        return None
    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # the counter does not see into the fused layers
    try:
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            system.count(audio.to(system.device))
        with torch.no_grad(), FlopCounterMode(display=False) as codec:
            if system.inputs:
                system.inputs(audio.to(system.device))
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)
    network: int = counter.get_total_flops() - codec.get_total_flops()
    return network * system.count_scale / 1e12

"""Any recording in, its high band restored: measuring what is missing, restoring it block by block, files and folders."""

from __future__ import annotations

from functools import lru_cache

from lcm.upscaling.bandwidth import Bandwidth, BandwidthMeter
from lcm.upscaling.core import Result, Upscaler
from lcm.upscaling.stream import Stream

__all__ = ["Bandwidth", "BandwidthMeter", "Result", "Stream", "Upscaler", "shared"]


@lru_cache(maxsize=2)
def shared(source: str, device: str, steps: int, seed: int) -> Upscaler:
    """Return an upscaler that is kept between calls."""
    return Upscaler.load(source, device=device, steps=steps, seed=seed)

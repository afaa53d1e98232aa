"""MultiBandDiffusion, the reference's teacher: audiocraft's classes, their weights, and a sampler of the same result that does not wait."""

from __future__ import annotations

from lcm.mbd.stock import stock

__all__ = ["stock"]

"""The speed table: MultiBandDiffusion, the latent teacher, the student and the reference's student on one machine in one run.

Two protocols stand beside each other: an honest one (synchronised, warmed up, with encoding and decoding) and the one that the reference
published its figures by. `python -m lcm.speed --help` says how to run it.
"""

from __future__ import annotations

from lcm.speed.config import SpeedConfig

__all__ = ["SpeedConfig"]

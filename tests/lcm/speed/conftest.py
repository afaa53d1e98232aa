"""A run of the speed table at its smallest: real codec, real networks, untrained MultiBandDiffusion of a few channels."""

from __future__ import annotations

import pytest

from lcm.speed import SpeedConfig
from lcm.speed.run import measure

TOY = {"seconds": 0.2, "batch": 2, "repeats": 1, "hidden": 8, "res_blocks": 1, "mbd_calls": 1}


@pytest.fixture(scope="session")
def toy():
    """Settings with some of them replaced."""
    return lambda **changes: SpeedConfig(**{"codec": "encodec_small", "kbps": (6.0,), **TOY, **changes})


@pytest.fixture(scope="session")
def report(toy):
    """All systems by both protocols."""
    return measure(toy())

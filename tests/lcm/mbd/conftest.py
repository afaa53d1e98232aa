"""MultiBandDiffusion of narrow U-Nets with random weights, and EnCodec's architecture as untrained."""

from __future__ import annotations

import pytest
import torch

from lcm.codec import CodecConfig, load_codec
from lcm.mbd import stock
from lcm.teachers import TeacherConfig, load_teacher

NARROW = TeacherConfig(name="mbd", weights="random", hidden=4, steps=20, bw=3.0)


@pytest.fixture(scope="session")
def codec():
    return load_codec(CodecConfig("encodec_24khz", bandwidth_kbps=6.0, weights="random"))


@pytest.fixture(scope="session")
def teacher(codec):
    return load_teacher(NARROW, codec)


@pytest.fixture(scope="session")
def audiocrafts(codec):
    return stock(NARROW, codec)


@pytest.fixture
def codes():
    return torch.randint(0, 1024, (3, 8, 30), generator=torch.Generator().manual_seed(1))

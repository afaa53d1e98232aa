"""Fixtures of the science tests: real modules at their smallest."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lcm.codec import Codec, CodecConfig, load_codec
from lcm.model import Model, ModelSpec
from lcm.network import NetworkConfig
from lcm.reference import ReferenceConfig

TINY = NetworkConfig(width=32, depth=2, heads=2, window=8, head_width=32)
TINY_REFERENCE = ReferenceConfig(width=32, depth=1, heads=2, feedforward=32)


@pytest.fixture(scope="session")
def codec() -> Codec:
    return load_codec(CodecConfig())


@pytest.fixture(scope="session")
def speech() -> np.ndarray:
    """Two seconds of synthesised speech at 24 kHz."""
    from lcm.audio import resample
    from lcm.corpus.espeak import Voice, synthesise

    samples, rate = synthesise("She sells sea shells by the sea shore, six thick thistle sticks.", Voice("en-us+f3"))
    return resample(samples, rate, 24_000)[:48_000]


@pytest.fixture
def make_model(codec, speech):
    def make(kind="consistency", partition=(8,), seed=0, **spec):
        torch.manual_seed(seed)
        model = Model(ModelSpec(kind, partition, codec.identity, network=TINY, reference=TINY_REFERENCE, **spec), codec)
        codes = codec.encode(torch.from_numpy(speech)[None, None])
        model.blocks.fit(codec, [(codes, codes)])
        for head in getattr(model.network, "heads", []):
            if hasattr(head, "out"):
                torch.nn.init.normal_(head.out.weight, std=0.1)
        return model.eval()

    return make

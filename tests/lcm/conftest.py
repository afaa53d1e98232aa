"""Fixtures of the science tests: real modules at their smallest."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lcm import degrade
from lcm.codec import Codec, CodecConfig, load_codec
from lcm.degrade import Degradation
from lcm.model import Model, ModelSpec
from lcm.network import NetworkConfig
from lcm.reference import ReferenceConfig
from lcm.store import Record, Store
from slurm.local import run_plan
from slurm.shards import make_plan

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


class Encoded:
    """Encodes one speech clip, shifted, under the names u0, u1, ..., with its degraded variants."""

    batch_size = 1

    def __init__(self, codec, speech, degradations):
        self.codec, self.speech, self.degradations = codec, speech, degradations

    def prepare(self):
        pass

    def produce(self, keys):
        return [self._record(key) for key in keys]

    def _record(self, key):
        wave = np.roll(self.speech, 1000 * int(key[1:]))
        lows = [degrade.apply(wave, d) for d in self.degradations] or [wave]
        streams = {"hr": self._encode(wave), **{f"lr{i}": self._encode(low) for i, low in enumerate(lows)}}
        told = [d.to_dict() for d in self.degradations or [Degradation(6000.0)]]
        return Record(key, streams, {"speaker": key, "split": "train", "samples": len(wave), "degradations": told})

    def _encode(self, wave):
        return self.codec.encode(torch.from_numpy(wave.astype(np.float32))[None, None])[0].t().numpy().astype(np.int16)


@pytest.fixture(scope="session")
def encode_store(codec, speech, tmp_path_factory):
    """Make a codes store of a few clips; without degradations the input is the original itself, called one of 6 kHz."""

    def make(clips, degradations=()):
        folder = tmp_path_factory.mktemp("codes")
        run_plan(folder, make_plan([(f"u{i}", 150) for i in range(clips)], 1), lambda: Encoded(codec, speech, list(degradations)))
        return Store(folder)

    return make

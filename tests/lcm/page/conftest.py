"""A running page with the real parts at their smallest, and recordings to give it."""

from __future__ import annotations

import sys
import threading
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[2] / "analysis"))  # headless.py: the browser that the report's tests start too

from lcm.model import Model, ModelSpec
from lcm.network import NetworkConfig
from lcm.page.server import Page
from lcm.page.trial import Limits, Trials
from lcm.upscaling.core import Upscaler


@pytest.fixture(scope="session")
def upscaler(codec, speech):
    torch.manual_seed(0)
    network = NetworkConfig(width=32, depth=2, heads=2, window=8, head_width=32)
    model = Model(ModelSpec("consistency", (8,), codec.identity, network=network), codec)
    codes = codec.encode(torch.from_numpy(speech)[None, None])
    model.blocks.fit(codec, [(codes, codes)])
    for head in model.network.heads:
        torch.nn.init.normal_(head.out.weight, std=0.1)
    return Upscaler(model.eval(), codec)


@pytest.fixture(scope="session")
def serving(upscaler, tmp_path_factory):
    """Make a page that serves within a block."""

    @contextmanager
    def start(limits=None, host="127.0.0.1"):
        limits = limits or Limits()
        with Page((host, 0), limits) as page:
            page.trials = Trials(tmp_path_factory.mktemp("kept"), upscaler, limits)
            thread = threading.Thread(target=page.serve_forever, args=(0.02,))
            thread.start()
            try:
                yield page
            finally:
                page.shutdown()
                thread.join()

    return start


@pytest.fixture(scope="module")
def page(serving):
    with serving() as page:
        yield page


@pytest.fixture(scope="session")
def narrow(speech):
    """Two seconds of speech at 12 kHz, [T]."""
    from lcm.audio import resample

    return resample(speech, 24_000, 12_000)


@pytest.fixture
def written(tmp_path):
    """Write audio [T] or [C, T] and return the file's bytes."""
    import soundfile

    def write(samples, rate_hz, container="WAV", subtype=None):
        path = tmp_path / "recording"
        soundfile.write(path, np.asarray(samples).T, rate_hz, format=container, subtype=subtype)
        return path.read_bytes()

    return write

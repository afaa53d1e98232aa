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
sys.path.insert(0, str(Path(__file__).parent))  # on_the_page.py

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


@pytest.fixture(scope="session")
def folder(tmp_path_factory, speech):
    """Recordings to give to the page."""
    import soundfile
    from on_the_page import CAPTURED, RATE_HZ, chirps

    folder = tmp_path_factory.mktemp("recordings")
    soundfile.write(folder / "chirps.wav", chirps(), RATE_HZ)
    soundfile.write(folder / "speech.flac", np.stack([speech, 0.5 * speech])[:, ::2].T, 12_000)
    soundfile.write(folder / "silence.wav", np.zeros(12_000), 12_000)
    soundfile.write(folder / "noise.wav", np.random.default_rng(0).normal(0, 0.1, 24_000), 24_000)
    soundfile.write(folder / CAPTURED, np.tile(chirps(2.0), 3), RATE_HZ, subtype="PCM_16")
    (folder / "letter.wav").write_text("Dear Sir or Madam,\n" * 50)
    return folder


@pytest.fixture(scope="session")
def window(tmp_path_factory, folder):
    """A headless Chromium with a microphone that plays a file."""
    from headless import RECORD, chromium
    from on_the_page import CAPTURE, CAPTURED

    capture = (
        "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream", "--autoplay-policy=no-user-gesture-required",
        f"--use-file-for-fake-audio-capture={folder / CAPTURED}", "--host-resolver-rules=MAP elsewhere.test 127.0.0.1",
    )  # fmt: skip
    with chromium(tmp_path_factory.mktemp("chromium"), *capture) as window:
        window.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": RECORD + CAPTURE})
        yield window


@pytest.fixture
def browser(window, page):
    """The page, opened afresh."""
    from headless import messages

    window.get_log("performance")
    window.get(page.address)
    messages(window)
    return window

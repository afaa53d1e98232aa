"""An upscaler around an untrained model of short reach, and speech at 12 kHz."""

from __future__ import annotations

import numpy as np
import pytest

from lcm.audio import resample
from lcm.checkpoint import save_model
from lcm.upscaling import Upscaler


@pytest.fixture
def upscaler(make_model, codec):
    return Upscaler(make_model(), codec, chunk_s=0.5)


@pytest.fixture(scope="session")
def low(speech) -> np.ndarray:
    """Four seconds at 12 kHz [T]."""
    return resample(np.concatenate([speech, 0.5 * speech[::-1]]), 24_000, 12_000)


@pytest.fixture
def model_file(make_model, tmp_path_factory):
    """The untrained model as a file."""
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    save_model(path, make_model())
    return path


@pytest.fixture
def command(model_file, capsys):
    """Run `lcm upscale` with the untrained model; return exit code, stdout and stderr."""
    from lcm.__main__ import main

    def run(*words):
        capsys.readouterr()
        try:
            own = [] if "--model" in words else ["--model", str(model_file)]
            code = main(["upscale", *map(str, words), *own, *([] if "--device" in words else ["--device", "cpu"])])
        except SystemExit as stopped:  # argparse
            code = stopped.code
        said = capsys.readouterr()
        return code, said.out, said.err

    return run

"""Small corpora of noise that speech-like checks accept."""

from __future__ import annotations

import io

import numpy as np
import pytest
import soundfile
from rich.console import Console

from lcm.corpus import CorpusConfig, build


def noise(seconds=0.2, rate=24_000, seed=0):
    return np.random.default_rng(seed).normal(0, 0.1, round(seconds * rate)).clip(-1, 1)


@pytest.fixture
def record():
    """Write a recording, [seconds of] noise unless samples are given; each path has its own content."""

    def write(path, seconds=0.2, rate=24_000, samples=None, **options):
        path.parent.mkdir(parents=True, exist_ok=True)
        content = noise(seconds, rate, seed=sum(str(path.name).encode()) + 7 * len(str(path))) if samples is None else samples
        soundfile.write(path, content, rate, **options)
        return path

    return write


@pytest.fixture
def speakers(tmp_path, record):
    """A folder of six speakers with four recordings each, named `<root>/<speaker>/<n>.flac`."""
    root = tmp_path / "speech"
    for i in range(6):
        for j in range(4):
            record(root / f"anna{i}" / f"{j}.flac", seconds=0.2 + 0.01 * i)
    return root


@pytest.fixture
def built(tmp_path):
    """Build a corpus of a folder; returns the manifest and the printed summary."""

    def run(root, out=None, **settings):
        screen = io.StringIO()
        config = CorpusConfig(**{"source": "folder", "root": str(root), **settings})
        manifest = build(config, out or tmp_path / "corpus", Console(file=screen, width=300))
        return manifest, screen.getvalue()

    return run

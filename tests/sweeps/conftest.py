"""One tiny corpus and root, shared by the sweep tests: real speech synthesis, codec, store, training and evaluation."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from toy_sweep import squeue

from lcm.corpus import CorpusConfig
from lcm.evaluate import EvaluateConfig
from lcm.network import NetworkConfig
from lcm.training.optim import TrainConfig
from sweeps.config import BlocksConfig, Config


@pytest.fixture(scope="session")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("root with a space")


@pytest.fixture(scope="session")
def tiny(root) -> Config:
    """A point that trains for two steps."""
    return replace(
        Config(root=str(root), init="none", shards=2),
        corpus=CorpusConfig(demo_voices=3, demo_utterances=2),
        network=NetworkConfig(width=32, depth=1, heads=2),
        train=TrainConfig(steps=2, batch=2, checkpoint_every=1),
        evaluate=EvaluateConfig(steps=[1, 2], max_utterances=1, samples=1),
        blocks=BlocksConfig(),
    )


@pytest.fixture
def queue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A stand-in for squeue that answers with the jobs it is given."""
    return lambda *jobs, fails="": squeue(tmp_path, monkeypatch, *jobs, fails=fails)

"""Trains a tiny model in a process of its own, so that a test can kill it: FOLDER [--slow]."""

import sys
import time
from pathlib import Path

import torch

from lcm.codec import CodecConfig, load_codec
from lcm.data import Batch, DataConfig
from lcm.losses import LossConfig
from lcm.model import Model, ModelSpec
from lcm.network import NetworkConfig
from lcm.objectives import ObjectiveConfig
from lcm.paths import Run
from lcm.train import TrainConfig, Trainer


class RandomCodes:
    """Draws batches keyed to seed and step, as CropSource does."""

    config = DataConfig(context_frames=0)

    def batch(self, size, *, seed, step, rank=0, world=1):
        generator = torch.Generator().manual_seed(seed * 1000 + step)
        lr, hr = (torch.randint(1024, (size, 8, 16), generator=generator) for _ in range(2))
        return Batch(lr, hr, torch.full((size,), 6000.0), torch.ones(size, 16, dtype=torch.bool), torch.zeros(size, 0))


def main():
    torch.set_num_threads(1)
    torch.manual_seed(0)
    codec = load_codec(CodecConfig())
    network = NetworkConfig(width=32, depth=1, heads=2, window=8, head_width=32)
    model = Model(ModelSpec("consistency", (8,), codec.identity, network=network), codec)
    config = TrainConfig(steps=12, batch=2, warmup=1, checkpoint_every=1)
    trainer = Trainer(model, codec, RandomCodes(), ObjectiveConfig("ect"), LossConfig(), config, Run(Path(sys.argv[1])), seed=0)
    trainer.train(lambda step: time.sleep(0.3 if "--slow" in sys.argv else 0))


main()

"""Trains a tiny model in a process of its own, alone or as a rank, for tests that kill, limit or measure it.

FOLDER [--slow] [--stop STEP] [--ask RANK STEP] [--limit-mb MB]
[NAME=VALUE of TrainConfig, LossConfig, NetworkConfig or frames, target_ema ...]
"""

import argparse
import json
import os
import resource
import time
from dataclasses import fields
from pathlib import Path

import torch
import yaml

from lcm.codec import HOP, CodecConfig, load_codec
from lcm.data import Batch, DataConfig
from lcm.errors import LcmError
from lcm.losses import LossConfig
from lcm.model import Model, ModelSpec
from lcm.network import NetworkConfig
from lcm.objectives import ObjectiveConfig
from lcm.paths import Run
from lcm.training.optim import TrainConfig
from lcm.training.train import Trainer

DEFAULTS = {
    **{"steps": 12, "batch": 4, "warmup": 1, "checkpoint_every": 1, "estimate": False},
    **{"width": 32, "depth": 1, "heads": 2, "window": 8, "head_width": 32},
    **{"frames": 24, "target_ema": 0.0},
}


class RandomCodes:
    """Draws batches keyed to seed and step, as CropSource does."""

    def __init__(self, frames):
        self.config = DataConfig(crop_frames=frames, context_frames=4)

    def batch(self, size, *, seed, step, rank=0, world=1):
        frames = self.config.crop_frames
        generator = torch.Generator().manual_seed(seed * 1000 + step)
        lr, hr = (torch.randint(1024, (size, 8, frames), generator=generator) for _ in range(2))
        mask, none = torch.ones(size, frames, dtype=torch.bool), torch.zeros(size, 0, frames)
        audio = torch.randn(size, HOP * frames, generator=generator)
        whole = (lr, hr, torch.full((size,), 6000.0), mask, audio, torch.zeros(size, dtype=torch.bool), none, none)
        return Batch(*(part.chunk(world)[rank] for part in whole))


def of(kind, given):
    return kind(**{f.name: given[f.name] for f in fields(kind) if f.name in given})


def memory_mb(field):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:")) / 1000


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--slow", action="store_true")
    parser.add_argument("--stop", type=int)
    parser.add_argument("--ask", nargs=2, type=int)
    parser.add_argument("--limit-mb", type=int)
    parser.add_argument("settings", nargs="*")
    args = parser.parse_intermixed_args()
    given = {**DEFAULTS, **{name: yaml.safe_load(value) for name, value in (s.split("=", 1) for s in args.settings)}}
    torch.set_num_threads(1)
    torch.manual_seed(0)
    codec = load_codec(CodecConfig())
    model = Model(ModelSpec("consistency", (8,), codec.identity, network=of(NetworkConfig, given)), codec)
    if args.limit_mb:
        limit = int((memory_mb("VmSize") + args.limit_mb) * 1e6)
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    before_mb = memory_mb("VmRSS")
    objective = ObjectiveConfig("ect", target_ema=given["target_ema"])
    source, run = RandomCodes(given["frames"]), Run(args.folder)

    done = [0]

    def stop():
        done[0] += 1
        return args.ask == [int(os.environ.get("RANK", "0")), done[0]]

    def on_step(step):
        time.sleep(0.3 if args.slow else 0)
        if step == args.stop:
            estimate = trainer.memory.to_gb() if trainer.memory else {}
            print(json.dumps({"grown_mb": memory_mb("VmHWM") - before_mb, **estimate}))
            raise SystemExit

    try:
        trainer = Trainer(model, codec, source, objective, of(LossConfig, given), of(TrainConfig, given), run, seed=0, stop=stop)
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts here
        trainer.train(on_step)
    except LcmError as error:
        raise SystemExit(f"{type(error).__name__}: {error}") from error


main()

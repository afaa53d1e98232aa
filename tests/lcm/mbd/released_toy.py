"""A released file at toy size: audiocraft's names, a few channels, a config as OmegaConf pickles it."""

from __future__ import annotations

from pathlib import Path

import torch
from omegaconf import OmegaConf

from lcm.mbd.layout import unet_shapes
from lcm.mbd.released import PROCESSOR, SCHEDULE, UNET

TOY_UNET = {**UNET, "hidden": 4, "depth": 2}


def config(use_processor: bool):
    """Return a training config with more in it than the networks need, interpolations among it."""
    processor = {**PROCESSOR, "use": use_processor, "power_std": 0.4}
    return OmegaConf.create(
        {
            "sample_rate": 24_000,
            "channels": 1,
            "device": "cuda",
            "n_q": 4,
            "optim": {"ema": {"device": "${device}"}, "adam": {"betas": [0.9, 0.999]}},
            "dataset": {"path": "???", "sample_rate": "${sample_rate}"},
            "schedule": {**SCHEDULE, "num_steps": 20, "variable_step_batch": True},
            "diffusion_unet": TOY_UNET,
            "processor": processor,
        }
    )


def package(bands: int = 4) -> dict:
    """Return what torch.load gives for a released file."""
    torch.manual_seed(0)
    whole: dict = {"sample_rate": 24_000, "n_bands": bands}
    for i in range(bands):
        used = i >= bands // 2
        unet = {k: torch.randn(s) for k, s in unet_shapes(TOY_UNET, 1, 20).items()}
        statistics = {"counts": torch.full((1,), 50.0), **{k: torch.rand(8) for k in ("sum_x", "sum_x2", "sum_target_x2")}}
        filters = {"split_bands.lowpass.filters": torch.rand(7, 1, 629)}
        whole[i] = {"cfg": config(used), "model_state": unet, "processor_state": {**statistics, **filters} if used else {}}
    return whole


def write(folder: Path, n_q: int = 8, **changes) -> Path:
    """Save a toy `mbd_comp_N.pt`; `changes` replaces entries of the package."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"mbd_comp_{n_q}.pt"
    torch.save({**package(), **changes}, file)
    return file

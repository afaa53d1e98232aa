"""One process or several: the Fabric behind both, and means over ranks."""

from __future__ import annotations

import os
from collections.abc import Mapping

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning_fabric.strategies.ddp import DDPStrategy
from torch import Tensor

from lcm.errors import TrainingError
from lcm.training.optim import TrainConfig, resolve_precision


def is_rank() -> bool:
    """Return whether this process was started as one of several, with the variables that `torch.distributed.run` sets."""
    return "RANK" in os.environ and "WORLD_SIZE" in os.environ


def make_fabric(config: TrainConfig) -> Fabric:
    """Return a launched Fabric: DDP (gloo on CPU, NCCL on GPUs) for several devices, a plain one otherwise.

    The environment is named, so that SLURM's variables are never taken for a request to train on several processes. Ranks that see
    different GPUs, as SLURM's tasks do, say so by LOCAL_WORLD_SIZE, the number of ranks that see the same.

    Raises:
        TrainingError: There are too few GPUs, or the process is no rank of as many as there should be.
    """
    fabric = _several(config) if config.devices > 1 else _single(config)
    fabric.launch()
    return fabric


def _single(config: TrainConfig) -> Fabric:
    precision = resolve_precision(config.precision)
    return Fabric(devices=1, accelerator="auto", precision=precision, plugins=[LightningEnvironment()])  # type: ignore[arg-type]  # a config string


def _several(config: TrainConfig) -> Fabric:
    gpus, world = torch.cuda.device_count(), os.environ.get("WORLD_SIZE")
    local = int(os.environ.get("LOCAL_WORLD_SIZE", config.devices))
    if gpus and gpus < local:
        raise TrainingError(f"train.devices={config.devices}, but this machine shows {gpus} GPU(s): set train.devices={gpus}.")
    if not is_rank() or world != str(config.devices):
        raise TrainingError(
            f"train.devices={config.devices} needs as many processes, but this one has WORLD_SIZE={world}: "
            "start it by `python -m sweeps.run`, which starts them."
        )
    # Some weights get no gradient in some steps: token heads without a token loss, a dropped condition.
    strategy = DDPStrategy(find_unused_parameters=True, gradient_as_bucket_view=True)
    precision = resolve_precision(config.precision)
    plugins = [TorchElasticEnvironment()]
    layout = {"devices": local, "num_nodes": config.devices // local}
    return Fabric(**layout, accelerator="auto", strategy=strategy, precision=precision, plugins=plugins)  # type: ignore[arg-type]


def mean(fabric: Fabric, tensor: Tensor) -> Tensor:
    """Return a tensor averaged over ranks."""
    averaged: Tensor = fabric.all_reduce(tensor, reduce_op="mean")  # type: ignore[assignment]  # a tensor in, a tensor out
    return averaged


def means(fabric: Fabric, values: Mapping[str, Tensor]) -> dict[str, float]:
    """Return scalars averaged over ranks, in one reduction."""
    stacked = torch.stack([value.detach().float() for value in values.values()])
    return dict(zip(values, mean(fabric, stacked).tolist(), strict=True))

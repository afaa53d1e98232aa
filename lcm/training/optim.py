"""The optimisation: its settings, rate, optimiser, averages of the weights and precision."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from lcm.errors import TrainingError
from lcm.model import Model

OPTIMISERS: dict[str, type[torch.optim.Optimizer]] = {"radam": torch.optim.RAdam, "adamw": torch.optim.AdamW}


@dataclass
class TrainConfig:
    """The optimisation.

    Attributes:
        steps: Optimiser steps.
        batch: Crops per step over all processes.
        optimiser: `radam` or `adamw`.
        rate: Peak learning rate.
        warmup: Steps of linear warm-up.
        decay: `cosine` (to zero) or `constant`.
        clip: Largest gradient norm.
        ema: Decay of the averaged weights that are evaluated.
        accumulate: Micro-batches a step and process; lowers memory, not the batch.
        devices: Processes (GPUs) of this machine that share the batch.
        precision: `auto` (bf16 where the GPU has it, fp16 on older ones, fp32 on CPU) or a Fabric precision.
        activation_checkpointing: Compute the layers' activations again in the backward pass: less memory, about a third slower.
        checkpoint_every: Steps between resumable checkpoints.
        validate_every: Steps between validations of the averaged weights; 0 is never.
        validate_clips: Clips of the valid split that are restored each time.
        estimate: Whether memory is estimated before training, at the cost of a few steps.
        wandb: W&B project that gets the scalars and validation audio too (`pip install lcm-superres[wandb]`); empty: none. On nodes
            without network set WANDB_MODE=offline, then `wandb sync` the folders RUN/wandb/offline-run-*.

    Raises:
        TrainingError: A choice is unknown.
    """

    steps: int = 2000
    batch: int = 16
    optimiser: str = "radam"
    rate: float = 5e-4
    warmup: int = 50
    decay: str = "cosine"
    clip: float = 1.0
    ema: float = 0.999
    accumulate: int = 1
    devices: int = 1
    precision: str = "auto"
    activation_checkpointing: bool = False
    checkpoint_every: int = 200
    validate_every: int = 0
    validate_clips: int = 4
    estimate: bool = True
    wandb: str = ""

    def __post_init__(self) -> None:
        for name, choices in (("decay", ("cosine", "constant")), ("optimiser", tuple(sorted(OPTIMISERS)))):
            if getattr(self, name) not in choices:
                raise TrainingError(f"train.{name}={getattr(self, name)!r} is unknown: choose one of {', '.join(choices)}.")

    @property
    def micro_batch(self) -> int:
        """Crops that one process holds in memory at once.

        Raises:
            TrainingError: The batch cannot be divided.
        """
        parts = self.devices * self.accumulate
        if min(self.devices, self.accumulate) < 1 or self.batch < parts or self.batch % parts:
            raise TrainingError(
                f"train.batch={self.batch} cannot be shared by train.devices={self.devices} x train.accumulate={self.accumulate}: "
                f"expected a multiple of {parts}, both at least 1. Change one of the three."
            )
        return self.batch // parts


def resolve_precision(precision: str) -> str:
    """Turn `auto` into what the device does well; Turing GPUs have no bf16."""
    if precision != "auto":
        return precision
    if not torch.cuda.is_available():
        return "32-true"
    return "bf16-mixed" if torch.cuda.get_device_capability()[0] >= 8 else "16-mixed"


def rate_at(config: TrainConfig, step: int) -> float:
    """Return the learning rate of a step."""
    warm = min(1.0, (step + 1) / max(1, config.warmup))
    return config.rate * warm * (0.5 * (1 + math.cos(math.pi * step / config.steps)) if config.decay == "cosine" else 1.0)


def make_optimiser(config: TrainConfig, parameters: Iterable[Tensor]) -> torch.optim.Optimizer:
    """Return the configured optimiser of the network's weights."""
    return OPTIMISERS[config.optimiser](parameters, lr=config.rate, betas=(0.9, 0.99))  # type: ignore[call-arg]  # both have them


def warm_decay(decay: float, step: int) -> float:
    """Return the decay of evaluated averages: it warms up as (1 + step) / (10 + step), for the first weights are far off."""
    return min(decay, (1 + step) / (10 + step))


@torch.no_grad()
def update_ema(average: Model, model: Model, decay: float) -> None:
    """Move the average towards the model: a <- decay * a + (1 - decay) * m."""
    for a, b in zip(average.parameters(), model.parameters(), strict=True):
        a.lerp_(b.to(a), 1 - decay)


def check_terms(terms: Mapping[str, Tensor], where: str) -> None:
    """Refuse a loss that is not finite.

    Raises:
        TrainingError: It names the terms.
    """
    finite = torch.isfinite(torch.stack([value.detach() for value in terms.values()])).tolist()
    bad = [name for name, good in zip(terms, finite, strict=True) if not good]
    if bad:
        raise TrainingError(
            f"In {where} loss term {', '.join(bad)} is not finite. The last checkpoint is kept; "
            "lower train.rate or the term's weight (losses.*), or set train.precision=32-true, and run the same command again."
        )


def check_gradient(norm: Tensor | None, where: str) -> None:
    """Refuse a gradient that would poison the weights.

    Raises:
        TrainingError: Its norm is not finite.
    """
    if norm is not None and not bool(torch.isfinite(norm)):
        raise TrainingError(
            f"In {where} gradient_norm is not finite though every loss is. The last checkpoint is kept; "
            "lower train.rate, or set train.precision=32-true, and run the same command again."
        )


def make_deterministic() -> None:
    """Let a seed fix the result on a GPU too, where an operation has a deterministic form."""
    if torch.cuda.is_available():
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True, warn_only=True)

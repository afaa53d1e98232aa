"""The training loop on Lightning Fabric: resume, EMA, accumulation, precision.

Every random draw is keyed to (seed, step), so a resumed run ends with the same weights as an uninterrupted one.
"""

from __future__ import annotations

import copy
import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from lcm import checkpoint
from lcm.codec import HOP, Codec
from lcm.data import Batch, CropSource
from lcm.errors import TrainingError
from lcm.losses import AUDIO_TERMS, LossConfig, token_ce
from lcm.model import Model
from lcm.network import Prediction
from lcm.objectives import ObjectiveConfig, Step, objective_of
from lcm.paths import Run
from lcm.scalars import Scalars


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
        accumulate: Micro-batches a step; lowers memory, not the batch.
        precision: `auto` (bf16 where the GPU has it, fp16 on older ones, fp32 on CPU) or a Fabric precision.
        checkpoint_every: Steps between resumable checkpoints.
    """

    steps: int = 2000
    batch: int = 16
    optimiser: str = "radam"
    rate: float = 3e-4
    warmup: int = 50
    decay: str = "cosine"
    clip: float = 1.0
    ema: float = 0.999
    accumulate: int = 1
    precision: str = "auto"
    checkpoint_every: int = 200


def resolve_precision(precision: str) -> str:
    """Turn `auto` into what the device does well; Turing GPUs have no bf16."""
    if precision != "auto":
        return precision
    if not torch.cuda.is_available():
        return "32-true"
    return "bf16-mixed" if torch.cuda.get_device_capability()[0] >= 8 else "16-mixed"


class Held:
    """Carries a batch past Fabric, which would cast its cutoffs and audio to half precision."""

    def __init__(self, batch: Batch) -> None:
        self.batch = batch


class TrainStep(nn.Module):
    """One step's weighted loss terms, as a module so that DDP and autocast wrap the whole of it."""

    def __init__(self, model: Model, codec: Codec, objective: ObjectiveConfig, losses: LossConfig, *, context: int, total: int) -> None:
        super().__init__()
        self.model = model
        self._frozen = [codec]  # in a list: its weights are not the student's
        self.objective, self.losses, self.context, self.total = objective, losses, context, total

    def forward(self, held: Held, index: int, seed: int) -> dict[str, Tensor]:
        """Return the weighted terms of a batch, each a scalar."""
        batch = held.batch
        codec, blocks = self._frozen[0], self.model.blocks
        generator = torch.Generator().manual_seed(seed)
        x0, condition = blocks.to_state(codec, batch.target_codes), blocks.condition(codec, batch.lr_codes)
        step = Step(self.model, x0, condition, batch, index, self.total, generator, logits=self.losses.token_ce != 0)
        per_clip, prediction = objective_of(self.objective)[1](self.objective, step)
        return {self.objective.name: per_clip.mean(), **self._auxiliary(codec, prediction, batch)}

    def _auxiliary(self, codec: Codec, prediction: Prediction, batch: Batch) -> dict[str, Tensor]:
        weights, terms = self.losses.on, {}
        if "token_ce" in weights and prediction.logits is not None:
            terms["token_ce"] = weights["token_ce"] * token_ce(prediction.logits, batch.target_codes, batch.mask)
        if self.losses.needs_audio:
            with torch.autocast(batch.audio.device.type, enabled=False):  # rounding to bf16 is louder than the high band
                decoded = codec.decode(self.model.blocks.to_latents(prediction.state.float()))[:, 0]
                inner = slice(self.context * HOP, decoded.shape[1] - self.context * HOP)
                real = batch.mask.repeat_interleave(HOP, dim=1)
                estimate, target = ((a * real)[:, inner] for a in (decoded, batch.audio))
                terms.update({name: weights[name] * AUDIO_TERMS[name](estimate, target) for name in weights if name in AUDIO_TERMS})
        return terms


def rate_at(config: TrainConfig, step: int) -> float:
    """Return the learning rate of a step."""
    warm = min(1.0, (step + 1) / max(1, config.warmup))
    return config.rate * warm * (0.5 * (1 + math.cos(math.pi * step / config.steps)) if config.decay == "cosine" else 1.0)


@torch.no_grad()
def update_ema(average: Model, model: Model, decay: float, step: int) -> None:
    """Move the average towards the model; the decay warms up as (1 + step) / (10 + step)."""
    weight = 1 - min(decay, (1 + step) / (10 + step))
    for a, b in zip(average.parameters(), model.parameters(), strict=True):
        a.lerp_(b.to(a), weight)


def make_optimiser(config: TrainConfig, model: Model) -> torch.optim.Optimizer:
    """Return the configured optimiser of the network's weights.

    Raises:
        TrainingError: There is no such optimiser.
    """
    classes: dict[str, type[torch.optim.Optimizer]] = {"radam": torch.optim.RAdam, "adamw": torch.optim.AdamW}
    if config.optimiser not in classes:
        raise TrainingError(f"There is no optimiser {config.optimiser!r}: choose one of {sorted(classes)} (train.optimiser).")
    return classes[config.optimiser](model.network.parameters(), lr=config.rate, betas=(0.9, 0.99))  # type: ignore[call-arg]  # both have them


def make_deterministic() -> None:
    """Let a seed fix the result on a GPU too, where an operation has a deterministic form."""
    if torch.cuda.is_available():
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True, warn_only=True)


class Trainer:
    """Trains one model in one run folder; the same call resumes."""

    def __init__(
        self,
        model: Model,
        codec: Codec,
        source: CropSource,
        objective: ObjectiveConfig,
        losses: LossConfig,
        config: TrainConfig,
        run: Run,
        seed: int,
    ) -> None:
        if config.batch % config.accumulate:
            raise TrainingError(f"train.batch={config.batch} must be divisible by train.accumulate={config.accumulate}.")
        make_deterministic()
        self.fabric = Fabric(devices=1, precision=resolve_precision(config.precision), accelerator="auto")  # type: ignore[arg-type]  # a config string
        self.fabric.launch()
        self.config, self.source, self.run, self.seed = config, source, run, seed
        self.average = copy.deepcopy(model).requires_grad_(False).to(self.fabric.device)
        module = TrainStep(model, codec.to(self.fabric.device), objective, losses, context=source.config.context_frames, total=config.steps)
        self.module, self.optimiser = self.fabric.setup(module, make_optimiser(config, model))
        self.model = model
        self.first = self._resume()

    def train(self, on_step: Callable[[int], None] = lambda step: None) -> Model:
        """Train to the end and return the averaged model.

        Raises:
            TrainingError: A loss term is not finite; the message names the step and the term.
        """
        scalars = Scalars(self.run, self.first) if self.fabric.is_global_zero else None
        for step in range(self.first, self.config.steps):
            terms = self._step(step)
            if scalars:
                scalars.write(step, {**terms, "rate": rate_at(self.config, step)})
            if (step + 1) % self.config.checkpoint_every == 0 or step + 1 == self.config.steps:
                self._save(step + 1, scalars)
            on_step(step + 1)
        return self.average.eval()

    def _step(self, step: int) -> dict[str, float]:
        for group in self.optimiser.param_groups:
            group["lr"] = rate_at(self.config, step)
        self.optimiser.zero_grad()
        sums: dict[str, float] = {}
        parts = self.config.accumulate
        ranks = self.fabric.world_size
        for part in range(parts):
            place = self.fabric.global_rank * parts + part
            batch = self.source.batch(self.config.batch, seed=self.seed, step=step, rank=place, world=ranks * parts)
            with self.fabric.no_backward_sync(self.module, enabled=part + 1 < parts):
                key = (self.seed * 7_919 + step * 101 + place) % 2**63
                torch.manual_seed(key)  # dropout draws from the global generator
                terms = self.module(Held(batch.to(self.fabric.device)), step, key)
                self._check(terms, step)
                self.fabric.backward(sum(terms.values(), torch.zeros((), device=self.fabric.device)) / parts)
            sums = {name: sums.get(name, 0.0) + float(value.detach()) / parts for name, value in terms.items()}
        norm = self.fabric.clip_gradients(self.module, self.optimiser, max_norm=self.config.clip, error_if_nonfinite=False)
        self._check_gradient(norm, step)
        self.optimiser.step()
        update_ema(self.average, self.model, self.config.ema, step)
        return {**sums, "total": sum(sums.values()), "gradient_norm": float(norm) if norm is not None else math.nan}

    def _check(self, terms: dict[str, Tensor], step: int) -> None:
        bad = [name for name, value in terms.items() if not bool(torch.isfinite(value))]
        if bad:
            raise TrainingError(
                f"Step {step} of {self.run.folder}: loss term {', '.join(bad)} is not finite. The last checkpoint is kept; "
                "lower train.rate or the term's weight (losses.*), or set train.precision=32-true, and run the same command again."
            )

    def _check_gradient(self, norm: Tensor | None, step: int) -> None:
        """Refuse to poison the weights; with fp16 the scaler skips such steps and lowers its scale."""
        if norm is not None and not bool(torch.isfinite(norm)) and resolve_precision(self.config.precision) != "16-mixed":
            raise TrainingError(
                f"Step {step} of {self.run.folder}: gradient_norm is not finite though every loss is. The last checkpoint is kept; "
                "lower train.rate, or set train.precision=32-true, and run the same command again."
            )

    def _save(self, step: int, scalars: Scalars | None) -> None:
        if not self.fabric.is_global_zero:
            return
        if scalars:
            scalars.flush()
        state = self.optimiser.state_dict()["state"]
        tensors = {f"model.{k}": v for k, v in self.model.state_dict().items()} | {
            f"ema.{k}": v for k, v in self.average.state_dict().items()
        }
        tensors |= {f"optimiser.{i}.{k}": torch.as_tensor(v) for i, values in state.items() for k, v in values.items()}
        checkpoint.save(self.run.last, tensors, {"step": step, "seed": self.seed, "precision": self.fabric._precision.state_dict()})

    def _resume(self) -> int:
        for stale in self.run.last.parent.glob("*.part"):  # left by a process that died while writing
            stale.unlink()
        if not self.run.last.exists():
            return 0
        tensors, header = checkpoint.load(self.run.last)
        self.model.load_state_dict(_under(tensors, "model."))
        self.average.load_state_dict(_under(tensors, "ema."))
        state: dict[int, dict[str, Tensor]] = {}
        for name, value in _under(tensors, "optimiser.").items():
            index, key = name.split(".", 1)
            state.setdefault(int(index), {})[key] = value
        self.fabric._precision.load_state_dict(header.get("precision", {}))
        self.optimiser.load_state_dict({**self.optimiser.state_dict(), "state": state})
        return int(header["step"])


def _under(tensors: dict[str, Tensor], prefix: str) -> dict[str, Any]:
    return {k[len(prefix) :]: v for k, v in tensors.items() if k.startswith(prefix)}

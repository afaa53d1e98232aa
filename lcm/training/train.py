"""The training loop on Lightning Fabric: resume, averages, accumulation, precision, one process or several.

Every random draw is keyed to (seed, step, place in the global batch), so a resumed run ends with the same weights as an
uninterrupted one, and one process, several, and accumulation compute the same (but for dropout, which only token_ce has).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from functools import partial

import torch
from torch import Tensor

from lcm import checkpoint
from lcm.auxiliary import check_region
from lcm.codec import Codec
from lcm.data import CropSource
from lcm.losses import LossConfig
from lcm.model import Model
from lcm.objectives import ObjectiveConfig
from lcm.paths import Run
from lcm.training import memory
from lcm.training.calibrate import Part, calibrate
from lcm.training.distributed import make_fabric, mean, means
from lcm.training.draws import Draws
from lcm.training.optim import (
    TrainConfig,
    check_gradient,
    check_terms,
    make_deterministic,
    make_optimiser,
    rate_at,
    update_ema,
    warm_decay,
)
from lcm.training.resume import State, remove_stale
from lcm.training.scalars import Scalars
from lcm.training.step import Held, TrainStep
from lcm.training.validate import CHOSEN_BY, Validator

_STOP = "stop"  # a scalar beside the loss terms, so that ranks agree on it at no further cost


class Trainer:
    """Trains one model in one run folder; the same call resumes.

    Args:
        model: The student.
        codec: The frozen codec.
        source: Draws batches.
        objective, losses: What is trained.
        config: The optimisation.
        run: Where checkpoints, scalars and status go; rank 0 alone writes.
        seed: Seed of the run.
        teacher: Diffusion teacher, for objectives that ask one.
        validator: Scores the averaged model every `validate_every` steps.
        stop: Says in each step whether to stop after it, with a checkpoint; all ranks stop where one is told to.
        fence: Called before a checkpoint is written; raises where the run folder is another process's by now.

    Attributes:
        first: Step at which training starts or resumes.
        memory: The estimate, where one was asked for, on rank 0.
        best: Value and step of the best validation so far.
        values: Scalars of the last step, averaged over ranks.
        stopped: Whether training was stopped before its end.

    Raises:
        TrainingError: The batch cannot be divided, there are too few GPUs, or memory does not suffice for a few clips.
    """

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
        *,
        teacher: Model | None = None,
        validator: Validator | None = None,
        stop: Callable[[], bool] = lambda: False,
        fence: Callable[[], None] = lambda: None,
    ) -> None:
        _ = config.micro_batch  # refuses a batch that cannot be divided
        check_region(losses.on, crop_frames=source.config.crop_frames, context=source.config.context_frames)
        make_deterministic()
        self.fabric = make_fabric(config)
        self._precision = self.fabric._precision.precision
        self.config, self.source, self.losses, self.run, self.seed, self.validator = config, source, losses, run, seed, validator
        self.stop, self.fence, self.stopped = stop, fence, False
        self.model = _prepared(model, config).to(self.fabric.device)
        self.average, self.codec = _frozen(model), codec.to(self.fabric.device)
        self.target = _frozen(model) if objective.target_ema > 0 else None
        context, total = source.config.context_frames, config.steps
        self.step = TrainStep(model, codec, objective, losses, context=context, total=total, teacher=teacher, target=self.target)
        self.memory = self._estimate(teacher) if config.estimate and self.fabric.is_global_zero else None
        self.module, self.optimiser = self.fabric.setup(self.step, make_optimiser(config, model.network.parameters()))
        self.state = State(model, self.average, self.target, self.optimiser)
        self.best: dict[str, float] = {}
        self.values: dict[str, float] = {}
        self.first = self._resume()

    def train(self, on_step: Callable[[int], None] = lambda step: None) -> Model:
        """Train to the end, or until told to stop, and return the averaged model.

        Args:
            on_step: Called after each step with the number of steps done.

        Raises:
            TrainingError: A loss term or gradient is not finite, or memory runs out; the message says where and what to change.
        """
        scalars = Scalars(self.run, self.first, self.config.wandb) if self.fabric.is_global_zero else None
        memory.reset_peak(self.fabric.device)
        for step in range(self.first, self.config.steps):
            with memory.explain_out_of_memory(self.config, self.source.config.crop_frames, self._where(step)):
                self.values = self._step(step)
            self.stopped = self.values.pop(_STOP) > 0 and step + 1 < self.config.steps
            if scalars:
                scalars.write(step, self.values)
                self._keep(step, scalars)
            on_step(step + 1)
            if self.stopped:
                break
        if scalars:
            scalars.close()
        self.measured_gb = memory.peak_gb(self.fabric.device)
        return self.average

    def _step(self, step: int) -> dict[str, float]:
        """Do one optimiser step and return its scalars."""
        rate = rate_at(self.config, step)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        weights = self._calibrate(step) if self.losses.auto and step % self.losses.auto_every == 0 else {}
        self.optimiser.zero_grad()
        sums: dict[str, Tensor] = {}
        parts = self.config.accumulate
        for number, part in enumerate(self._parts(step, parts)):
            for name, value in self._micro_step(step, part, last=number + 1 == parts).items():
                sums[name] = sums.get(name, 0.0) + value.detach() / parts
        norm = self.fabric.clip_gradients(self.module, self.optimiser, max_norm=self.config.clip, error_if_nonfinite=False)
        if self._precision != "16-mixed":  # there the scaler skips such steps and lowers its scale
            check_gradient(norm, self._where(step))
        self.optimiser.step()
        update_ema(self.average, self.model, warm_decay(self.config.ema, step))
        if self.target is not None:
            update_ema(self.target, self.model, self.step.objective.target_ema)
        asked = torch.full((), float(self.stop()), device=self.fabric.device)
        terms = means(self.fabric, {**sums, _STOP: asked})
        stop = {_STOP: terms.pop(_STOP)}
        shown = {f"weight/{name}": weight for name, weight in weights.items()}
        length = math.nan if norm is None else float(norm)
        return {**terms, "total": sum(terms.values()), "gradient_norm": length, "rate": rate, **shown, **stop}

    def _micro_step(self, step: int, part: Part, *, last: bool) -> dict[str, Tensor]:
        """Add a micro-batch's gradients and return its weighted terms; ranks exchange gradients after the last."""
        batch, draws = part
        with self.fabric.no_backward_sync(self.module, enabled=not last):
            terms: dict[str, Tensor] = self.module(Held(batch), step, draws)
            check_terms(terms, self._where(step))
            self.fabric.backward(torch.stack(list(terms.values())).sum() / self.config.accumulate)
        return terms

    def _parts(self, step: int, count: int) -> Iterator[Part]:
        """Draw this rank's share of the global batch in `count` parts."""
        world = count * self.fabric.world_size
        clips = self.config.batch // world
        for place in range(self.fabric.global_rank * count, (self.fabric.global_rank + 1) * count):
            batch = self.source.batch(self.config.batch, seed=self.seed, step=step, rank=place, world=world)
            first = place * clips
            torch.manual_seed((self.seed * 1_000_003 + step) * 65_537 + first)  # dropout draws from the global generator
            yield batch.to(self.fabric.device), Draws(self.seed, step, first, clips)

    def _calibrate(self, step: int) -> dict[str, float]:
        """Set the `auto` weights. In fp16 small gradients vanish without the scaler: there clip by clip in fp32."""
        half = self._precision == "16-mixed"
        parts = self._parts(step, self.config.batch // self.fabric.world_size if half else self.config.accumulate)
        with nullcontext() if half else self.fabric.autocast():
            return calibrate(self.step, parts, step, self.losses.auto, partial(mean, self.fabric))

    def _keep(self, step: int, scalars: Scalars) -> None:
        """Validate and write a checkpoint where they are due."""
        done, last = step + 1, step + 1 == self.config.steps
        if self.validator and self.config.validate_every and (last or done % self.config.validate_every == 0):
            self._validate(step, self.validator, scalars)
        if last or self.stopped or done % self.config.checkpoint_every == 0:
            self.fence()
            scalars.flush()
            precision, weights = self.fabric._precision.state_dict(), {name: self.step.weights[name] for name in self.losses.auto}
            header = {"step": done, "seed": self.seed, "precision": precision, "weights": weights, "best": self.best}
            self.state.save(self.run.last, header)

    def _validate(self, step: int, validator: Validator, scalars: Scalars) -> None:
        """Score the averaged model and keep it if it is the best so far."""
        values, estimates = validator.score(self.average)
        self.fence()
        scalars.write(step, {f"valid/{name}": value for name, value in values.items()})
        for clip in validator.clips:
            scalars.write_audio(step, clip.utterance, estimates[clip.utterance], clip.target)
        if values[CHOSEN_BY] < self.best.get(CHOSEN_BY, math.inf):
            self.best = {"step": step + 1, CHOSEN_BY: values[CHOSEN_BY]}
            checkpoint.save_model(self.run.best, self.average, self.best)
            self.run.write_status("running", best=self.best)

    def _where(self, step: int) -> str:
        return f"step {step} of {self.run.folder}"

    def _resume(self) -> int:
        if self.fabric.is_global_zero:
            remove_stale(self.run.last.parent)
        if not self.run.last.exists():
            return 0
        header = self.state.load(self.run.last)
        self.fabric._precision.load_state_dict(header["precision"])
        self.step.weights.update(header["weights"])
        self.best = header["best"]
        return int(header["step"])

    def _estimate(self, teacher: Model | None) -> memory.MemoryEstimate:
        """Estimate the memory of a step by tracing a few clips; before DDP wraps the student."""
        weights, averages = ([m for m in models if m is not None] for models in ((self.model, teacher), (self.average, self.target)))
        passes = memory.step_passes(self.step, self.source, self.config, self.losses, self.fabric)
        with memory.explain_out_of_memory(self.config, self.source.config.crop_frames, f"the memory estimate of {self.run.folder}"):
            return memory.estimate(self.config, self.model.network, weights, averages, self.codec, passes)


def _prepared(model: Model, config: TrainConfig) -> Model:
    """Set the student to training, with activation checkpointing where it is asked for and the network has it."""
    if hasattr(model.network, "checkpointing"):
        model.network.checkpointing = config.activation_checkpointing
    return model.train()


def _frozen(model: Model) -> Model:
    return copy.deepcopy(model).requires_grad_(False).eval()

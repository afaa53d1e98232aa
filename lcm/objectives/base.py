"""What every objective is given and what all of them share.

Shapes: states x0, x_t [B, N * D, F], condition [B, D, F], levels t, r [B].
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from lcm.data import Batch
from lcm.distances import distance
from lcm.model import Model
from lcm.network import LcmMcb, Prediction
from lcm.training.draws import Draws


@dataclass
class ObjectiveConfig:
    """Which objective, and its parameters. `sweeps/conf/objective/` holds each one's customary values.

    Attributes:
        name: One of `lcm.objectives.OBJECTIVES`.
        stages: Curriculum stages of `ect`; more stages end with r closer to t.
        q, k, b: ECT's map from t to r (Geng et al. 2024, eq. 16).
        distance: `pseudo_huber`, `cauchy` or `l2`.
        scale: Scale c of the distance per square root of a channel; null takes the distance's own.
        n: Levels N of the grid of `ct`, `cd` and `rose`; at least 2.
        n_start: First N of the curriculum of `ct`, which doubles it up to `n`; 0 starts with `n`.
        grid: `karras` (rho of the schedule) or `linear`.
        solver: Teacher step of `cd`: `heun` or `euler`.
        solver_steps: Teacher steps between two levels of the grid.
        target_ema: Decay of the averaged target network; 0 takes the student itself without gradient.
        teacher_forcing: Whether head b is trained on the true earlier blocks instead of its own predictions.
        p_uncond: Share of clips that `flow` trains without condition.
        guidance: Scale of classifier-free guidance when `flow` samples; 1 is without.
    """

    name: str = "ect"
    stages: int = 2
    q: float = 2.0
    k: float = 8.0
    b: float = 1.0
    distance: str = "pseudo_huber"
    scale: float | None = None
    n: int = 18
    n_start: int = 0
    grid: str = "karras"
    solver: str = "heun"
    solver_steps: int = 1
    target_ema: float = 0.0
    teacher_forcing: bool = False
    p_uncond: float = 0.15
    guidance: float = 2.0


@dataclass
class Step:
    """What an objective sees at one step.

    Attributes:
        config: The objective's parameters.
        model: The student.
        x0: Target state [B, N * D, F].
        condition: Standardised latents of the degraded audio [B, D, F].
        batch: Codes, masks, cutoffs, and a teacher's stored noise.
        index, total: Step number and number of steps, for curricula.
        draws: Source of all randomness.
        target: Averaged target network, or None for the student itself.
        teacher: Diffusion teacher, for `cd`.
        logits: Whether an auxiliary loss needs token logits.
    """

    config: ObjectiveConfig
    model: Model
    x0: Tensor
    condition: Tensor
    batch: Batch
    index: int
    total: int
    draws: Draws
    target: Model | None = None
    teacher: Model | None = None
    logits: bool = False

    @property
    def forced(self) -> Tensor | None:
        """True blocks that later heads see, where teacher forcing is on: student and target must be one function."""
        return self.x0 if self.config.teacher_forcing else None

    def noise(self) -> Tensor:
        """Draw standard normal noise like x0."""
        return self.draws.normal(*self.x0.shape[1:]).to(self.x0)

    def predict(self, x: Tensor, sigma: Tensor) -> Prediction:
        """Ask the student, with gradient."""
        prediction: Prediction = self.model.network(
            x, sigma, self.condition, self.batch.cutoff_hz, self.batch.mask, logits=self.logits, forced=self.forced
        )
        return prediction

    @torch.no_grad()
    def ask(self, model: Model, x: Tensor, sigma: Tensor, *, forced: Tensor | None = None) -> Tensor:
        """Ask any model for the denoised state, without gradient; levels below sigma_min count as sigma_min."""
        level = sigma.clamp_min(model.spec.schedule.sigma_min)
        prediction: Prediction = model.network(x, level, self.condition, self.batch.cutoff_hz, self.batch.mask, forced=forced)
        return prediction.state

    def follow(self, x_r: Tensor, r: Tensor) -> Tensor:
        """Return the consistency target f(x_r, r): of the averaged network or the student itself; at r = 0 it is x_r."""
        inner = self.ask(self.target or self.model, x_r, r, forced=self.forced)
        return torch.where(wide(r) > 0, inner, x_r)

    def distance(self, error: Tensor) -> Tensor:
        """Return the configured distance a clip, [B]."""
        blocks, config = self.model.blocks, self.config
        return distance(
            config.distance, error, self.batch.mask, blocks.loss_weights(), dimension=blocks.dimension, scale=config.scale
        )

    @property
    def network(self) -> LcmMcb:
        """The student's network, for objectives that only LCM-MCB can be trained with."""
        assert isinstance(self.model.network, LcmMcb)  # the registry pairs kinds and objectives
        return self.model.network


Objective = Callable[[Step], tuple[Tensor, Prediction]]
"""From a step to one loss value a clip [B] and the student's prediction, on which auxiliary losses act."""


def wide(level: Tensor) -> Tensor:
    """Return levels [B] as [B, 1, 1], to multiply states."""
    return level[:, None, None]

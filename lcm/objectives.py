"""One training step of each objective: a pair sampler, a target and a distance.

Every objective maps a batch to one loss value a clip and the student's prediction, on which auxiliary losses act.
Shapes: states x0, x_t [B, N * D, F], condition [B, D, F], levels t, r [B].
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from lcm.data import Batch
from lcm.errors import LcmError
from lcm.losses import masked_mean, pseudo_huber, token_ce
from lcm.model import Model
from lcm.network import Prediction
from lcm.schedule import draw_sigma, ect_r, ect_stage, edm_weight


@dataclass
class ObjectiveConfig:
    """Which objective, and its parameters.

    Attributes:
        name: `ect`, `diffusion`, `regression` or `token_ce`.
        stages: Curriculum stages of ECT; more stages end with r closer to t.
        q, k, b: ECT's map from t to r (Geng et al. 2024, eq. 16).
    """

    name: str = "ect"
    stages: int = 8
    q: float = 2.0
    k: float = 8.0
    b: float = 1.0


@dataclass
class Step:
    """What an objective sees at one step.

    Attributes:
        model: The student.
        x0: Target state [B, N * D, F].
        condition: Standardised latents of the degraded audio [B, D, F].
        batch: Codes, masks and cutoffs.
        index, total: Step number and number of steps, for curricula.
        generator: Source of all randomness.
        logits: Whether an auxiliary loss needs token logits.
    """

    model: Model
    x0: Tensor
    condition: Tensor
    batch: Batch
    index: int
    total: int
    generator: torch.Generator
    logits: bool = False

    def noise(self) -> Tensor:
        """Draw standard normal noise like x0."""
        return torch.randn(self.x0.shape, generator=self.generator).to(self.x0)

    def predict(self, x: Tensor, sigma: Tensor, *, logits: bool = False) -> Prediction:
        """Ask the network."""
        prediction: Prediction = self.model.network(x, sigma, self.condition, self.batch.cutoff_hz, self.batch.mask, logits=logits)
        return prediction

    def distance(self, error: Tensor) -> Tensor:
        """Return the block-weighted pseudo-Huber distance a clip, [B]."""
        blocks = self.model.blocks
        return pseudo_huber(error, self.batch.mask, blocks.loss_weights(), dimension=blocks.dimension)


Objective = Callable[[ObjectiveConfig, Step], tuple[Tensor, Prediction]]


def diffusion(config: ObjectiveConfig, step: Step) -> tuple[Tensor, Prediction]:
    """Denoise at random levels: the teacher's objective. Source: Karras et al. 2022, eq. 8."""
    sigma = draw_sigma(step.model.spec.schedule, len(step.x0), step.generator).to(step.x0)
    noise = step.noise()
    prediction = step.predict(step.x0 + sigma[:, None, None] * noise, sigma, logits=step.logits)
    blocks = step.model.blocks
    error = (prediction.state - step.x0).unflatten(1, (-1, blocks.dimension)).square().mean(2)
    per_frame = (error * blocks.loss_weights()[:, None]).mean(1)
    return edm_weight(sigma) * masked_mean(per_frame, step.batch.mask), prediction


def ect(config: ObjectiveConfig, step: Step) -> tuple[Tensor, Prediction]:
    """Easy Consistency Tuning: f(x_t, t) follows f(x_r, r) with shared noise; r = 0 means the data itself.

    Source: Geng et al. 2024, algorithm 1; loss weight 1 / (t - r).
    """
    t = draw_sigma(step.model.spec.schedule, len(step.x0), step.generator).to(step.x0)
    r = ect_r(t, ect_stage(step.index, step.total, config.stages), q=config.q, k=config.k, b=config.b)
    noise = step.noise()
    prediction = step.predict(step.x0 + t[:, None, None] * noise, t, logits=step.logits)
    with torch.no_grad():
        low = r[:, None, None]
        inner = step.predict(step.x0 + low * noise, r.clamp_min(step.model.spec.schedule.sigma_min)).state
        target = torch.where(low > step.model.spec.schedule.sigma_min, inner, step.x0)
    return step.distance(prediction.state - target) / (t - r), prediction


def regression(config: ObjectiveConfig, step: Step) -> tuple[Tensor, Prediction]:
    """Predict the latents in one call without noise, with the same network and distance: the honest rival."""
    sigma = step.x0.new_full((len(step.x0),), step.model.spec.schedule.sigma_max)
    prediction = step.predict(torch.zeros_like(step.x0), sigma, logits=step.logits)
    return step.distance(prediction.state - step.x0), prediction


def reference(config: ObjectiveConfig, step: Step) -> tuple[Tensor, Prediction]:
    """Cross-entropy of the reference system's token classifier."""
    logits = step.model.network(step.batch.lr_codes, step.batch.mask)
    loss = token_ce(logits, step.batch.target_codes, step.batch.mask)
    return loss.expand(len(step.x0)), Prediction(step.x0, logits)


OBJECTIVES: dict[str, tuple[str, Objective]] = {
    "ect": ("consistency", ect),
    "diffusion": ("diffusion", diffusion),
    "regression": ("regression", regression),
    "token_ce": ("token_ce", reference),
}


def objective_of(config: ObjectiveConfig) -> tuple[str, Objective]:
    """Return the kind of model an objective trains and its step function.

    Raises:
        LcmError: There is no such objective.
    """
    if config.name not in OBJECTIVES:
        raise LcmError(f"There is no objective {config.name!r}: choose one of {sorted(OBJECTIVES)} (objective.name).")
    return OBJECTIVES[config.name]

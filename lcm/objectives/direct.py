"""Objectives without a consistency target: diffusion and flow teachers, and the rivals that predict in one call."""

from __future__ import annotations

from torch import Tensor

from lcm.losses import masked_mean, token_ce
from lcm.network import Prediction
from lcm.objectives.base import Step, wide
from lcm.schedule import edm_weight, sigma_of


def diffusion(step: Step) -> tuple[Tensor, Prediction]:
    """Denoise at random levels: the teacher's objective. Source: Karras et al. 2022, eq. 8."""
    sigma = sigma_of(step.model.spec.schedule, step.draws.normal()).to(step.x0)
    prediction = step.predict(step.x0 + wide(sigma) * step.noise(), sigma)
    return edm_weight(sigma) * mean_square(step, prediction.state - step.x0), prediction


def flow(step: Step) -> tuple[Tensor, Prediction]:
    """Conditional flow matching with condition dropout for guidance: predict x1 - x0 on the line from noise x0 to data x1.

    Source: Lipman et al. 2023, eq. 22-23 with sigma_min = 0; condition dropout: Ho & Salimans 2022. Time runs from noise, 0, to data, 1.
    """
    time, noise = step.draws.uniform().to(step.x0), step.noise()
    keep = (step.draws.uniform() >= step.config.p_uncond).to(step.x0)
    x = wide(time) * step.x0 + wide(1 - time) * noise
    velocity = step.network.velocity(x, time, step.condition * wide(keep), step.batch.cutoff_hz, step.batch.mask)
    estimate = x + wide(1 - time) * velocity
    return mean_square(step, velocity - (step.x0 - noise)), Prediction(estimate)


def regression(step: Step) -> tuple[Tensor, Prediction]:
    """Predict the latents in one call without noise, with the same network and distance: the honest rival."""
    sigma = step.x0.new_full((len(step.x0),), step.model.spec.schedule.sigma_max)
    prediction = step.predict(step.x0.new_zeros(step.x0.shape), sigma)
    return step.distance(prediction.state - step.x0), prediction


def reference(step: Step) -> tuple[Tensor, Prediction]:
    """Cross-entropy of the reference system's token classifier."""
    logits = step.model.network(step.batch.lr_codes, step.batch.mask)
    loss = token_ce(logits, step.batch.target_codes, step.batch.mask)
    return loss, Prediction(step.x0, logits)


def mean_square(step: Step, error: Tensor) -> Tensor:
    """Return the block-weighted mean square a clip, [B], over channels and real frames."""
    blocks = step.model.blocks
    squared = error.unflatten(1, (-1, blocks.dimension)).square().mean(2)
    return masked_mean((squared * blocks.loss_weights()[:, None]).mean(1), step.batch.mask)

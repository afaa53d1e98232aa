"""`auto` loss weights: each term's gradient gets a stated share of the objective's."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence

import torch
from torch import Tensor

from lcm.data import Batch
from lcm.errors import TrainingError
from lcm.training.draws import Draws
from lcm.training.step import TrainStep

Part = tuple[Batch, Draws]


def calibrate(
    step: TrainStep, parts: Iterable[Part], index: int, shares: Mapping[str, float], mean: Callable[[Tensor], Tensor] = lambda x: x
) -> dict[str, float]:
    """Set and return the weights of the `auto` terms: share * |g of the objective| / |g of the term|.

    Gradients are those of the global batch: they are averaged over its parts and over ranks before their norm is taken,
    so that one process, several, and accumulation give the same weights.

    Args:
        step: The loss terms and the student.
        parts: This process' micro-batches with their random numbers.
        index: Number of the step.
        shares: Term -> share, above 0.
        mean: Averages a tensor over ranks.

    Raises:
        TrainingError: A term has no gradient, or one that is not finite.
    """
    norms = gradient_norms(step, parts, index, [step.objective.name, *shares], mean)
    for name, norm in norms.items():
        if not 0 < norm < math.inf:
            raise TrainingError(
                f"Step {index}: the gradient of loss term {name} has the norm {norm:g}, so losses.auto cannot weigh by it: "
                f"expected a finite one above 0. Take {name} out of losses.auto, or give it a fixed weight."
            )
    weights = {name: share * norms[step.objective.name] / norms[name] for name, share in shares.items()}
    step.weights.update(weights)
    return weights


def gradient_norms(
    step: TrainStep, parts: Iterable[Part], index: int, names: Iterable[str], mean: Callable[[Tensor], Tensor] = lambda x: x
) -> dict[str, float]:
    """Return the norm of each unweighted term's gradient with respect to the network; a term that is missing has none."""
    parameters = [p for p in step.model.network.parameters() if p.requires_grad]
    sums = {name: torch.zeros(sum(p.numel() for p in parameters), device=parameters[0].device) for name in names}
    count = 0
    for batch, draws in parts:
        terms = step.raw(batch, index, draws)
        for name in sums.keys() & terms.keys():
            if terms[name].requires_grad:
                sums[name] += _gradient(terms[name], parameters)
        count += 1
    return {name: float(mean(total / count).norm()) for name, total in sums.items()}


def _gradient(term: Tensor, parameters: Sequence[Tensor]) -> Tensor:
    gradients = torch.autograd.grad(term, parameters, retain_graph=True, allow_unused=True)  # the terms share a graph
    return torch.cat([torch.zeros_like(p).flatten() if g is None else g.flatten() for g, p in zip(gradients, parameters, strict=True)])

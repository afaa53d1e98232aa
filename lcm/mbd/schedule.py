"""The reverse process of MultiBandDiffusion as numbers known before it starts, so that no step waits for the device.

Source: audiocraft 1.3.0, `NoiseSchedule.generate_subsampled`; Ho et al. 2020, eq. 11 over a sub-chain of states.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch

from lcm.errors import LcmError

CALLS = 20  # of each band's U-Net, in audiocraft's default list of steps


@dataclass(frozen=True)
class ReverseStep:
    """One step: x <- clip((x - noise_weight * U-Net(x, state)) * scale + deviation * noise).

    Attributes:
        state: State of the Markov chain that the U-Net is told.
        noise_weight: Share of the estimated noise that is taken out.
        scale: Factor of what is left.
        deviation: Standard deviation of the fresh noise; 0 in the last step.
    """

    state: int
    noise_weight: float
    scale: float
    deviation: float


def spaced(calls: int, num_steps: int = 1000) -> list[int]:
    """Return the states that a number of U-Net calls visits, evenly spaced from the last down to 0, which ends the list.

    20 calls of 1000 states give audiocraft's default, `list(range(1000))[::-50] + [0]`.

    Raises:
        LcmError: There are not that many states.
    """
    if not 1 <= calls < num_steps:
        raise LcmError(f"teacher.steps={calls} U-Net calls: expected 1 to {num_steps - 1}.")
    return [num_steps - 1 - (num_steps * i) // calls for i in range(calls)] + [0]


def reverse_steps(schedule: Any, states: Sequence[int]) -> list[ReverseStep]:
    """Return the steps through a falling list of states, of which the last is not evaluated.

    The values are those of audiocraft's float32 arithmetic.

    Args:
        schedule: audiocraft's `NoiseSchedule`.
        states: Falling states from 0 to `num_steps - 1`, at least two.

    Raises:
        LcmError: The states are no falling list in this range.
    """
    check_states(states, schedule.num_steps)
    alpha_bar = (1 - schedule.betas.cpu()).cumprod(dim=0)
    visited = alpha_bar[list(states)]
    alphas = 1 - (1 - visited[:-1] / visited[1:])  # as there: 1 - beta, with beta = 1 - alpha
    before = torch.cat([alpha_bar[-1:], visited[1:-1]])  # alpha_bar as each step finds it; the first takes the chain's end
    after = visited[1:]
    weights = (1 - alphas) / (1 - before).sqrt() * schedule.noise_scale
    variances = (1 - after) / (1 - before) * (1 - alphas)
    deviations = variances.clamp(min=0).sqrt() * schedule.noise_scale
    last = len(alphas) - 1
    return [
        ReverseStep(states[i], float(weights[i]), float(1 / alphas[i].sqrt()), 0.0 if i == last else float(deviations[i]))
        for i in range(len(alphas))
    ]


def check_states(states: Sequence[int], num_steps: int) -> None:
    """Refuse what is no list of states.

    Raises:
        LcmError: It names what is wrong.
    """
    falling = all(high > low for high, low in pairwise(states))
    if len(states) < 2 or not falling or states[-1] < 0 or states[0] >= num_steps:
        raise LcmError(
            f"teacher.step_list={list(states)}: expected at least two falling states from {num_steps - 1} to 0, "
            "such as [999, 749, 499, 249, 0]."
        )

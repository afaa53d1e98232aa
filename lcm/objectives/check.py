"""Refuse an objective's parameters before anything is prepared for it."""

from __future__ import annotations

from collections.abc import Iterator

from lcm.distances import DISTANCES
from lcm.errors import LcmError
from lcm.objectives.base import ObjectiveConfig

CHOICES = {"distance": tuple(sorted(DISTANCES)), "grid": ("karras", "linear"), "solver": ("heun", "euler")}
NO_FORCING = ("flow", "token_ce")


def check(config: ObjectiveConfig) -> None:
    """Refuse parameters that have no meaning.

    Raises:
        LcmError: The first that is out of range; the message says what was expected.
    """
    for name, choices in CHOICES.items():
        if getattr(config, name) not in choices:
            raise LcmError(f"objective.{name}={getattr(config, name)!r} is unknown: choose one of {', '.join(choices)}.")
    for wrong, expected in _ranges(config):
        if wrong:
            raise LcmError(f"objective.{expected}")


def _ranges(config: ObjectiveConfig) -> Iterator[tuple[bool, str]]:
    yield config.n < 2, f"n={config.n} must be at least 2 levels."
    yield not 0 <= config.n_start <= config.n, f"n_start={config.n_start} must be in 0 .. n={config.n}."
    yield config.solver_steps < 1, f"solver_steps={config.solver_steps} must be at least 1."
    yield config.stages < 1, f"stages={config.stages} must be at least 1."
    yield not 0 <= config.target_ema < 1, f"target_ema={config.target_ema} must be in [0, 1)."
    yield config.scale is not None and not config.scale > 0, f"scale={config.scale} must be above 0, or null for the distance's own."
    yield not 0 <= config.p_uncond <= 1, f"p_uncond={config.p_uncond} must be in [0, 1]."
    guided = config.name == "flow" and config.guidance != 1
    yield guided and config.p_uncond == 0, f"guidance={config.guidance} needs p_uncond > 0: the unconditional branch is never trained."
    forced = config.teacher_forcing and config.name in NO_FORCING
    yield forced, f"teacher_forcing has no meaning for {config.name}: set it to false."

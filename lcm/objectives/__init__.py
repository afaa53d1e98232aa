"""Objectives by name: one training step each, behind one interface (`base.Step` in, a loss a clip and a prediction out)."""

from __future__ import annotations

from lcm.errors import LcmError
from lcm.objectives.base import Objective, ObjectiveConfig, Step
from lcm.objectives.check import check
from lcm.objectives.consistency import cd, ct, ect, pairs, rose
from lcm.objectives.direct import diffusion, flow, reference, regression

__all__ = ["OBJECTIVES", "ObjectiveConfig", "Step", "needs_teacher", "objective_of", "starts_from_teacher"]

OBJECTIVES: dict[str, tuple[str, Objective]] = {
    "ect": ("consistency", ect),
    "ct": ("consistency", ct),
    "cd": ("consistency", cd),
    "rose": ("consistency", rose),
    "pairs": ("consistency", pairs),
    "diffusion": ("diffusion", diffusion),
    "flow": ("flow", flow),
    "regression": ("regression", regression),
    "token_ce": ("token_ce", reference),
}
"""Name -> the kind of model it trains and its step."""


def objective_of(config: ObjectiveConfig) -> tuple[str, Objective]:
    """Return the kind of model an objective trains and its step function.

    Raises:
        LcmError: There is no such objective, or a parameter is out of range.
    """
    if config.name not in OBJECTIVES:
        raise LcmError(f"There is no objective {config.name!r}: choose one of {sorted(OBJECTIVES)} (objective.name).")
    check(config)
    return OBJECTIVES[config.name]


def needs_teacher(config: ObjectiveConfig) -> bool:
    """Return whether the objective asks a teacher while it trains."""
    return config.name == "cd"


def starts_from_teacher(config: ObjectiveConfig) -> bool:
    """Return whether a student of this objective starts from a diffusion teacher's weights; rivals start alike."""
    return objective_of(config)[0] in ("consistency", "regression")

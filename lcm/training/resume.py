"""The resumable state of a training: weights, averages, optimiser, and a header with all that is no tensor."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lcm import checkpoint
from lcm.model import Model


@dataclass
class State:
    """What changes while training.

    Attributes:
        model: The student.
        average: Its averaged weights for evaluation.
        target: The averaged target network, if the objective has one.
        optimiser: With its moments.
    """

    model: Model
    average: Model
    target: Model | None
    optimiser: torch.optim.Optimizer

    @property
    def _models(self) -> dict[str, Model]:
        models = {"model": self.model, "ema": self.average}
        return {**models, "target": self.target} if self.target is not None else models

    def save(self, path: Path, header: dict[str, Any]) -> None:
        """Write everything, so that the file is either whole or not there."""
        tensors = {f"{name}.{k}": v for name, model in self._models.items() for k, v in model.state_dict().items()}
        moments = self.optimiser.state_dict()["state"]
        tensors |= {f"optimiser.{i}.{k}": torch.as_tensor(v) for i, values in moments.items() for k, v in values.items()}
        checkpoint.save(path, tensors, header)

    def load(self, path: Path) -> dict[str, Any]:
        """Restore everything and return the header."""
        tensors, header = checkpoint.load(path)
        for name, model in self._models.items():
            model.load_state_dict(_under(tensors, f"{name}."))
        moments: dict[int, dict[str, Tensor]] = {}
        for name, value in _under(tensors, "optimiser.").items():
            index, key = name.split(".", 1)
            moments.setdefault(int(index), {})[key] = value
        self.optimiser.load_state_dict({**self.optimiser.state_dict(), "state": moments})
        return header


def remove_stale(folder: Path) -> None:
    """Remove what a process left that died while writing."""
    for stale in folder.glob("*.part"):
        stale.unlink(missing_ok=True)


def _under(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k[len(prefix) :]: v for k, v in tensors.items() if k.startswith(prefix)}

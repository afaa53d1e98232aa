"""The `latent` teacher: a conditional diffusion model on this task, sampled by n-step Heun."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from lcm import checkpoint
from lcm.codec import WEIGHTS, Codec
from lcm.errors import CheckpointError
from lcm.model import Model
from lcm.teachers.base import TeacherConfig

SHIPPED = WEIGHTS / "teacher_small.safetensors"


class LatentTeacher:
    """A diffusion model trained here with `objective=diffusion`.

    Attributes:
        model: The model, for initialising students.
        model_identity: Hash of the weights file.
        identity: The same with the number of steps.
    """

    def __init__(self, config: TeacherConfig, codec: Codec) -> None:
        path = SHIPPED if config.checkpoint == "shipped" else Path(config.checkpoint)
        self.model: Model = checkpoint.load_model(path, codec)
        if self.model.spec.kind != "diffusion":
            raise CheckpointError(f"{path} was trained as {self.model.spec.kind}; a latent teacher is trained with objective=diffusion.")
        self.codec, self.steps = codec, config.steps
        self.model_identity = f"latent-{checkpoint.identity(path)}"
        self.identity = f"{self.model_identity}-{config.steps}"

    def generate(self, codes: Tensor, cutoff_hz: Tensor, seeds: Sequence[int]) -> Tensor:
        """Sample restored latents [B, D, F]."""
        return self.model.restore(self.codec, codes, cutoff_hz, steps=self.steps, seeds=seeds)

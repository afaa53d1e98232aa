"""What a teacher is, and the registry."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from lcm.codec import Codec
from lcm.errors import LcmError


@dataclass
class TeacherConfig:
    """Which teacher.

    Attributes:
        name: `latent` (conditional diffusion in the codec's latent space) or `original` (the original's own codes).
        checkpoint: Model file of a `latent` teacher; `shipped` is the small one in the package.
        steps: Heun steps; n steps are 2 n - 1 network calls.
        seed: Seed of the sampler, mixed with each utterance's id.
    """

    name: str = "latent"
    checkpoint: str = "shipped"
    steps: int = 18
    seed: int = 0


class Teacher(Protocol):
    """Restores latents from degraded codes."""

    identity: str

    def generate(self, codes: Tensor, cutoff_hz: Tensor, seeds: Sequence[int]) -> Tensor:
        """Return restored latents [B, D, F] of degraded codes [B, K, F]; one seed a clip."""


def _latent(config: TeacherConfig, codec: Codec) -> Teacher:
    from lcm.teachers.latent import LatentTeacher

    return LatentTeacher(config, codec)


_BUILDERS: dict[str, Callable[[TeacherConfig, Codec], Teacher]] = {"latent": _latent}


def load_teacher(config: TeacherConfig, codec: Codec) -> Teacher | None:
    """Build the configured teacher; None for `original`, whose targets are the `hr` codes already in the store.

    Raises:
        LcmError: There is no such teacher.
    """
    if config.name == "original":
        return None
    if config.name not in _BUILDERS:
        raise LcmError(f"There is no teacher {config.name!r}: choose one of {sorted([*_BUILDERS, 'original'])} (teacher.name).")
    return _BUILDERS[config.name](config, codec)

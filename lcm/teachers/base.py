"""What a teacher is, and the registry."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from torch import Tensor

from lcm.codec import Codec
from lcm.errors import LcmError
from lcm.model import Model

PRECISIONS = ("fp32", "fp16", "bf16")


@dataclass
class TeacherConfig:
    """Which teacher.

    Attributes:
        name: `latent` (conditional diffusion in the codec's latent space), `mbd` (audiocraft's MultiBandDiffusion) or `original` (the
            original's own codes).
        checkpoint: Model file of a `latent` teacher; `shipped` is the small one in the package. With `mbd`, which has no latents, the
            latent teacher whose weights students start from; `shipped` then means none.
        steps: Heun steps of `latent`, of 2 n - 1 network calls; with `mbd` calls of each band's U-Net (20 in audiocraft).
        seed: Seed of the sampler, mixed with each utterance's id.
        bw: Bandwidth in kbps that `mbd` was trained for: 1.5, 3 or 6, which are 2, 4 or 8 codebooks.
        codebooks: Codebooks that `mbd` is given; 0: those it was trained for. The reference gave it 32.
        step_list: States of the Markov chain that `mbd` visits, falling from at most 999; the last is not evaluated. Empty: by `steps`.
        precision: `fp32`, or autocast of the U-Nets of `mbd` to `fp16` or `bf16`: `python -m lcm.mbd check` says at which error.
        folder: Folder of the weights of `mbd`; null: the caches of audiocraft and Hugging Face.
        weights: `pretrained`, or `random` for the architecture of `mbd` untrained (tests, benchmarks).
        hidden: Channels of the first level of the U-Nets of `mbd`; another number than 48 only with random weights.
        res_blocks: Residual blocks of their layers; another number than 2 only with random weights.
    """

    name: str = "latent"
    checkpoint: str = "shipped"
    steps: int = 18
    seed: int = 0
    bw: float = 3.0
    codebooks: int = 0
    step_list: list[int] = field(default_factory=list)
    precision: str = "fp32"
    folder: str | None = None
    weights: str = "pretrained"
    hidden: int = 48
    res_blocks: int = 2

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS or self.weights not in ("pretrained", "random"):
            raise LcmError(
                f"teacher.precision={self.precision!r} and teacher.weights={self.weights!r}: expected one of {', '.join(PRECISIONS)}, "
                "and pretrained or random."
            )


class Teacher(Protocol):
    """Restores latents from degraded codes.

    Attributes:
        identity: Hash of its weights and of the settings that its output depends on.
        model_identity: Hash of what else a student takes from it: `model`; empty without one.
        model: Diffusion model whose weights students start from and whose trajectory they follow, or None.
    """

    identity: str

    @property
    def model_identity(self) -> str:
        """See above."""

    @property
    def model(self) -> Model | None:
        """See above."""

    def generate(self, codes: Tensor, cutoff_hz: Tensor, seeds: Sequence[int]) -> Tensor:
        """Return restored latents [B, D, F] of degraded codes [B, K, F]; one seed a clip."""


def _latent(config: TeacherConfig, codec: Codec, student: Codec) -> Teacher:
    from lcm.teachers.latent import LatentTeacher

    return LatentTeacher(config, student)


def _mbd(config: TeacherConfig, codec: Codec, student: Codec) -> Teacher:
    from lcm.teachers.mbd import MbdTeacher

    return MbdTeacher(config, codec, student)


_BUILDERS: dict[str, Callable[[TeacherConfig, Codec, Codec], Teacher]] = {"latent": _latent, "mbd": _mbd}


def load_teacher(config: TeacherConfig, codec: Codec, student: Codec | None = None) -> Teacher | None:
    """Build the configured teacher; None for `original`, whose targets are the `hr` codes already in the store.

    Args:
        config: Which.
        codec: The codec of the codes store.
        student: The codec of the students, which may have fewer codebooks; None: the same.

    Raises:
        LcmError: There is no such teacher.
    """
    if config.name == "original":
        return None
    if config.name not in _BUILDERS:
        raise LcmError(f"There is no teacher {config.name!r}: choose one of {sorted([*_BUILDERS, 'original'])} (teacher.name).")
    return _BUILDERS[config.name](config, codec, student or codec)

"""A trained system: network, block statistics, and how to restore a clip with them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from lcm.blocks import Blocks, check_partition
from lcm.codec import Codec
from lcm.errors import LcmError
from lcm.network import BlockHead, LcmMcb, NetworkConfig
from lcm.reference import ReferenceConfig, TokenClassifier
from lcm.sampler import (
    denoiser,
    guided_velocity,
    heun_calls,
    sample_consistency,
    sample_flow,
    sample_heun,
    student_levels,
    teacher_sigmas,
)
from lcm.schedule import ScheduleConfig, frame_noise

KINDS = ("consistency", "diffusion", "flow", "regression", "token_ce")


@dataclass
class ModelSpec:
    """Everything needed to rebuild a model around its weights.

    Attributes:
        kind: How it is sampled: `consistency`, `diffusion` (Heun), `flow` (Euler), `regression` or `token_ce` (one call).
        partition: Codebooks per block.
        codec: Identity of the codec it was trained with.
        output: `latents` (straight to the decoder) or `tokens` (requantised block by block first).
        network, reference, schedule: Sizes and noise levels.
        prior: `normal`, or `condition`: the state is the residual to the degraded audio's latents.
        block_weights: Loss weight of each block; empty means by variance.
        guidance: Scale of classifier-free guidance of a `flow` model; 1 is without.
    """

    kind: str
    partition: tuple[int, ...]
    codec: str
    output: str = "latents"
    network: NetworkConfig = field(default_factory=NetworkConfig)
    reference: ReferenceConfig = field(default_factory=ReferenceConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    prior: str = "normal"
    block_weights: tuple[float, ...] = ()
    guidance: float = 1.0

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-able fields."""
        return asdict(self)

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> ModelSpec:
        """Rebuild from `to_dict`."""
        parts = {"network": NetworkConfig, "reference": ReferenceConfig, "schedule": ScheduleConfig}
        values = {k: parts[k](**v) if k in parts else v for k, v in fields.items()}
        return cls(**{**values, "partition": tuple(values["partition"]), "block_weights": tuple(values.get("block_weights", ()))})


class Model(nn.Module):
    """Network and block statistics of one system."""

    def __init__(self, spec: ModelSpec, codec: Codec) -> None:
        super().__init__()
        self.spec = spec
        partition = check_partition(spec.partition, codec.n_q)
        self.blocks = Blocks(partition, codec.dimension, spec.prior, spec.block_weights)
        self.network: LcmMcb | TokenClassifier = (
            TokenClassifier(spec.reference, codec.n_q) if spec.kind == "token_ce" else LcmMcb(spec.network, partition, codec.dimension)
        )

    @torch.no_grad()
    def restore(
        self,
        codec: Codec,
        codes: Tensor,
        cutoff_hz: Tensor,
        *,
        steps: int = 1,
        seeds: Sequence[int] = (0,),
        temperature: float = 1.0,
        start: int = 0,
    ) -> Tensor:
        """Predict the original's latents.

        Args:
            codec: The codec the model was trained with.
            codes: Degraded audio's codes [B, K, F].
            cutoff_hz: Its bandwidth [B].
            steps: Network calls of a consistency model, Heun steps of a diffusion teacher or Euler steps of a flow model.
            seeds: One noise seed a clip, or one for all; noise is keyed to the absolute frame.
            temperature: Scale of the sampler's noise, >= 0: below 1 the answer moves from a sample towards the mean.
            start: Absolute number of the first frame, where the codes are a part of a longer recording.

        Returns:
            Decoder latents [B, D, F].
        """
        if isinstance(self.network, TokenClassifier):
            return codec.latents(self.network(codes).argmax(-1))
        state = self._sample(self.blocks.condition(codec, codes), cutoff_hz, steps, seeds, temperature, start)
        anchor = self.blocks.anchor(codec, codes)
        if self.spec.output == "tokens":
            return codec.latents(self.blocks.to_codes(codec, state, anchor))
        return self.blocks.to_latents(state, anchor)

    def _sample(
        self, condition: Tensor, cutoff_hz: Tensor, steps: int, seeds: Sequence[int], temperature: float = 1.0, start: int = 0
    ) -> Tensor:
        assert isinstance(self.network, LcmMcb)  # token classifiers do not sample
        batch, _, frames = condition.shape
        channels, schedule = len(self.spec.partition) * self.blocks.dimension, self.spec.schedule
        denoise = denoiser(self.network, condition, cutoff_hz)
        if self.spec.kind == "regression":
            return denoise(condition.new_zeros(batch, channels, frames), schedule.sigma_max)
        draws = steps if self.spec.kind == "consistency" else 1
        if len(seeds) not in (1, batch):
            raise LcmError(f"{len(seeds)} noise seeds came for {batch} clips: give one, or one a clip.")
        each = seeds if len(seeds) == batch else [seeds[0]] * batch
        drawn = [torch.stack([frame_noise(channels, frames, seed=s + i, start=start) for s in each]) for i in range(draws)]
        noises = [temperature * noise.to(condition) for noise in drawn]
        if self.spec.kind == "flow":
            return sample_flow(guided_velocity(self.network, condition, cutoff_hz, self.spec.guidance), noises[0], steps)
        if self.spec.kind == "diffusion":
            return sample_heun(denoise, noises[0], teacher_sigmas(schedule, steps))
        return sample_consistency(denoise, noises, student_levels(schedule, steps))

    def calls(self, steps: int) -> int:
        """Return the network calls of `restore` with this many steps."""
        flow = steps if self.spec.guidance == 1 else 2 * steps
        return {"diffusion": heun_calls(steps), "consistency": steps, "flow": flow}.get(self.spec.kind, 1)


@torch.no_grad()
def transfer(teacher: Model, student: Model) -> list[str]:
    """Initialise a student from a diffusion teacher, also of another block partition.

    With the same partition every tensor is copied. With another one the trunk is copied and the input projection is
    rescaled so that the blocks' sum looks to the trunk as the teacher's state did; the first head starts from the
    teacher's and the finer heads start at zero.

    Returns:
        Names of the tensors that were set.

    Raises:
        LcmError: The two states differ in their prior.
    """
    if teacher.spec.prior != student.spec.prior:
        raise LcmError(
            f"blocks.prior={student.spec.prior} differs from the teacher's {teacher.spec.prior}: train a teacher with it, or set init=none."
        )
    source, target = teacher.network.state_dict(), student.network.state_dict()
    same = teacher.spec.partition == student.spec.partition
    names = [k for k in target if k in source and source[k].shape == target[k].shape and (same or not k.startswith("heads"))]
    for name in names:
        target[name].copy_(source[name])
    if same:
        student.blocks.load_state_dict(teacher.blocks.state_dict())
        return names
    if not isinstance(student.network, LcmMcb) or not isinstance(teacher.network, LcmMcb):
        return names
    student.blocks.condition_mean.copy_(teacher.blocks.condition_mean)
    student.blocks.condition_deviation.copy_(teacher.blocks.condition_deviation)
    if len(teacher.spec.partition) > 1:
        return names
    ratio = student.blocks.deviation / teacher.blocks.deviation
    wide = torch.cat([teacher.network.state_in.weight * r[:, None] for r in ratio], dim=1)
    student.network.state_in.weight.copy_(wide)
    student.blocks.mean[0] += teacher.blocks.mean[0] - student.blocks.mean.sum(0)  # the sum of the blocks is the teacher's state
    _first_head(teacher.network.heads[0], student.network.heads[0], 1 / ratio[0])
    return [*names, "state_in.weight", "heads.0"]


def _first_head(source: nn.Module, target: nn.Module, scale: Tensor) -> None:
    assert isinstance(source, BlockHead)  # ModuleList does not carry its type
    assert isinstance(target, BlockHead)
    target.trunk.load_state_dict(source.trunk.state_dict())
    target.out.weight.copy_(source.out.weight * scale[:, None])
    target.out.bias.copy_(source.out.bias * scale)

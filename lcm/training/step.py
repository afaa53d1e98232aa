"""One training step's loss terms: the objective's, and auxiliary ones on the decoded prediction."""

from __future__ import annotations

from torch import Tensor, nn

from lcm.auxiliary import auxiliary
from lcm.codec import Codec
from lcm.data import Batch
from lcm.errors import LcmError
from lcm.losses import LossConfig
from lcm.model import Model
from lcm.objectives import ObjectiveConfig, Step, objective_of
from lcm.training.draws import Draws


class Held:
    """Carries a batch past Fabric, which would cast its cutoffs and audio to half precision."""

    def __init__(self, batch: Batch) -> None:
        self.batch = batch


class TrainStep(nn.Module):
    """The weighted loss terms of a batch, as a module so that DDP and autocast wrap the whole of it.

    Args:
        model: The student.
        codec: The frozen codec.
        objective, losses: What is trained.
        context: Frames at either end of a crop that waveform losses leave out.
        total: Steps of the run, for curricula.
        teacher: Diffusion teacher, for objectives that ask one.
        target: Averaged target network, or None for the student itself.

    Attributes:
        weights: Current weight of each auxiliary term.

    Raises:
        LcmError: An auxiliary term is the objective itself.
    """

    def __init__(
        self,
        model: Model,
        codec: Codec,
        objective: ObjectiveConfig,
        losses: LossConfig,
        *,
        context: int,
        total: int,
        teacher: Model | None = None,
        target: Model | None = None,
    ) -> None:
        super().__init__()
        self.model = model
        self._frozen = (codec, teacher, target)  # in a tuple: their weights are not the student's
        self.objective, self.context, self.total = objective, context, total
        self.weights, self.copied = dict(losses.on), losses.copied
        if objective.name in self.weights:
            raise LcmError(f"losses.{objective.name} and objective.name={objective.name} are one term: set losses.{objective.name}=0.")

    @property
    def target(self) -> Model | None:
        """The averaged target network, if there is one."""
        return self._frozen[2]

    def forward(self, held: Held, index: int, draws: Draws) -> dict[str, Tensor]:
        """Return the weighted terms, each a scalar."""
        return {name: self.weights.get(name, 1.0) * value for name, value in self.raw(held.batch, index, draws).items()}

    def raw(self, batch: Batch, index: int, draws: Draws) -> dict[str, Tensor]:
        """Return the unweighted terms: the objective's under its name and every auxiliary one that is on."""
        codec, teacher, target = self._frozen
        blocks = self.model.blocks
        anchor, condition = blocks.anchor(codec, batch.lr_codes), blocks.condition(codec, batch.lr_codes)
        x0 = self._state(codec, batch, anchor)
        wanted = "token_ce" in self.weights
        step = Step(self.objective, self.model, x0, condition, batch, index, self.total, draws, target, teacher, logits=wanted)
        per_clip, prediction = objective_of(self.objective)[1](step)
        terms = auxiliary(self.weights, codec, blocks, prediction, batch, context=self.context, anchor=anchor, copied=self.copied)
        return {self.objective.name: per_clip.mean(), **terms}

    def _state(self, codec: Codec, batch: Batch, anchor: Tensor | None) -> Tensor:
        """Return the target state: of the target codes or, where they came along, of a teacher's latents before requantising."""
        blocks = self.model.blocks
        x0 = blocks.to_state(codec, batch.target_codes, anchor)
        if not batch.latents.shape[1] or len(blocks.partition) > 1:  # `pairs` refuses several blocks itself
            return x0
        latents = batch.latents[:, None]
        stored = blocks.standardise(latents if anchor is None else latents - anchor)
        return stored.where(batch.from_teacher[:, None, None], x0)

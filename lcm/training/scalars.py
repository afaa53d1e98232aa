"""Training scalars: a CSV that a person and pandas can read, and TensorBoard, with validation audio, beside it; W&B on demand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from lcm.audio import SAMPLE_RATE
from lcm.paths import Run, write_text
from lcm.training.wandb_run import Wandb

HEADER = "step,name,value"


class Scalars:
    """Appends scalars of each step; on resume rows at or after the resumed step are dropped first.

    Args:
        run: Run folder.
        first: Step at which training starts or resumes.
        project: W&B project; empty: none.

    Raises:
        TrainingError: A W&B project is named and W&B is not installed.
    """

    def __init__(self, run: Run, first: int, project: str = "") -> None:
        self.run = run
        self._wandb = Wandb(run, project) if project else None
        kept = run.scalars.read_text().splitlines()[1:] if run.scalars.exists() else []
        rows = [row for row in kept if row.count(",") == 2 and int(row.split(",")[0]) < first]
        write_text(run.scalars, "\n".join([HEADER, *rows]) + "\n")
        self._file = run.scalars.open("a", encoding="utf-8")
        self._writer = _tensorboard(run, first)
        self._targets: set[str] = set()

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Write one step's values."""
        self._file.writelines(f"{step},{name},{value:.6g}\n" for name, value in values.items())
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)
        if self._wandb:
            self._wandb.write(step, values)

    def write_audio(self, step: int, utterance: str, estimate: Tensor, target: Tensor) -> None:
        """Write a validation clip [T] for listening; its target once."""
        if utterance not in self._targets:
            self._targets.add(utterance)
            self._write_audio(step, f"{utterance}/target", target)
        self._write_audio(step, f"{utterance}/estimate", estimate)

    def _write_audio(self, step: int, name: str, audio: Tensor) -> None:
        self._writer.add_audio(name, audio, step, SAMPLE_RATE)
        if self._wandb:
            self._wandb.write_audio(step, name, audio)

    def flush(self) -> None:
        """Bring everything to disk, as is done before each checkpoint."""
        self._file.flush()
        self._writer.flush()

    def close(self) -> None:
        """Bring everything to disk and let the files go."""
        self._file.close()
        self._writer.close()
        if self._wandb:
            self._wandb.close()


def _tensorboard(run: Run, first: int) -> Any:
    from torch.utils.tensorboard import SummaryWriter  # slow to import

    return SummaryWriter(str(run.tensorboard), purge_step=first)

"""Training scalars: a CSV that a person and pandas can read, and TensorBoard, with validation audio, beside it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from lcm.audio import SAMPLE_RATE
from lcm.paths import Run, write_text

HEADER = "step,name,value"


class Scalars:
    """Appends scalars of each step; on resume rows at or after the resumed step are dropped first."""

    def __init__(self, run: Run, first: int) -> None:
        self.run = run
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

    def write_audio(self, step: int, utterance: str, estimate: Tensor, target: Tensor) -> None:
        """Write a validation clip [T] for listening in TensorBoard; its target once."""
        if utterance not in self._targets:
            self._targets.add(utterance)
            self._writer.add_audio(f"{utterance}/target", target, step, SAMPLE_RATE)
        self._writer.add_audio(f"{utterance}/estimate", estimate, step, SAMPLE_RATE)

    def flush(self) -> None:
        """Bring everything to disk, as is done before each checkpoint."""
        self._file.flush()
        self._writer.flush()

    def close(self) -> None:
        """Bring everything to disk and let the files go."""
        self._file.close()
        self._writer.close()


def _tensorboard(run: Run, first: int) -> Any:
    from torch.utils.tensorboard import SummaryWriter  # slow to import

    return SummaryWriter(str(run.tensorboard), purge_step=first)

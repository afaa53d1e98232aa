"""Training scalars: a CSV that a person and pandas can read, and TensorBoard beside it."""

from __future__ import annotations

from typing import Any

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

    def write(self, step: int, values: dict[str, float]) -> None:
        """Write one step's values."""
        self._file.writelines(f"{step},{name},{value:.6g}\n" for name, value in values.items())
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def flush(self) -> None:
        """Bring everything to disk, as is done before each checkpoint."""
        self._file.flush()
        self._writer.flush()


def _tensorboard(run: Run, first: int) -> Any:
    from torch.utils.tensorboard import SummaryWriter  # slow to import

    return SummaryWriter(str(run.tensorboard), purge_step=first)

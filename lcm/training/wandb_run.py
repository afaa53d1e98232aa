"""Scalars and validation audio to Weights & Biases, whose failures never stop a training: `scalars.csv` has all of them."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Mapping
from typing import Any

import yaml
from torch import Tensor

from lcm.audio import SAMPLE_RATE
from lcm.errors import TrainingError
from lcm.paths import Run


class Wandb:
    """One W&B run for one run folder; a resumed training goes on in it.

    W&B keeps the first value of a step: what a resumed training computes again is the same.

    Args:
        run: Run folder; its name is the run's, its config the run's config. W&B's own files lie in its `wandb` folder.
        project: W&B project.

    Raises:
        TrainingError: W&B is not installed.
    """

    def __init__(self, run: Run, project: str) -> None:
        wandb = import_wandb(project)
        config = yaml.safe_load(run.config.read_text(encoding="utf-8")) if run.config.exists() else None
        # the same point in another root is another training
        identity = f"{run.folder.name}-{hashlib.sha256(str(run.folder.absolute()).encode()).hexdigest()[:6]}"
        settings = wandb.Settings(console="off", silent=True)
        try:
            self._run: Any = wandb.init(
                project=project, id=identity, name=run.folder.name, dir=str(run.folder), config=config, resume="allow", settings=settings
            )
        except Exception as error:  # no network, no login, a server that is down: each has a type of its own
            self._give_up(error)

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Write one step's values."""
        self._log({name: float(value) for name, value in values.items()}, step)

    def write_audio(self, step: int, name: str, audio: Tensor) -> None:
        """Write a clip [T] for listening."""
        if self._run is not None:
            from wandb import Audio

            self._log({name: Audio(audio.detach().cpu().numpy(), sample_rate=SAMPLE_RATE)}, step)

    def close(self) -> None:
        """Bring everything to W&B, or to its folder where it is offline."""
        if self._run is not None:
            try:
                self._run.finish()
            except Exception as error:
                self._give_up(error)

    def _log(self, values: dict[str, Any], step: int) -> None:
        if self._run is not None:
            try:
                self._run.log(values, step=step)
            except Exception as error:
                self._give_up(error)

    def _give_up(self, error: Exception) -> None:
        self._run = None
        first = (str(error).splitlines() or [""])[0]
        warnings.warn(
            f"W&B gets nothing from here on ({type(error).__name__}: {first}); training goes on, scalars.csv and TensorBoard have all. "
            "On a node without network set WANDB_MODE=offline; without a login run `wandb login`.",
            stacklevel=2,
        )


def import_wandb(project: str) -> Any:
    """Return the package.

    Raises:
        TrainingError: It is not installed.
    """
    try:
        import wandb
    except ImportError as error:
        raise TrainingError(
            f"train.wandb={project} needs the package wandb ({error}): pip install lcm-superres[wandb], or set train.wandb=''."
        ) from error
    return wandb

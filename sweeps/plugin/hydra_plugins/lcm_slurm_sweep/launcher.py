"""What hydra sees of the launcher; hydra imports this at every start, so all that is slow is imported when it launches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from sweeps.sweep.settings import LauncherNode


class SlurmSweepLauncher(Launcher):
    """Submits frozen points to SLURM and returns; see `sweeps.sweep`."""

    def __init__(self, **settings: Any) -> None:
        self.settings = settings

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Take what hydra gives; composing hundreds of points is made fast."""
        from sweeps.sweep.compose import FastLoader

        self.config = config
        hydra_context.config_loader = self.loader = FastLoader(hydra_context.config_loader)  # type: ignore[assignment]  # it passes on all else

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Submit points."""
        from sweeps.sweep.launch import launch

        composed = [self.loader.load_sweep_config(self.config, list(words)) for words in job_overrides]
        return launch(self.config, composed, job_overrides, self.settings)


ConfigStore.instance().store(group="hydra/launcher", name="slurm_sweep", node=LauncherNode, provider="lcm_slurm_sweep")

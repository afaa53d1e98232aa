"""Settings of the launcher `hydra/launcher=slurm_sweep`: `hydra.launcher.KEY=value`."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields, make_dataclass, replace
from pathlib import Path
from typing import Any

from lcm.errors import LcmError
from slurm.cluster import Cluster, load_cluster
from slurm.profiles import check_keys

EVALUATIONS = ("same", "after")


class SweepError(LcmError):
    """A sweep cannot be submitted, or a setting of its launcher is wrong; the message names it."""


@dataclass
class LauncherConfig:
    """How the points of a sweep become jobs.

    Attributes:
        cluster: Cluster profile, as of `python -m slurm`: `2x48gb`, `local`, one of your own, or a path that ends in .yaml.
        over: Fields of the profile that differ; for hydra each is a setting of its own, such as `hydra.launcher.partition=gpu`.
        pack: Points that run side by side in one task, on its one GPU; for small ones.
        wait: Wait for the values of all points, as sweepers do that choose points by them; else return when all is submitted.
        dry_run: Print what would be submitted, and what it takes.
        evaluation: `same` (in the job that trains) or `after` (in a job of its own after it).
        evaluation_over: Fields that differ in the profile of such jobs, such as `{gpus_per_task:0,partition:cpu}`.
        attempts: A point that dies this often in a row without a further checkpoint is given up.
    """

    cluster: str = "2x48gb"
    over: dict[str, Any] = field(default_factory=dict)
    pack: int = 1
    wait: bool = False
    dry_run: bool = False
    evaluation: str = "same"
    evaluation_over: dict[str, Any] = field(default_factory=dict)
    attempts: int = 3

    def __post_init__(self) -> None:
        if self.evaluation not in EVALUATIONS:
            raise SweepError(f"hydra.launcher.evaluation={self.evaluation!r} is unknown: choose one of {', '.join(EVALUATIONS)}.")
        for name in ("pack", "attempts"):
            if getattr(self, name) < 1:
                raise SweepError(f"hydra.launcher.{name}={getattr(self, name)}: at least 1.")

    @classmethod
    def from_hydra(cls, given: Mapping[str, Any]) -> LauncherConfig:
        """Return the settings that hydra holds, in which the fields of a profile stand beside the launcher's own."""
        own = {entry.name for entry in fields(LauncherConfig)} - {"over"}
        over = {name: value for name, value in given.items() if name not in own | {"over"} and value is not None}
        found = cls(over=over, **{name: value for name, value in given.items() if name in own and value is not None})
        is_path = found.cluster.endswith((".yaml", ".yml"))
        return replace(found, cluster=str(Path(found.cluster).expanduser().absolute())) if is_path else found  # for a retry from elsewhere

    def profile(self) -> Cluster:
        """Return the profile of the jobs that train.

        Raises:
            ClusterError: There is no such profile, or a field of it is wrong.
        """
        return _over(load_cluster(self.cluster), self.over)

    def evaluation_profile(self) -> Cluster:
        """Return the profile of jobs that only evaluate.

        Raises:
            ClusterError: A field of it is wrong.
        """
        trains = self.profile()
        cluster = replace(_over(trains, self.evaluation_over), max_array_size=trains.max_array_size)  # arrays are split in the same places
        gpus = cluster.gpus_per_task or "gres" in self.evaluation_over
        return cluster if gpus else replace(cluster, gres=",".join(part for part in cluster.gres.split(",") if not part.startswith("gpu")))

    def with_words(self, words: Sequence[str]) -> LauncherConfig:
        """Return the settings with words of a command line over the profile, such as `time=12:00:00`.

        Raises:
            ClusterError: A word is none of the profile's fields.
        """
        asked, names = load_cluster(self.cluster, words), {word.partition("=")[0].partition(".")[0] for word in words}
        over = {name: getattr(asked, name) for name in names}
        tables = {name: {**self.over[name], **value} for name, value in over.items() if isinstance(value, dict) and name in self.over}
        return replace(self, over={**self.over, **over, **tables})


def _over(cluster: Cluster, values: Mapping[str, Any]) -> Cluster:
    """Return a profile with fields changed; tables are added to."""
    known = [entry.name for entry in fields(Cluster) if entry.name not in _NOT_OVER]
    check_keys(values, known, "hydra.launcher")
    tables = {name: {**getattr(cluster, name), **value} for name, value in values.items() if isinstance(value, dict)}
    return replace(cluster, **{**values, **tables})


_NOT_OVER = ("name", "kind", "shards_per_task")
_PROFILE: list[tuple[str, Any, Any]] = [(entry.name, Any, None) for entry in fields(Cluster) if entry.name not in _NOT_OVER]
_HYDRA: list[tuple[str, Any, Any]] = [
    ("_target_", str, "hydra_plugins.lcm_slurm_sweep.launcher.SlurmSweepLauncher"),
    ("evaluation_over", Any, None),  # hydra wants a + before each key of a field that is a table
]
# Hydra's config group: the launcher's settings, the fields of a profile, and the class that takes them. Not in the plugin: hydra executes
# a plugin before it is a module by name, which dataclasses need.
LauncherNode = make_dataclass("LauncherNode", [*_HYDRA, *_PROFILE], bases=(LauncherConfig,))


def for_devices(cluster: Cluster, devices: int) -> Cluster:
    """Return the profile of a job that trains one point: as many tasks on one node as the point has processes, each with its GPU.

    Raises:
        SweepError: The profile's tasks have several GPUs each.
    """
    if devices == 1 or cluster.kind == "local":
        return replace(cluster, gpus_per_task=devices) if devices > 1 else cluster
    if cluster.gpus_per_task > 1:
        gpus = f"{cluster.name} has gpus_per_task={cluster.gpus_per_task}"
        raise SweepError(f"train.devices={devices} needs tasks of one GPU each, but {gpus}: add hydra.launcher.gpus_per_task=1.")
    return of_tasks(cluster, devices)


def of_tasks(cluster: Cluster, tasks: int) -> Cluster:
    """Return the profile of jobs of so many tasks on one node; where it names GPUs in gres, with as many as these tasks have."""
    gres = cluster.gres
    if cluster.gpus_per_task:
        gres = re.sub(r"(^|,)(gpu(?::[^:,]+)?):\d+(?=,|$)", rf"\g<1>\g<2>:{tasks * cluster.gpus_per_task}", gres)
    return replace(cluster, nodes=1, tasks_per_node=tasks, gres=gres)


def check_profiles(settings: LauncherConfig, devices: Collection[int]) -> None:
    """Look at every profile that a sweep's jobs will have, before the first of them is submitted.

    Args:
        settings: The launcher's.
        devices: Processes that train one point, of each kind of point.

    Raises:
        LcmError: One is wrong.
    """
    for count in devices:
        for_devices(settings.profile(), count)
    if settings.evaluation == "after":
        of_tasks(settings.evaluation_profile(), 1)

"""Examine everything a generation needs before it is submitted: the cluster, a compute node, the file system."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from lcm.codec import CodecConfig
from lcm.teachers import TeacherConfig
from slurm import scheduler
from slurm.cluster import Cluster
from slurm.diagnosis import examine_quota, judge_gpus, judge_node, judge_python, judge_root, judge_visit
from slurm.disk import attempt
from slurm.finding import Finding, failure, warning
from slurm.policy import examine_policy
from slurm.probe import Sight, look
from slurm.scheduler import SchedulerError
from slurm.visit import visit

__all__ = ["Finding", "examine"]


def examine(
    root: Path,
    cluster: Cluster,
    *,
    probe: bool = True,
    wait_s: float = 120,
    codec: CodecConfig | None = None,
    teacher: TeacherConfig | None = None,
) -> Iterator[Finding]:
    """Yield a finding a thing, as each is known.

    Args:
        root: Folder of the stores; made where it does not exist.
        cluster: The profile that jobs are to use.
        probe: Whether to send a job to a compute node. It is small, and cancelled if it does not start.
        wait_s: Seconds that it may wait in the queue.
        codec: The codec of the jobs; None is the one that ships.
        teacher: Their teacher; None is the one that ships.

    Yields:
        Findings; of one name there may be several.
    """
    root, codec, teacher = root.absolute(), codec or CodecConfig(), teacher or TeacherConfig()
    if problem := attempt(lambda: root.mkdir(parents=True, exist_ok=True)):
        yield failure("root folder", f"{root} cannot be made: {problem}", "Name a folder that you may write to.")
        return
    here = look(root, asdict(codec), asdict(teacher), cluster.scratch if cluster.kind == "local" else "")
    if cluster.kind == "local":
        yield from judge_gpus([here], cluster)
        yield from judge_node(here, cluster)
        yield from examine_quota(root)
        return
    yield from _group(cluster)
    try:
        yield from _on_slurm(root, cluster, here, (codec, teacher), wait_s if probe else None)
    except SchedulerError as error:
        yield failure("controller", str(error), "Wait until it answers; on another machine, log in to the cluster.")
        yield from judge_root(here)
    yield from examine_quota(root)


def _on_slurm(
    root: Path, cluster: Cluster, here: Sight, models: tuple[CodecConfig, TeacherConfig], wait_s: float | None
) -> Iterator[Finding]:
    if not scheduler.available():
        for command in ("sbatch", "squeue"):
            scheduler.run([command, "--version"])  # says that it is absent
        raise SchedulerError("No controller answers `scontrol ping`.")
    yield from examine_policy(cluster)
    seen = None if here.root.error or wait_s is None else visit(root, cluster, *models, wait_s=wait_s)
    if seen is not None and seen.problem is None:
        yield from judge_visit(seen, root, cluster)
        yield from judge_python(seen.sights[0], here)
        yield from judge_gpus(seen.sights, cluster)
        yield from judge_node(seen.sights[0], cluster)
        return
    if seen is not None and seen.problem is not None:
        yield seen.problem
    yield from judge_root(here)
    if here.weights_error:
        yield warning("weights", f"cannot be loaded here: {here.weights_error}", "Run `python -m slurm prefetch` on the login node.")


def _group(cluster: Cluster) -> Iterator[Finding]:
    """Say whether the group of the profile can be given to files."""
    import grp

    if not cluster.group:
        return
    try:
        number = grp.getgrnam(cluster.group).gr_gid
    except KeyError:
        yield failure("group", f"there is no group {cluster.group!r} here", "Set cluster.group to one that `id` names, or leave it empty.")
        return
    if number not in {*os.getgroups(), os.getegid()} and os.geteuid():
        todo = "Set cluster.group to one that `id` names: files can be given to no other."
        yield failure("group", f"you are not a member of {cluster.group}", todo)

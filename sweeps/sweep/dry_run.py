"""What a sweep would submit: its points, its jobs, the text for sbatch, memory and time. Nothing is submitted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from lcm.paths import Root
from slurm import scheduler
from slurm.cluster import Cluster
from slurm.sbatch import sbatch_text
from slurm.scheduler import SchedulerError
from slurm.site import Site, exports
from slurm.status import duration
from slurm.submission import into_arrays
from slurm.submit import local_processes
from sweeps.config import Config
from sweeps.sweep import packing
from sweeps.sweep.cost import hours, memory
from sweeps.sweep.record import SweepPoint
from sweeps.sweep.settings import LauncherConfig, check_profiles, for_devices, of_tasks
from sweeps.sweep.submit import Sorted, sort

_DEFAULT_MAX_ARRAY = 1001  # SLURM's own default, where no controller can be asked
_SHOWN = 40


def report(root: Root, points: Sequence[SweepPoint], configs: Mapping[int, Config], settings: LauncherConfig) -> Iterator[str]:
    """Yield what submitting points would do, in lines.

    Args:
        root: Their root.
        points: The points.
        configs: Frozen config of each, by its number.
        settings: The launcher's.

    Raises:
        LcmError: The profile is wrong, or an input cannot be read.
    """
    cluster = settings.profile()
    check_profiles(settings, {point.devices for point in points})
    found = sort(root, points, configs)
    found.check()
    chosen = [point for point in found.points if point.number in set(found.submit)]
    yield f"{len(points)} points in {root.folder}, {len(chosen)} to submit"
    yield from (f"  {line}" for line in found.lines)
    yield from (f"  {point.number:4d}  {point.run or '(named when it runs)':16s}  {point.name}" for point in chosen[:_SHOWN])
    if len(chosen) > _SHOWN:
        yield f"  ... and {len(chosen) - _SHOWN} more"
    if chosen:
        yield from _jobs(root, chosen, found, settings, cluster)
        yield from _cost(root, [configs[point.number] for point in chosen], settings)
    yield "dry run: nothing was submitted"


def _jobs(root: Root, points: Sequence[SweepPoint], found: Sorted, settings: LauncherConfig, cluster: Cluster) -> Iterator[str]:
    if cluster.kind == "local":
        yield f"{local_processes(cluster)} processes of this machine"
        return
    if prepared_by := packing.preparations(found.needs):
        yield f"first one job that prepares corpus, codes and teacher's codes, for {len(set(prepared_by.values()))} groups of points"
    at = Site(cluster, root.folder)
    for devices, elements in packing.elements(points, cluster, settings.pack).items():
        yield from _array(replace(at, cluster=for_devices(cluster, devices)), "sweep", len(elements), settings.pack if devices == 1 else 1)
        if settings.evaluation == "after":
            alone = of_tasks(settings.evaluation_profile(), 1)
            yield from _array(replace(at, cluster=alone), "evaluate", len(elements), settings.pack)


def _array(at: Site, stage: str, count: int, pack: int) -> Iterator[str]:
    cluster = at.cluster
    largest, source = _max_array(cluster)
    lanes = into_arrays(count, largest=largest, parallel=cluster.max_parallel)
    tasks, at_once = f"{cluster.tasks} tasks of {pack} points", f"at most {cluster.max_parallel} at once"
    yield f"{stage}: {count} jobs of {tasks} in {len(lanes)} arrays (MaxArraySize {largest}, {source}), {at_once}"
    yield f"sbatch script{f' (array 1 of {len(lanes)})' if len(lanes) > 1 else ''}:"
    text = sbatch_text(
        cluster,
        name=f"{stage}-SWEEP",
        elements=lanes[0].stop - lanes[0].start,
        parallel=lanes[0].parallel,
        folder=at.logs / "SWEEP",
        setup=exports(at),
    )
    yield from (f"    {line}" for line in text.splitlines())


def _max_array(cluster: Cluster) -> tuple[int, str]:
    if cluster.max_array_size:
        return cluster.max_array_size, "of the profile"
    try:
        return scheduler.max_array_size(), "of the cluster"
    except SchedulerError:
        return _DEFAULT_MAX_ARRAY, "SLURM's default, no controller answers"


def _cost(root: Root, configs: Sequence[Config], settings: LauncherConfig) -> Iterator[str]:
    size, time = memory(configs), hours(root, configs)
    if size.gb is None:
        yield f"memory: {size.note}"
    else:
        together = f", {size.gb * settings.pack:.2f} GB for {settings.pack} on one GPU" if settings.pack > 1 else ""
        yield f"memory: {size.gb:.2f} GB a process at most{together} ({size.note})"
    if time.hours is None or time.longest_h is None:
        yield f"time: {time.note}"
    else:
        per = settings.pack if settings.pack > 1 else 1
        shared = f", {time.hours / per:.2f} at best where {per} share a GPU" if per > 1 else ""
        yield f"time: {time.hours:.2f} GPU-hours of training{shared}, {duration(time.longest_h * 3600)} for the longest point ({time.note})"

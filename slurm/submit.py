"""Submit what a store lacks: to SLURM through submitit, or to processes of this machine."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from lcm.store import StoreError, StorePaths, write_json
from slurm import scheduler
from slurm.attempt import MAX_BARREN
from slurm.cluster import Cluster
from slurm.cluster import light as light_profile
from slurm.history import read_all_progress
from slurm.progress import read_progress
from slurm.sbatch import make_executor
from slurm.shards import PlanHeader, missing_shards
from slurm.site import Site, environment, exports
from slurm.submission import Submission, Submissions, into_arrays, into_elements, is_live
from slurm.task import Task, Work

_REQUEUE_S = 20.0  # of the time between USR2 and the limit, kept for the requeue itself
_DAYS_30_MIN = 60 * 24 * 30  # submitit's own default of minutes would end a long local task


def to_make(folder: Path, *, retry: bool = False, max_barren: int = MAX_BARREN, busy: Collection[int] = ()) -> list[int]:
    """Return the shards that a submission should make: missing, not in the hands of a live job, and not given up.

    Args:
        folder: The store; its plan is on disk.
        retry: Whether shards that were given up are taken too.
        max_barren: Attempts in a row without one new item after which a shard is given up; 0 never.
        busy: Shards of live jobs.
    """
    paths, taken = StorePaths(folder), set(busy)
    missing = [shard for shard in missing_shards(folder, PlanHeader.read(paths.plan)) if shard not in taken]
    if retry or not max_barren or not missing:
        return missing
    hopeless = {p.shard for p in read_all_progress(paths) if p.state == "failed" and p.barren >= max_barren}
    return [shard for shard in missing if shard not in hopeless]


def forgive(folder: Path) -> None:
    """Let a store's shards that were given up be tried again, on any node."""
    for path in sorted(StorePaths(folder).progress_folder.glob("*.json")):
        progress = read_progress(path)
        if progress is not None and (progress.barren or progress.failed_on) and progress.state != "running":
            write_json(path, asdict(replace(progress, barren=0, failed_on=[], state="stopped", error=None)), indent=1)


def live_jobs(place: Path) -> dict[str, list[str]]:
    """Return the ids of the jobs that have not ended, by submission; SLURM is asked once, and only if something was submitted to it."""
    submissions = Submissions(place)
    known = list(submissions)
    jobs: Mapping[str, object] = scheduler.live_jobs() if any(s.kind == "slurm" for s in known) else {}
    return submissions.live(jobs)


def busy_shards(place: Path, stage: str, live: Mapping[str, Collection[str]], target: str = "") -> set[int]:
    """Return the shards of a stage's store that live jobs have."""
    submissions = Submissions(place)
    found = [submissions.read(name) for name in live]
    return {shard for s in found if (s.stage, s.target) == (stage, target) for shard in s.shards(live[s.name])}


def submit_shards(
    at: Site,
    stage: str,
    shards: Sequence[int],
    work: Callable[[], Work],
    *,
    target: str = "",
    after: str = "",
    limit_s: float | None = None,
) -> Submission:
    """Submit jobs that make shards.

    Args:
        at: Where.
        stage: What they are for; names the jobs.
        shards: Numbers of the shards.
        work: Says, in the job, which store to fill and by what; it must pickle.
        target: Key of the settings that decide which store this is; see `Submission`.
        after: SLURM's dependency, such as `afterok:123`.
        limit_s: Stop after so many seconds, to measure; None never.

    Returns:
        The submission, with the ids of its jobs; it is on disk.
    """
    cluster = at.cluster
    local = cluster.kind == "local"
    elements = into_elements(
        shards,
        processes=1 if local else cluster.nodes * cluster.tasks_per_node,
        shards_per_process=-(-len(shards) // max(local_processes(cluster), 1)) if local else cluster.shards_per_task,
    )
    submission = Submissions(at.place).new(stage, cluster.kind, elements, target)
    common: dict[str, Any] = {"place": at.place, "submission": submission.name, "limit_s": limit_s, "grace_s": grace_s(cluster)}
    tasks = [Task(element=element, work=work, max_barren=at.max_barren, **common) for element in range(len(elements))]
    return start(at, submission, tasks, after)


def start(
    at: Site, submission: Submission, tasks: Sequence[Callable[[], Any]], after: str = "", *, following: Submission | None = None
) -> Submission:
    """Hand a submission's jobs to SLURM, or start them here.

    Args:
        at: Where.
        submission: On disk, without jobs.
        tasks: What each element runs; they must pickle.
        after: SLURM's dependency, such as `afterok:123`.
        following: A submission of as many elements: each of these waits until that one of the same number has succeeded.

    Returns:
        The submission, with the ids of its jobs; it is on disk.

    Raises:
        StoreError: sbatch refused; what it had accepted before stays submitted and recorded.
    """
    return _start_local(at, submission, tasks) if at.cluster.kind == "local" else _sbatch(at, submission, tasks, after, following)


def submit_call(
    at: Site, stage: str, call: Callable[[], Any], *, target: str = "", after: str = "", light: bool = True
) -> Submission:
    """Submit one job that calls a function, such as merging; by default with the profile of jobs without GPU."""
    cluster = light_profile(at.cluster) if light else _one_task(at.cluster)
    at = replace(at, cluster=cluster)
    submission = Submissions(at.place).new(stage, cluster.kind, [[[]]], target)
    return start(at, submission, [call], after)


def grace_s(cluster: Cluster) -> float:
    """Return the seconds that tasks have between the warning and the moment at which the requeue must be asked for."""
    return max(cluster.signal_s - _REQUEUE_S, 0.0)


def _one_task(cluster: Cluster) -> Cluster:
    """Return a profile whose one process has all that a node's processes would share, such as both GPUs."""
    tasks = cluster.tasks_per_node
    return replace(
        cluster, tasks_per_node=1, nodes=1, gpus_per_task=cluster.gpus_per_task * tasks, cpus_per_task=cluster.cpus_per_task * tasks
    )


def local_processes(cluster: Cluster) -> int:
    """Return how many processes fill a store on this machine: as set, else one a GPU, else one."""
    if cluster.processes:
        return cluster.processes
    return max(_gpus(), 1)


def executor_for(at: Site, submission: Submission, *, parallel: int = 1, dependency: str = "") -> Any:
    """Return submitit's executor for one array of jobs."""
    name = submission.job_name  # by which its jobs are found when their ids were never written
    return make_executor(
        at.cluster, at.logs / submission.name, name=name, parallel=parallel, dependency=dependency, exclude=at.exclude, setup=exports(at)
    )


def _sbatch(
    at: Site, submission: Submission, tasks: Sequence[Callable[[], Any]], after: str, following: Submission | None = None
) -> Submission:
    largest = at.cluster.max_array_size or scheduler.max_array_size()
    arrays: list[str] = []
    called = 0.0
    for number, lane in enumerate(into_arrays(len(tasks), largest=largest, parallel=at.cluster.max_parallel)):
        if number:
            time.sleep(max(0.0, called + at.cluster.sbatch_every_s - time.monotonic()))
        called = time.monotonic()
        before = f"afterany:{arrays[lane.after]}" if lane.after is not None else ""
        dependency = ",".join(part for part in (after, before, _each_after(following, lane.start, lane.stop)) if part)
        executor = executor_for(at, submission, parallel=lane.parallel, dependency=dependency)
        with _refusal(submission, number), executor.batch():
            jobs = [executor.submit(task) for task in tasks[lane.start : lane.stop]]
        arrays.append(jobs[0].job_id.partition("_")[0])
        submission = Submissions(at.place).write(replace(submission, jobs=[*submission.jobs, *(job.job_id for job in jobs)]))
    return submission


def _each_after(following: Submission | None, start: int, stop: int) -> str:
    """Return the dependency of an array whose elements each wait for one of another's, which was split in the same places."""
    if following is None:
        return ""
    kind = "aftercorr" if stop - start > 1 else "afterok"
    return f"{kind}:{following.jobs[start].partition('_')[0]}"


@contextmanager
def _refusal(submission: Submission, number: int) -> Iterator[None]:
    """Say what sbatch said; what was accepted before stays submitted and recorded."""
    try:
        yield
    except Exception as error:
        said = str(error).strip().splitlines()
        reason = next((line for line in said if "error" in line.lower()), said[-1] if said else type(error).__name__)
        raise StoreError(
            f"sbatch refused array {number + 1} of {submission.stage}: {reason.strip()}. Its {len(submission.jobs)} jobs before it are "
            "submitted. `python -m slurm doctor` checks the profile against the cluster; then submit again: only what is missing is."
        ) from error


def _start_local(at: Site, submission: Submission, tasks: Sequence[Callable[[], Any]]) -> Submission:
    import submitit

    gpus, jobs = _gpus(), []
    with environment(at):
        for number, task in enumerate(tasks):
            executor = submitit.AutoExecutor(folder=at.logs / submission.name, cluster="local")
            mine = min(max(at.cluster.gpus_per_task, 1), gpus)
            seen = tuple((number * mine + gpu) % gpus for gpu in range(mine))
            visible = {"gpus_per_node": mine, "local_visible_gpus": seen} if gpus else {"gpus_per_node": 0}
            executor.update_parameters(timeout_min=_DAYS_30_MIN, **visible)
            jobs.append(executor.submit(task))
    return Submissions(at.place).write(replace(submission, jobs=[job.job_id for job in jobs]))


def wait(submission: Submission, *, interruptible: bool = True, every_s: float = 0.1) -> None:
    """Wait until all jobs of a local submission have ended; interrupted, end them first where they are this command's own."""
    try:
        while any(is_live(submission, job, ()) for job in submission.jobs):
            time.sleep(every_s)
    except BaseException:
        if interruptible:
            stop(submission)
        raise


def stop(submission: Submission, live: Collection[str] = ()) -> None:
    """Ask a submission's jobs to end: TERM, on which they commit what they have.

    Args:
        submission: Which.
        live: Ids of its live jobs, where some may be without record.
    """
    if submission.kind == "slurm":
        scheduler.cancel(sorted({job.partition("_")[0] for job in [*submission.jobs, *live]}))
        return
    for job in submission.jobs:
        if is_live(submission, job, ()):
            with suppress(OSError):
                os.kill(int(job), signal.SIGTERM)


def _gpus() -> int:
    """Return how many GPUs this machine shows."""
    import torch

    return torch.cuda.device_count()

"""What a person should know beside the rows: jobs, preparation, how long it takes, what to do."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median

from slurm.last_words import words_of
from slurm.status import duration
from sweeps.sweep.queue import PREPARATION, Queue
from sweeps.sweep.status import PointState, Situation

_LEAST_FREE_BYTES = 100_000_000  # a checkpoint
_BEFORE = ("missing", "queued")
_TO_RETRY = ("stopped", "lost", "failed", "missing")


def notes(situation: Situation) -> list[str]:
    """Return what a person should know, a line each."""
    return [
        *_room(situation.root.folder),
        *([situation.queue.unknown] if situation.queue.unknown else []),
        *_preparation(situation),
        *_jobs(situation),
        *_time(situation.points),
        *_advice(situation),
    ]


def time_left_s(points: Sequence[PointState]) -> float | None:
    """Return the seconds until all that run or wait are trained, if as many run at once as now; None where that cannot be said.

    Args:
        points: All points. What waits is taken to need what the others need in the median, what runs without a pace too.
    """
    running = [point for point in points if point.state == "running"]
    queued = sum(point.state == "queued" for point in points)
    times = [point.train_s for point in points if point.train_s and point.state in {"done", "trained", "running"}]
    if not running or (not times and (queued or any(point.eta_s is None for point in running))):
        return None
    usual = median(times) if times else 0.0
    left = [usual if point.eta_s is None else point.eta_s for point in running]
    return max(*left, (sum(left) + queued * usual) / len(running))


def _room(root: Path) -> Iterator[str]:
    try:
        free = shutil.disk_usage(root).free
    except OSError:
        return
    if free < _LEAST_FREE_BYTES:
        yield f"no room on the disk of {root}: {free / 1e6:.1f} MB left; points cannot write what they are at"


def _preparation(situation: Situation) -> Iterator[str]:
    """Say how far the jobs are that make what a sweep's points share."""
    begun = {point.sweep for point in situation.points if point.state not in _BEFORE}
    for name in (sweep.name for sweep in situation.sweeps if sweep.name in situation.queue.preparing):
        jobs = situation.queue.preparing[name]
        if jobs:
            yield f"{name}: what its points share is being prepared: {', '.join(_described(job, situation.queue) for job in jobs)}"
        elif name not in begun and not situation.queue.unknown:
            said = words_of(situation.root.folder, PREPARATION, {name}, situation.queue.live)
            yield from [f"{name}: the preparation failed: {said}"] if said else []


def _described(job: str, queue: Queue) -> str:
    known = queue.jobs.get(job)
    if known is None:
        return f"job {job}"
    return f"job {job} waits ({known.reason or 'no reason given'})" if queue.waits(job) else f"job {job} runs on {known.nodes or 'a node'}"


def _jobs(situation: Situation) -> Iterator[str]:
    """Count the jobs that train or evaluate."""
    queue, shown = situation.queue, {sweep.name for sweep in situation.sweeps}
    held = [*queue.holders.items(), *queue.evaluators.items()]
    jobs = {job for (sweep, _), having in held for job in having if sweep in shown}
    waiting = Counter(queue.jobs[job].reason or "no reason given" for job in jobs if queue.waits(job))
    parts = [f"{len(jobs) - waiting.total()} run"] if len(jobs) > waiting.total() else []
    if waiting:
        parts.append(f"{waiting.total()} wait ({', '.join(f'{reason} {count}' for reason, count in waiting.most_common())})")
    if parts:
        yield f"jobs: {', '.join(parts)}"


def _time(points: Sequence[PointState]) -> Iterator[str]:
    left = time_left_s(points)
    if left is not None:
        running = sum(point.state == "running" for point in points)
        yield f"about {duration(left)} until what runs and waits is trained, {running} at once"


def _advice(situation: Situation) -> Iterator[str]:
    """Say what does not go on by itself, and what takes it up."""
    evaluated = {place for place, jobs in situation.queue.evaluators.items() if jobs}
    idle = Counter(point.state for point in situation.points if point.memberships and point.state in _TO_RETRY)
    idle["trained"] += sum(_waits_for_nobody(point, situation.queue, evaluated) for point in situation.points if point.state == "trained")
    if +idle and not situation.queue.unknown:
        counts = ", ".join(f"{count} {state}" for state, count in (+idle).items())
        yield f"do not go on by themselves: {counts}; `python -m sweeps retry` submits them again"


def _waits_for_nobody(point: PointState, queue: Queue, evaluated: set[tuple[str, int]]) -> bool:
    """Say whether a trained point is in nobody's hands: its own job may evaluate it, or one that only does that."""
    return bool(point.memberships) and point.job not in queue.jobs and not any(place in evaluated for place in point.memberships)

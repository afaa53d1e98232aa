"""Which jobs have which points of a root: from its submissions on disk and one call of squeue."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lcm.errors import LcmError
from slurm import scheduler
from slurm.progress import node_name
from slurm.scheduler import Job, SchedulerError
from slurm.submission import Submission, Submissions

POINTS, EVALUATION, PREPARATION = "sweep", "evaluate", "prepare"  # stages of submissions
# a job that runs is not among them, nor one that is COMPLETING: its processes may still work
_WAITING = frozenset({"PENDING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "SPECIAL_EXIT"})
_NEVER = "DependencyNeverSatisfied"


@dataclass(frozen=True)
class Queue:
    """The jobs of a root.

    Attributes:
        jobs: Jobs that have not ended, by id: SLURM's of this user, and processes of this machine.
        live: Ids of those of this root, by submission.
        holders: Of a sweep's name and a point's number, ids of the jobs that have not ended and train the point.
        evaluators: The same of the jobs that only evaluate.
        submitted: When each job was submitted, UTC.
        preparing: Ids of the jobs that prepare a sweep and have not ended; a sweep whose preparation has ended has none.
        ended: Ids of this user's jobs that were recorded and that SLURM no longer has; none where it does not answer.
        sweeps: Name of the sweep of each job.
        unknown: Why not all of this is known; empty where it is.
    """

    jobs: Mapping[str, Job] = field(default_factory=dict)
    live: Mapping[str, Collection[str]] = field(default_factory=dict)
    holders: Mapping[tuple[str, int], Sequence[str]] = field(default_factory=dict)
    evaluators: Mapping[tuple[str, int], Sequence[str]] = field(default_factory=dict)
    submitted: Mapping[str, str] = field(default_factory=dict)
    preparing: Mapping[str, Sequence[str]] = field(default_factory=dict)
    ended: Collection[str] = ()
    sweeps: Mapping[str, str] = field(default_factory=dict)
    unknown: str = ""

    def waits(self, job: str) -> bool:
        """Say whether a job that has not ended is not running."""
        return job in self.jobs and self.jobs[job].state in _WAITING

    def can_begin(self, job: str) -> bool:
        """Say whether a job may run yet, or runs: not one that waits for the success of a job that had none."""
        return job not in self.jobs or self.jobs[job].reason != _NEVER

    def moved(self, job: str, host: str) -> bool:
        """Say whether a job runs elsewhere than on a node: it was started again."""
        nodes = self.jobs[job].nodes if job in self.jobs else ""
        return bool(nodes and host) and not {",", "["} & set(nodes) and nodes != host


def read_queue(root: Path) -> Queue:
    """Return the jobs of a root; where SLURM does not answer, what is known without it, and why."""
    submissions = Submissions(root)
    try:
        known = list(_all(submissions))
        jobs, unknown = _jobs(known)
        live = submissions.live(jobs)
    except LcmError as error:  # a damaged submission: which jobs it has is not known
        return Queue(unknown=f"what waits in the queue is not known: {error}")
    return Queue(
        jobs={**jobs, **_local(known, live)},
        live=live,
        holders=_holders(known, live, POINTS),
        evaluators=_holders(known, live, EVALUATION),
        submitted={job: one.created for one in known for job in one.jobs},
        preparing=_preparing(known, live),
        ended=frozenset() if unknown else frozenset(_recorded(submissions, known) - jobs.keys()),
        sweeps={job: one.target for one in known for job in one.jobs},
        unknown=unknown,
    )


def _jobs(known: Sequence[Submission]) -> tuple[dict[str, Job], str]:
    """Return SLURM's jobs of this user; where it does not answer none, and why."""
    try:
        return (scheduler.live_jobs() if any(one.kind == "slurm" for one in known) else {}), ""
    except SchedulerError as error:
        return {}, f"what waits in the queue is not known: {error}"


def _all(submissions: Submissions) -> Iterator[Submission]:
    """Yield the submissions, oldest first, cancelled ones too: their jobs may be ending."""
    for path in sorted(submissions.folder.glob("*.json")) if submissions.folder.is_dir() else []:
        yield submissions.read(path.stem)


def _local(known: Sequence[Submission], live: Mapping[str, Collection[str]]) -> dict[str, Job]:
    return {job: Job(job, "RUNNING", nodes=node_name()) for one in known if one.kind == "local" for job in live.get(one.name, ())}


def _holders(known: Sequence[Submission], live: Mapping[str, Collection[str]], stage: str) -> dict[tuple[str, int], list[str]]:
    held: dict[tuple[str, int], list[str]] = {}
    for one in known:
        alive = live.get(one.name, ())
        if one.stage != stage or not alive:
            continue
        strays = sorted(set(alive) - set(one.jobs))  # which element they have was never written: any that has no job
        jobs = [*one.jobs, *(strays[:1] * (len(one.elements) - len(one.jobs)))]
        for job, element in zip(jobs, one.elements, strict=False):
            for number in (number for task in element for number in task) if job in alive else ():
                held.setdefault((one.target, number), []).append(job)
    return held


def _preparing(known: Sequence[Submission], live: Mapping[str, Collection[str]]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for one in known:
        if one.stage == PREPARATION and one.cancelled is None:
            found.setdefault(one.target, []).extend(sorted(live.get(one.name, ())))
    return found


def _recorded(submissions: Submissions, known: Sequence[Submission]) -> set[str]:
    """Return the ids of this user's jobs: squeue is not asked for those of others."""
    mine = [one for one in known if one.kind == "slurm" and submissions.path(one.name).stat().st_uid == os.geteuid()]
    return {job for one in mine for job in one.jobs}

"""What a job runs. It is pickled once at submit; started again after a requeue it asks the disk what is left."""

from __future__ import annotations

import signal
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from lcm.store import StorePaths
from slurm import scheduler
from slurm.attempt import MAX_BARREN, Producer
from slurm.marks import Marks, process_number
from slurm.progress import job_name
from slurm.shards import Plan
from slurm.signals import Stop, listen
from slurm.submission import Submissions
from slurm.worker import run_shards


@dataclass(frozen=True)
class Work:
    """A store to fill: where it is and what makes its records.

    Attributes:
        folder: The store; its plan is on disk.
        producer: Makes the producer.
    """

    folder: Path
    producer: Callable[[], Producer]


@dataclass(frozen=True, kw_only=True)
class Job:
    """One job (array element), of one or several processes: what is common to all that make room and come back.

    Attributes:
        place: Folder that holds the submissions.
        submission: Name of the submission.
        element: Number of the job in it.
        limit_s: Stop after so many seconds, to measure; None never.
        grace_s: Seconds that a process which has stopped waits for the others of its job before the job is requeued.
    """

    place: Path
    submission: str
    element: int
    limit_s: float | None = None
    grace_s: float = 0.0

    @property
    def logs(self) -> Path:
        """Folder of the submission's logs."""
        return StorePaths(self.place).logs / self.submission

    def run(self, mine: list[int], stop: Stop) -> bool:
        """Do the work of this process and return whether nothing of it is left.

        Args:
            mine: Numbers of its shards, or of what else the submission divides.
            stop: When to stop.
        """
        raise NotImplementedError

    def __call__(self) -> str:
        """Work, and where asked to make room, come back.

        Returns:
            What became of it, in a line.

        Raises:
            LcmError: Something failed, so that SLURM too says FAILED.
        """
        # first of all: until then a request to stop is lost
        with listen(Stop.within(self.limit_s), grace_s=self.grace_s, at_deadline=self._come_back) as stop:
            submission = Submissions(self.place).read(self.submission)
            if submission.cancelled:
                return f"cancelled {submission.cancelled}: nothing is done"
            marks = Marks(self.logs, self.element, len(submission.elements[self.element]), self.grace_s)
            with marks.mine():
                done = self.run(submission.elements[self.element][process_number()], stop)
            if not done and (stop.again or stop.end):
                marks.wait(stop)
                leave(stop, cancelled=Submissions(self.place).read(self.submission).cancelled is not None)
        return "done" if done else f"stopped: {stop.reason}"

    def _come_back(self) -> None:
        """Ask for the requeue while a batch is still at hand: at the limit itself SLURM would end the job for good."""
        if Submissions(self.place).read(self.submission).cancelled is None and scheduler.requeue(job_name()):
            print("slurm: requeued", flush=True)


@dataclass(frozen=True, kw_only=True)
class Task(Job):
    """A job that makes shards.

    Attributes:
        work: Says what to fill when the job starts: a store of a chain may not have been planned when its jobs were submitted.
        max_barren: Attempts in a row without one new item after which a shard is given up.
    """

    work: Callable[[], Work]
    max_barren: int = MAX_BARREN

    def run(self, mine: list[int], stop: Stop) -> bool:
        """Make the shards of this process.

        Raises:
            StoreError: Shards failed.
        """
        return run_task(self.work(), mine, stop, self.max_barren)


def leave(stop: Stop, *, cancelled: bool = False) -> None:
    """Ask to be started again where that was meant; where it was not, or is refused, the job must not look completed.

    Args:
        stop: What the task was asked.
        cancelled: Whether its submission was cancelled meanwhile.

    Raises:
        SystemExit: 143, as for a process that TERM has ended: the job is not requeued, or another of its processes asked before.
    """
    if stop.requeue and not cancelled and scheduler.requeue(job_name()):
        print("slurm: requeued", flush=True)
        return
    why = "the job is ending or being requeued already" if stop.requeue and not cancelled else stop.reason
    print(f"slurm: stopped; not requeued from here ({why}). What is left is made when it runs again or is submitted again.", flush=True)
    raise SystemExit(128 + signal.SIGTERM)


def run_task(work: Work, shards: list[int], stop: Stop, max_barren: int) -> bool:
    """Make shards of a store whose plan is on disk; numbers that it has not are passed over."""
    plan = Plan.read(StorePaths(work.folder).plan)
    return run_shards(work.folder, plan, [s for s in shards if s < plan.shards], work.producer, stop=stop, max_barren=max_barren)


def fixed(folder: Path, producer: Callable[[], Producer]) -> Callable[[], Work]:
    """Return work that is known at submit."""
    return partial(Work, folder.resolve(), producer)

"""What was submitted, on disk: which shards each process of each job has, and the jobs' ids.

The elements are written before `sbatch` is called and the ids after it, so that a task always finds its shards.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timezone
from itertools import pairwise
from pathlib import Path

from lcm.store import StoreError, write_json
from slurm.progress import node_name, now


@dataclass(frozen=True)
class Submission:
    """One call of `submit`.

    Attributes:
        name: Time and a random part; names the folder of its logs.
        stage: What it makes, such as `codes`, `overlay`, `teacher`, `merge codes`.
        kind: `slurm` or `local`.
        elements: Of each job (array element), of each of its processes, the numbers of its shards.
        jobs: Id of each element's job, as far as submitted.
        host: Where it was submitted; ids of local processes mean nothing elsewhere.
        created: UTC.
        target: Key of the settings that decide which store it fills; empty where there is one store only.
        cancelled: When it was cancelled, UTC; its tasks do nothing from then on, whoever starts them again.
    """

    name: str
    stage: str
    kind: str
    elements: list[list[list[int]]]
    jobs: list[str] = field(default_factory=list)
    host: str = field(default_factory=node_name)
    created: str = field(default_factory=now)
    target: str = ""
    cancelled: str | None = None

    @property
    def job_name(self) -> str:
        """Name of its jobs."""
        return f"{self.stage.replace(' ', '-')}-{self.name}"

    def shards(self, jobs: Collection[str] | None = None) -> list[int]:
        """Return the shards of all elements, or of those whose jobs are given; a job without record may have any that has none."""
        there = [True] * len(self.elements) if jobs is None else [job in jobs for job in self.jobs]
        if jobs is not None and set(jobs) - set(self.jobs):
            there += [True] * (len(self.elements) - len(there))
        return [shard for element, taken in zip(self.elements, there, strict=False) if taken for process in element for shard in process]


class Submissions:
    """The submissions of one place, a store or a root.

    Args:
        place: Folder in which they are kept.
    """

    def __init__(self, place: Path) -> None:
        self.folder = place / "submissions"

    def path(self, name: str) -> Path:
        """Return the file of one submission."""
        return self.folder / f"{name}.json"

    def new(self, stage: str, kind: str, elements: list[list[list[int]]], target: str = "") -> Submission:
        """Write a new submission, without jobs yet."""
        return self.write(Submission(new_name(), stage, kind, elements, target=target))

    def write(self, submission: Submission) -> Submission:
        """Write a submission; returns it."""
        write_json(self.path(submission.name), asdict(submission))
        return submission

    def read(self, name: str) -> Submission:
        """Read one submission.

        Raises:
            StoreError: There is none of that name, or it is damaged.
        """
        try:
            return Submission(**json.loads(self.path(name).read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError) as error:
            raise StoreError(f"The submission {self.path(name)} cannot be read: {error}. Submit again.") from error

    def __iter__(self) -> Iterator[Submission]:
        """Yield all that were not cancelled, oldest first."""
        for path in sorted(self.folder.glob("*.json")) if self.folder.is_dir() else []:
            submission = self.read(path.stem)
            if submission.cancelled is None:
                yield submission

    def live(self, jobs: Mapping[str, object]) -> dict[str, list[str]]:
        """Return the ids of the jobs that have not ended, by submission.

        Args:
            jobs: SLURM's jobs that have not ended, by id; local processes are looked up.
        """
        live = {submission.name: [job for job in submission.jobs if is_live(submission, job, jobs)] for submission in self}
        for name, strays in self._strays(jobs).items():
            live[name] += strays
        return {name: alive for name, alive in live.items() if alive}

    def _strays(self, jobs: Mapping[str, object]) -> dict[str, list[str]]:
        """Return SLURM's jobs that bear a submission's name and are not in its record: whoever submitted them was killed before it."""
        known = {submission.job_name: submission for submission in self if submission.kind == "slurm"}
        strays: dict[str, list[str]] = {}
        for number, job in jobs.items():
            submission = known.get(getattr(job, "name", ""))
            if submission is not None and number not in submission.jobs:
                strays.setdefault(submission.name, []).append(number)
        return strays

    def cancel(self, name: str) -> Submission:
        """Mark a submission, so that none of its tasks does anything any more."""
        return self.write(replace(self.read(name), cancelled=now()))


def new_name() -> str:
    """Return a name that sorts by time and is nobody else's."""
    return f"{datetime.now(timezone.utc):%Y%m%dT%H%M%S}-{uuid.uuid4().hex[:6]}"


def is_live(submission: Submission, job: str, jobs: Collection[str] | Mapping[str, object]) -> bool:
    """Say whether a job has not ended."""
    if submission.kind == "slurm":
        return job in jobs
    return submission.host == node_name() and _is_submitit(int(job))


def _is_submitit(pid: int) -> bool:
    try:
        return b"submitit" in Path(f"/proc/{pid}/cmdline").read_bytes() or not Path("/proc").is_dir()
    except OSError:
        return not Path("/proc").is_dir() and _is_process(pid)


def _is_process(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    return True


def into_elements(shards: Sequence[int], *, processes: int, shards_per_process: int) -> list[list[list[int]]]:
    """Divide shards among jobs of several processes, in order, as evenly as can be.

    Args:
        shards: Numbers of the shards.
        processes: Processes of a job, at least 1.
        shards_per_process: Most shards of a process, at least 1.

    Returns:
        Of each job, of each process, its shards. A process has none only where there are fewer shards than processes.
    """
    count = -(-len(shards) // (processes * shards_per_process))
    return [_split(part, processes) for part in _split(shards, count)]


def _split(shards: Sequence[int], parts: int) -> list[list[int]]:
    size, more = divmod(len(shards), max(parts, 1))
    bounds = [part * size + min(part, more) for part in range(parts + 1)]
    return [list(shards[start:stop]) for start, stop in pairwise(bounds)]


@dataclass(frozen=True)
class Lane:
    """One array of a submission.

    Attributes:
        start: First element.
        stop: Element to stop before.
        parallel: Most elements at once.
        after: Number of the array that must have ended before; None for none.
    """

    start: int
    stop: int
    parallel: int
    after: int | None


def into_arrays(elements: int, *, largest: int, parallel: int) -> list[Lane]:
    """Split elements into arrays that SLURM accepts, such that never more than `parallel` elements run at once.

    Args:
        elements: Number of elements.
        largest: SLURM's MaxArraySize: the highest index of an array is below it.
        parallel: Most elements at once over all arrays.

    Returns:
        The arrays. They run side by side in as many lanes as `parallel` allows; within a lane one follows the other.
    """
    size = max(largest - 1, 1) if largest else elements  # one below: some sites count from 1
    starts = range(0, elements, max(size, 1))
    lanes = min(len(starts), max(parallel, 1))
    share, more = divmod(max(parallel, 1), max(lanes, 1))
    return [
        Lane(start, min(start + size, elements), share + (number % lanes < more), number - lanes if number >= lanes else None)
        for number, start in enumerate(starts)
    ]

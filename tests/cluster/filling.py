"""Stores that tests fill on a lab and disturb, and what must hold of them whatever happened."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple
from unittest import mock

from lab import Lab
from lab_commands import LabError
from lab_processes import environment_of
from toy_producer import toy

from lcm.store import Store, StorePaths, verify_shard, verify_store
from slurm import Item, Plan, make_plan, run_plan
from slurm.cluster import Cluster, load_cluster
from slurm.fill import submit_plan
from slurm.progress import Progress, read_progress
from slurm.submission import Submission

OURS = ["partition=main", "mem_gb=2", "cpus_per_task=1", "shards_per_task=2", "time=5", "signal_s=60", "sbatch_every_s=0"]
_TOY = Path(__file__).resolve().parents[1] / "slurm"  # jobs import the toy from here


def profile(*words: str) -> Cluster:
    """The profile of two tasks a node, small enough for a lab, changed by words."""
    return load_cluster("2x48gb", [*OURS, *words])


class Line(NamedTuple):
    """One item that a toy has produced: where, and by which process."""

    node: str
    gpus: str
    pid: int
    key: str


class Filling:
    """A store of the toy's items that is filled on a lab.

    Args:
        lab: Where.
        folder: Of the test; the store is in it.
        plan: What the store is to hold.
        words: Changes of the profile.
        disk: Where the store is, if not in that folder.
        settings: Of the toy.
    """

    def __init__(self, lab: Lab, folder: Path, plan: Plan, *words: str, disk: Path | None = None, **settings: Any) -> None:
        self.lab, self.plan, self.words = lab, plan, words
        self.folder, self.trace, self.gate = (disk or folder) / "store", folder / "trace", folder / "gate"
        folder.mkdir(parents=True, exist_ok=True)
        self.paths = StorePaths(self.folder)
        self.settings = {"trace": self.trace, "gate": self.gate, "batch_size": 1, "lengths": dict(plan.items), **settings}

    # What a user does

    def submit(self, *words: str, retry: bool = False, max_barren: int = 3, merge: bool = True, **settings: Any) -> list[Submission]:
        """Submit what is missing; settings change the toy's of this submission."""
        producer, cluster = toy(**{**self.settings, **settings}), profile(*self.words, *words)
        with using(self.lab):
            return submit_plan(self.folder, self.plan, producer, cluster, retry=retry, max_barren=max_barren, merge=merge)

    def fill(self, *words: str, **settings: Any) -> None:
        """Submit what is missing and wait until nothing is left to run."""
        self.submit(*words, **settings)
        self.wait()

    # What a test sees

    def wait(self, timeout: float = 90) -> None:
        """Wait until no job waits or runs."""
        self.lab.wait_for(lambda: not self.lab.run("squeue", "-h").strip(), timeout, f"the jobs of {self.folder} have ended")

    def wait_for(self, what: Callable[[], Any], timeout: float = 60) -> Any:
        """Wait for an answer that is true; fail with the jobs' logs where it does not come."""
        try:
            return self.lab.wait_for(what, timeout, f"something in {self.folder}")
        except LabError as error:
            raise LabError(f"{error}\n{self.logs()}") from None

    def wait_for_lines(self, count: int) -> list[Line]:
        """Wait until so many items have been produced, by whomever."""
        return self.wait_for(lambda: lines if len(lines := self.lines()) >= count else [])

    def lines(self) -> list[Line]:
        """What was produced so far, also what was lost or made twice."""
        text = self.trace.read_text() if self.trace.exists() else ""
        found = (line.split("\t") for line in text.splitlines(keepends=True) if line.endswith("\n"))
        return [Line(node, gpus, int(pid), key.rstrip("\n")) for node, gpus, pid, key in found]

    def made_twice(self) -> list[str]:
        """The items that were produced more than once."""
        return sorted(key for key, count in Counter(line.key for line in self.lines()).items() if count > 1)

    def progress(self, shard: int) -> Progress:
        """The heartbeat of a shard."""
        return self.wait_for(lambda: read_progress(self.paths.progress(shard)))

    def logs(self) -> str:
        """All that its jobs have said."""
        files = sorted([*self.paths.logs.rglob("*_log.out"), *self.paths.logs.rglob("*_log.err")])
        return "\n".join(f"{path.name}: {line}" for path in files for line in path.read_text(errors="replace").splitlines())

    def processes_that_said(self, text: str) -> int:
        """How many processes, each of which has a log, have said something."""
        return len({line.partition(":")[0] for line in self.logs().splitlines() if text in line})

    def check(self) -> None:
        """Every item is there exactly once, with the codes of a run that nothing has disturbed, and nothing is left over."""
        check_store(self.folder, self.plan, undisturbed(self.plan.items))

    def is_left_alone(self) -> bool:
        """Whether there is nothing to submit."""
        return self.submit() == []


def check_store(folder: Path, plan: Plan, identity: str) -> None:
    """Assert that a store is finished and whole, holds each planned item once, and has an identity: that of keys and codes."""
    paths = StorePaths(folder)
    keys = [key for path in paths.shards() for key in verify_shard(path).keys]
    assert sorted(keys) == sorted(item.key for item in plan.items)
    assert len(set(keys)) == len(keys)
    assert len(paths.shards()) == plan.shards
    assert verify_store(folder, plan) == []
    Store(folder).verify()
    assert Store(folder).identity == identity
    left = [path for path in folder.rglob("*") if path.suffix in {".journal", ".part"}]
    assert not left, f"left over: {left}"


@cache
def undisturbed(items: tuple[Item, ...]) -> str:
    """The identity of items of the toy made in one process."""
    with TemporaryDirectory() as folder:
        return run_plan(Path(folder), make_plan(items, 3, seed=1), toy(lengths=dict(items))).identity


@contextmanager
def using(lab: Lab) -> Iterator[None]:
    """Let this process submit to a lab."""
    with mock.patch.dict(os.environ, {**lab.environment(), "PYTHONPATH": str(_TOY)}):
        yield


def clips(count: int) -> list[tuple[str, int]]:
    """Items of the toy, more than its own."""
    return [(f"clip {number:03d}", 3 + number % 4) for number in range(count)]


def jobs(submissions: Sequence[Submission], stage: str = "fill") -> list[str]:
    """The ids of the jobs of a stage."""
    return [job for submission in submissions if submission.stage == stage for job in submission.jobs]


def workers(lab: Lab) -> list[int]:
    """The processes that make records; not batch scripts, nor srun."""
    return [pid for pid in lab.job_processes() if "SLURM_PROCID" in environment_of(pid) and _is_python(pid)]


def _is_python(pid: int) -> bool:
    try:
        return "submitit.core._submit" in Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
    except OSError:
        return False

"""The heartbeat file of a shard: how far it is and what happened to it before, for a person and for `status`."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, fields
from datetime import datetime, timezone
from pathlib import Path

from lcm.provenance import JOB_VARIABLE, NODE_VARIABLE
from lcm.store import write_json

ALIVE_EVERY_S = 60.0  # well below what `status` takes for stalled


def node_name() -> str:
    """Return the name of this node; SLURM's own, as several nodes may answer to one host name."""
    return os.environ.get(NODE_VARIABLE) or os.environ.get("SLURMD_NODENAME") or socket.gethostname()


def job_name() -> str:
    """Return SLURM's id of this job, `ARRAY_ELEMENT` in an array; empty outside a job."""
    array, element = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    return os.environ.get(JOB_VARIABLE) or (f"{array}_{element}" if array and element else os.environ.get("SLURM_JOB_ID", ""))


def now() -> str:
    """Return the time in UTC as ISO 8601, to the second."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


@dataclass
class Progress:
    """How far a shard is, and its history.

    Attributes:
        shard: Number of the shard.
        total: Items planned.
        done: Items made, in this attempt and those before it.
        quarantined: Items that could not be made.
        state: `running`, `done`, `failed`, `stopping` (was asked to, and has a batch at hand), or `stopped`: by a time limit, preemption
            or scancel; goes on when started again.
        clips_per_s: Rate of this attempt.
        frames: Codec frames made by this attempt.
        busy_s: Seconds of work on this shard over all attempts, loading apart.
        held_s: The same with loading, which a task's first shard bears: what a budget counts.
        load_s: Seconds that loading codec and teacher took this task.
        batch: Most items at once; less than configured after memory ran out.
        error: First line of what failed the shard, else None.
        attempt: Name of the attempt, as of its journal.
        host: Node that it runs on.
        device: What it computes on.
        gpus: GPUs that the task holds.
        job: SLURM's id of the job.
        attempts: Attempts begun.
        barren: Attempts in a row that failed or died without one new item.
        failed_on: Nodes of the attempts that failed or died.
        updated: Time of writing, UTC.
    """

    shard: int
    total: int
    done: int = 0
    quarantined: int = 0
    state: str = "running"
    clips_per_s: float = 0.0
    frames: int = 0
    busy_s: float = 0.0
    held_s: float = 0.0
    load_s: float = 0.0
    batch: int = 0
    error: str | None = None
    attempt: str = ""
    host: str = field(default_factory=node_name)
    device: str = ""
    gpus: int = 0
    job: str = field(default_factory=job_name)
    attempts: int = 1
    barren: int = 0
    failed_on: list[str] = field(default_factory=list)
    updated: str = field(default_factory=now)

    def age_s(self) -> float:
        """Return the seconds since the file was written."""
        return time.time() - datetime.fromisoformat(self.updated).timestamp()


_FIELDS = {f.name for f in fields(Progress)}


def after(before: Progress | None, shard: int, total: int, done: int) -> Progress:
    """Return the progress of a new attempt, with the history that the last one left.

    Args:
        before: What the last attempt wrote; None where there was none.
        shard: Number of the shard.
        total: Items planned.
        done: Items that earlier attempts have journaled.
    """
    progress = Progress(shard, total, done)
    if before is None:
        return progress
    progress.attempts, progress.busy_s, progress.held_s = before.attempts + 1, before.busy_s, before.held_s
    progress.failed_on, progress.barren = list(before.failed_on), before.barren
    if before.state == "running":  # it died without a word, or it is a twin that still lives
        progress.failed_on.append(before.host)
        progress.barren += 1
        progress.error = f"attempt {before.attempts} ended without a word on {before.host} (job {before.job or 'none'})"
    elif before.state == "stopping" and not before.clips_per_s:
        progress.barren += 1  # it had no time for a single batch: as often as that it will not get any
        progress.error = f"attempt {before.attempts} was stopped on {before.host} before its first batch was made: raise the time limit"
    elif before.state == "failed":
        progress.error = before.error
    return progress


class Heartbeat:
    """Writes a shard's progress, at most once in `every_s` while it runs.

    Args:
        path: File to write.
        progress: What to write; change its fields and call `beat`.
        every_s: Shortest time in seconds between two writes.
    """

    def __init__(self, path: Path, progress: Progress, *, every_s: float = 1.0) -> None:
        self._path, self.progress, self._every_s = path, progress, every_s
        self._began, self._already, self._before = time.monotonic(), progress.done, (progress.busy_s, progress.held_s)
        self._next = self._began
        self._lock = threading.Lock()

    @property
    def made(self) -> int:
        """Items that this attempt has made."""
        return self.progress.done - self._already

    def beat(self, state: str = "running", error: str | None = None) -> None:
        """Write the progress now if it is time, and always when the state has changed; what is stopping does not run again."""
        with self._lock:
            if state == "running" and self.progress.state == "stopping":
                state = "stopping"
            if state != self.progress.state or time.monotonic() >= self._next:
                self._write(state, error)

    @contextmanager
    def kept_alive(self, every_s: float = ALIVE_EVERY_S) -> Iterator[None]:
        """Let a thread write the progress while nothing else does: a batch may take longer than a heartbeat may be silent."""
        over = threading.Event()

        def beat() -> None:
            while not over.wait(every_s):
                with suppress(OSError), self._lock:  # a full disk is the business of those who write results
                    if self.progress.state in {"running", "stopping"} and time.monotonic() >= self._next + every_s / 2:
                        self._write(self.progress.state, None)

        thread = threading.Thread(target=beat, daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def _write(self, state: str, error: str | None) -> None:
        progress, elapsed_s = self.progress, max(time.monotonic() - self._began, 1e-6)
        kept = progress.error if state in {"running", "stopping"} else None
        progress.state, progress.updated, progress.error = state, now(), error or kept
        progress.clips_per_s = round(self.made / elapsed_s, 3)
        progress.busy_s, progress.held_s = (round(before + elapsed_s, 3) for before in self._before)
        write_json(self._path, asdict(progress), indent=1)
        self._next = time.monotonic() + self._every_s


def read_progress(path: Path) -> Progress | None:
    """Read a heartbeat file; None where there is none that can be read. Fields of other versions are passed over."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        return Progress(**{name: value[name] for name in value.keys() & _FIELDS})
    except (OSError, ValueError, TypeError, AttributeError):
        return None

"""Send a probe job to a compute node, as jobs are sent, and hear what it has to say."""

from __future__ import annotations

import json
import re
import shutil
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from lcm.store import StorePaths, write_atomically, write_json
from slurm import scheduler
from slurm.cluster import Cluster, make_executor
from slurm.disk import is_there
from slurm.finding import Finding, failure, warning
from slurm.probe import Errand, Sight

_LIMIT_MIN = 10
_START_S = 120.0  # Python and its packages from a cold network file system
_REPORT_S = 300.0
_GONE_S = 8.0  # a file may be seen later than its writer is gone
_ASK_EVERY_S = 2.0  # squeue
_LOOK_EVERY_S = 0.05  # the disk
_QUIET = ("slurmstepd", "srun", "submitit")  # whose lines in a log say less than Python's


@dataclass
class Visit:
    """What came of a probe.

    Attributes:
        sights: What each task saw.
        job: SLURM's id.
        granted: What SLURM noted of the job, as `scontrol show job` names it.
        started_s: Seconds from submission to the first word.
        reply_s: Seconds from a question on disk to its answer.
        skew_s: How far the node's clock is ahead, seconds; None where it did not answer.
        read: What the node read of a file that was written here.
        problem: Why there are no sights.
    """

    sights: list[Sight] = field(default_factory=list)
    job: str = ""
    granted: dict[str, str] = field(default_factory=dict)
    started_s: float = 0.0
    reply_s: float = 0.0
    skew_s: float | None = None
    read: str = ""
    problem: Finding | None = None


class _ProblemError(Exception):
    """Ends a visit with a finding."""

    def __init__(self, finding: Finding) -> None:
        super().__init__(finding.text)
        self.finding = finding


def visit(root: Path, cluster: Cluster, codec: Any, teacher: Any, *, wait_s: float = 120.0) -> Visit:
    """Submit a probe with the profile's resources and a short time limit, hear it, and leave nothing behind.

    Args:
        root: Folder of the stores; jobs must see it.
        cluster: The profile.
        codec: A `CodecConfig`.
        teacher: A `TeacherConfig`.
        wait_s: Seconds that it may wait in the queue.

    Returns:
        What it said, or a problem. Logs are kept where there is one.
    """
    made = _Visit(root, cluster, wait_s)
    try:
        made.go(Errand(made.folder, root, asdict(codec), asdict(teacher), cluster.scratch))
    except _ProblemError as problem:
        made.found.problem = problem.finding
    except Exception as error:  # submitit and SLURM have many ways to say no
        why = getattr(error, "said", "") or next(iter(reversed(str(error).strip().splitlines())), type(error).__name__)
        made.found.problem = failure("probe", f"could not be submitted: {why}", "Put right what SLURM names; see the lines above.")
    finally:
        made.leave()
    return made.found


class _Visit:
    def __init__(self, root: Path, cluster: Cluster, wait_s: float) -> None:
        limit = min(cluster.time_min, _LIMIT_MIN)
        self.cluster = replace(cluster, time=str(limit), signal_s=min(cluster.signal_s, limit * 30))
        self.root, self.wait_s = root, wait_s
        self.name = f"doctor-{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}-{uuid.uuid4().hex[:6]}"
        self.folder = StorePaths(root).logs / self.name
        self.found = Visit()
        self._advice = "Give the profile the environment that the project is installed in (python, setup, container)."

    def go(self, errand: Errand) -> None:
        from slurm.site import exports, site

        write_atomically(self.folder / "from-login.txt", self.name)
        executor = make_executor(self.cluster, self.folder, name="doctor", setup=exports(site(self.root, self.cluster)))
        self.found.job, asked = executor.submit(errand).job_id, time.monotonic()
        self._await_start(asked)
        self.found.started_s = time.monotonic() - asked
        self._await(lambda: self._all("hello"), _START_S, "not all of its tasks spoke")
        self.found.granted = self._granted()
        self._set_clock()
        self._advice = "Where a script stands between SLURM and Python it may die of USR2: let it start Python by `exec`."
        scheduler.send(self.found.job, "USR2")
        self._await(lambda: self._all("sight"), _REPORT_S, "it got USR2 and did not report")
        self.found.sights = [Sight.read(self.folder / f"sight-{task}.json") for task in range(self.cluster.tasks)]

    def leave(self) -> None:
        """End the job if it has not ended; remove the files of a visit that went well."""
        with suppress(scheduler.SchedulerError):
            if self.found.problem or not self.found.sights:
                self._cancel()
            else:  # its last words are submitit's: let it write them
                end = time.monotonic() + _GONE_S
                while time.monotonic() < end and self.found.job in scheduler.live_jobs():
                    time.sleep(0.5)
                shutil.rmtree(self.folder, ignore_errors=True)

    def _cancel(self) -> None:
        if self.found.job:
            scheduler.cancel([self.found.job])

    def _await_start(self, asked: float) -> None:
        """Wait for the first word; say what squeue says where there is none."""
        running_since = gone_since = None
        for job in self._until(lambda: is_there(self.folder / "hello-0.json")):
            now = time.monotonic()
            gone_since = (gone_since or now) if job is None else None
            running_since = (running_since or now) if job and job.state == "RUNNING" else None
            if gone_since and now - gone_since > _GONE_S:
                raise _ProblemError(self._ended("ended without a word"))
            if running_since and now - running_since > _START_S:
                raise _ProblemError(self._silent(job.nodes if job else ""))
            if job and job.state != "RUNNING" and now - asked > self.wait_s:
                raise _ProblemError(_waiting(job, self.wait_s))

    def _await(self, done: Callable[[], bool], patience_s: float, otherwise: str) -> None:
        """Wait for something that a running job is to do."""
        alive = start = time.monotonic()
        for job in self._until(done):
            now = time.monotonic()
            alive = now if job else alive
            if now - alive > _GONE_S:
                raise _ProblemError(self._ended(f"ended: {otherwise}"))
            if now - start > patience_s:
                text = f"job {self.found.job}: {otherwise} in {patience_s:g} s {self._last_words()}".rstrip()
                raise _ProblemError(failure("probe", text, f"It was cancelled. See its logs in {self.folder}."))

    def _until(self, done: Callable[[], bool]) -> Iterator[scheduler.Job | None]:
        """Look for an answer on disk often, and yield what squeue says of the job now and then."""
        asked = -_ASK_EVERY_S
        while not done():
            if time.monotonic() - asked > _ASK_EVERY_S:
                asked = time.monotonic()
                yield scheduler.live_jobs().get(self.found.job)
            time.sleep(_LOOK_EVERY_S)

    def _all(self, what: str) -> bool:
        return all(is_there(self.folder / f"{what}-{task}.json") for task in range(self.cluster.tasks))

    def _set_clock(self) -> None:
        """Ask by a file, as NTP does by a packet: the answer was given somewhere between question and reply."""
        self.found.read = json.loads((self.folder / "hello-0.json").read_text(encoding="utf-8"))["read"]
        asked, start = time.time(), time.monotonic()
        write_json(self.folder / "ask.json", {"time": asked})
        self._await(lambda: is_there(self.folder / "answer.json"), 90.0, "it did not answer a question that was left on disk")
        self.found.reply_s = time.monotonic() - start
        told = float(json.loads((self.folder / "answer.json").read_text(encoding="utf-8"))["time"])
        self.found.skew_s = told - (asked + self.found.reply_s / 2)

    def _granted(self) -> dict[str, str]:
        with suppress(scheduler.SchedulerError):
            return dict(re.findall(r"([\w/:]+)=(\S*)", scheduler.run(["scontrol", "show", "job", "-o", self.found.job])))
        return {}

    def _ended(self, how: str) -> Finding:
        """Say why a job ended before it had said all."""
        noted, last = self._granted(), self._last_words()
        text = f"job {self.found.job} {how} ({_state(noted)})"
        if last:
            return failure("probe", f"{text}: {last}", f"{self._advice} Log: {self.folder}.")
        todo = f"{self.root} is not visible or writable on the node, where SLURM was to open its log: use a folder that all nodes share."
        return failure("probe", f"{text}, nor a log", todo)

    def _silent(self, nodes: str) -> Finding:
        text = f"job {self.found.job} runs on {nodes} and said nothing for {_START_S:g} s {self._last_words()}".rstrip()
        todo = f"Its setup hangs, Python starts slowly, or {self.root} is not shared with the node. It was cancelled; log: {self.folder}."
        return failure("probe", text, todo)

    def _last_words(self) -> str:
        """Return the last line of the job's errors that is not SLURM's or submitit's own."""
        for path in sorted(self.folder.glob("*_log.err")):
            lines = [line.strip() for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
            plain = [line for line in lines if not line.startswith(_QUIET)]
            if lines:
                return (plain or lines)[-1]
        return ""


def _waiting(job: scheduler.Job, wait_s: float) -> Finding:
    text = f"did not start within {wait_s:g} s: squeue says {job.state}, {job.reason or 'no reason'}"
    todo = "It was cancelled; what a node looks like from inside is not known. Run doctor again when the cluster is less busy."
    return warning("probe", text, todo)


def _state(noted: Mapping[str, str]) -> str:
    if not noted:
        return "SLURM has forgotten it"
    node = noted.get("BatchHost", "no node")
    return f"{noted.get('JobState')}, reason {noted.get('Reason')}, exit code {noted.get('ExitCode')}, on {node}"

"""SLURM's own commands with types: squeue, scontrol, scancel, sinfo.

Every question is one bounded call. None asks sacct: where accounting is off it answers nothing, and what a task made is on disk.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from lcm.errors import LcmError
from slurm.cluster import time_min

_TIMEOUT_S = 60.0
_IDS_A_CALL = 200  # an argument list has a limit, and so has the patience of slurmctld
_DEFAULTS = ("SQUEUE_", "SINFO_", "SCANCEL_", "SCONTROL_")  # users' habits, such as a format, a filter, or a prompt before cancelling
_ENDED = ("Invalid job id", "already completing or completed")
_UNUSABLE = ("down", "drain", "drng", "fail", "maint", "unk", "err", "inval", "power_down", "futr")


class SchedulerError(LcmError):
    """SLURM is absent, does not answer, or refuses; the message says which command, what it said, and what to do.

    Attributes:
        said: SLURM's own words, where it had any.
    """

    said: str = ""


@dataclass(frozen=True)
class Job:
    """One job, or one element of an array, that has not ended.

    Attributes:
        id: `123`, or `123_4` for element 4 of array 123.
        state: As squeue names it: PENDING, RUNNING, COMPLETING, ... A requeued job is COMPLETING for some seconds before it is
            PENDING again, and squeue shows no difference to one that ends for good.
        reason: Why it waits.
        nodes: Where it runs; empty while it waits.
        name: As it was submitted.
    """

    id: str
    state: str
    reason: str = ""
    nodes: str = ""
    name: str = ""


@dataclass(frozen=True)
class NodeKind:
    """Nodes of a partition that are alike.

    Attributes:
        nodes: How many.
        state: As `sinfo -o %t` names it, such as `idle`, `mix`, `alloc`, `down*`, `drain`.
        gres: Generic resources of one node, `{"gpu:rtx8000": 2}`.
        cpus: CPUs of one node.
        mem_gb: Memory of one node.
        features: What `--constraint` can ask for.
    """

    nodes: int
    state: str
    gres: dict[str, int] = field(default_factory=dict)
    cpus: int = 0
    mem_gb: float = 0.0
    features: tuple[str, ...] = ()

    @property
    def usable(self) -> bool:
        """Whether jobs can run there now or later without an administrator."""
        return not self.state.endswith("*") and not self.state.startswith(_UNUSABLE)

    @property
    def gpus(self) -> int:
        """GPUs of one node, whatever their type."""
        return sum(count for name, count in self.gres.items() if name.split(":")[0] == "gpu")


@dataclass(frozen=True)
class Partition:
    """One partition that this user can see.

    Attributes:
        name: Its name.
        default: Whether jobs that name none go there.
        state: `up`, `down`, `drain` or `inact`.
        time_min: Longest time limit, minutes; None is without limit.
        kinds: Its nodes, grouped by what they are and do.
    """

    name: str
    default: bool
    state: str
    time_min: int | None
    kinds: tuple[NodeKind, ...]

    @property
    def nodes(self) -> int:
        """Number of nodes."""
        return sum(kind.nodes for kind in self.kinds)

    @property
    def gres(self) -> dict[str, int]:
        """Most of each generic resource that one node has."""
        return _most([kind.gres for kind in self.kinds])

    @property
    def cpus(self) -> int:
        """Most CPUs that one node has."""
        return max((kind.cpus for kind in self.kinds), default=0)

    @property
    def mem_gb(self) -> float:
        """Most memory that one node has."""
        return max((kind.mem_gb for kind in self.kinds), default=0.0)


def available() -> bool:
    """Say whether jobs can be submitted from here: the commands are on PATH and a controller answers."""
    if not shutil.which("sbatch") or not shutil.which("squeue"):
        return False
    try:
        return " is UP" in _call(["scontrol", "ping"]).stdout  # the exit code tells of a primary controller whose backup may answer
    except SchedulerError:
        return False


def live_jobs() -> dict[str, Job]:
    """Return this user's jobs that have not ended, by id; each element of an array is an entry, also of one that waits.

    Raises:
        SchedulerError: squeue is absent, fails, or does not answer. Nothing is then known: do not take it for an empty queue.
    """
    return _jobs("--me")


def settings() -> dict[str, str]:
    """Return SLURM's configuration as `scontrol show config` prints it, asked once a process and when its file has changed.

    Raises:
        SchedulerError: The controller does not answer.
    """
    file = os.environ.get("SLURM_CONF", "")
    return dict(_settings(file, Path(file).stat().st_mtime_ns if file and Path(file).is_file() else 0))


def max_array_size() -> int:
    """Return MaxArraySize: the highest index of an array must be BELOW it.

    Raises:
        SchedulerError: The controller does not answer, or names none.
    """
    said = settings().get("MaxArraySize", "")
    if not said.isdigit():
        raise SchedulerError(f"`scontrol show config` names no MaxArraySize (found {said!r}); set max_array_size in the cluster profile.")
    return int(said)


def cancel(ids: Sequence[str]) -> None:
    """Cancel jobs: TERM now, KILL after the cluster's KillWait.

    Args:
        ids: `123` (an array: all of it) or `123_4`. Those that have ended are passed over.

    Raises:
        SchedulerError: scancel is absent, or refuses a job that has not ended.
    """
    for start in range(0, len(ids), _IDS_A_CALL):
        said = _call(["scancel", "-Q", *ids[start : start + _IDS_A_CALL]])
        errors = [line for line in said.stderr.splitlines() if line.strip() and not any(known in line for known in _ENDED)]
        if said.returncode and errors:
            raise SchedulerError(f"scancel refused: {errors[0].strip()}. Jobs of other users cannot be cancelled; see `squeue --me`.")


def requeue(job: str) -> bool:
    """Ask SLURM to start a running job again. Never raises, and never brings back a job that was cancelled or has ended.

    `Incomplete` lets the controller itself check the state, so that a cancellation between the question and the request wins too.

    Args:
        job: Its id, usually this process's own.

    Returns:
        Whether it was running and SLURM took the request; where False, the job ends as it would have.
    """
    try:
        states = [found.state for found in _jobs("-j", job).values()]
        if states != ["RUNNING"]:
            return False
        run(["scontrol", "requeue", "Incomplete", job])
    except SchedulerError:
        return False
    return True


def partitions() -> list[Partition]:
    """Return the partitions that this user can see, in SLURM's order.

    Raises:
        SchedulerError: sinfo is absent or fails.
    """
    rows: dict[str, list[list[str]]] = {}
    for line in run(["sinfo", "-h", "-e", "-o", "%R|%P|%a|%l|%D|%t|%G|%c|%m|%f"]).splitlines():
        if len(words := line.strip().split("|")) == 10:
            rows.setdefault(words[0], []).append(words)
    return [_partition(name, lines) for name, lines in rows.items()]


def send(job: str, signal: str) -> None:
    """Send a signal to the tasks of a job, as SLURM does before a time limit.

    Args:
        job: Its id.
        signal: Name of the signal, such as `USR2`.

    Raises:
        SchedulerError: scancel is absent or refuses.
    """
    run(["scancel", "-Q", f"--signal={signal}", job])


def run(command: Sequence[str], *, timeout_s: float = _TIMEOUT_S, also_errors: bool = False) -> str:
    """Run one of SLURM's commands and return what it prints.

    Args:
        command: Its words.
        timeout_s: Seconds to wait for it.
        also_errors: Whether to return what it prints to the error stream too.

    Raises:
        SchedulerError: It is absent, fails or does not answer in time.
    """
    said = _call(command, timeout_s)
    if said.returncode:
        why = (said.stderr.strip() or said.stdout.strip() or f"exit code {said.returncode}").splitlines()[-1]
        error = SchedulerError(
            f"`{' '.join(command[:3])}` failed: {why}. If the controller is down, wait and run the same command again; "
            "otherwise see `python -m slurm doctor`."
        )
        error.said = why
        raise error
    return said.stdout + said.stderr if also_errors else said.stdout


def _call(command: Sequence[str], timeout_s: float = _TIMEOUT_S) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(_DEFAULTS)}
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False, env={**environment, "LC_ALL": "C"})
    except FileNotFoundError as error:
        raise SchedulerError(
            f"There is no `{command[0]}` on PATH: SLURM is not installed here, or its module is not loaded. "
            "Run this on a login node, or use cluster=local."
        ) from error
    except subprocess.TimeoutExpired as error:
        raise SchedulerError(
            f"`{command[0]}` did not answer in {timeout_s:g} s: the controller is busy or down. Run the same command again later."
        ) from error


def _jobs(*which: str) -> dict[str, Job]:
    # -r: a waiting array is otherwise one line, `123_[4-9]`
    lines = run(["squeue", *which, "-h", "-r", "-o", "%i|%T|%r|%N|%j"]).splitlines()
    jobs = (Job(*(word.strip() for word in line.split("|", 4))) for line in lines if line.count("|") >= 4)
    return {job.id: job for job in jobs}


@lru_cache(maxsize=4)
def _settings(_file: str, _changed: int) -> dict[str, str]:
    """Ask for the settings, once for each state of each configuration file that this process was pointed at."""
    pairs = (line.split("=", 1) for line in run(["scontrol", "show", "config"]).splitlines() if "=" in line)
    return {name.strip(): value.strip() for name, value in pairs}


def _partition(name: str, rows: Sequence[Sequence[str]]) -> Partition:
    first = rows[0]
    kinds = tuple(
        NodeKind(int(nodes), state, _gres(gres), int(cpus.rstrip("+")), float(memory.rstrip("+")) / 1024, _features(features))
        for *_, nodes, state, gres, cpus, memory, features in rows
        if int(nodes)
    )
    limit = None if first[3] in {"infinite", "n/a"} else time_min(first[3])
    return Partition(name, first[1].endswith("*"), first[2], limit, kinds)


def _gres(text: str) -> dict[str, int]:
    """Read `gpu:rtx8000:2(S:0-1),shard:8` as {"gpu:rtx8000": 2, "shard": 8}."""
    found: dict[str, int] = {}
    for word in re.sub(r"\([^)]*\)", "", text).split(","):
        name, _, count = word.strip().rpartition(":")
        if name and (number := re.fullmatch(r"(\d+)([KMG]?)", count)):
            found[name] = found.get(name, 0) + int(number[1]) * 1024 ** " KMG".index(number[2] or " ")
    return found


def _features(text: str) -> tuple[str, ...]:
    return () if text in {"", "(null)"} else tuple(text.split(","))


def _most(several: Sequence[dict[str, int]]) -> dict[str, int]:
    most: dict[str, int] = {}
    for gres in several:
        for name, count in gres.items():
            most[name] = max(count, most.get(name, 0))
    return most

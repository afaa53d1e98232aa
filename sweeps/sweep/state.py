"""The state of one point: what its run folder and its job say, and whether that job lives."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from slurm.status import STALLED_AFTER_S, duration
from sweeps.sweep.heard import Heard, seconds
from sweeps.sweep.queue import Queue
from sweeps.sweep.record import Place

STATES = ("done", "trained", "running", "queued", "stopped", "lost", "failed", "missing")
WRONG = ("failed", "lost")
_FRESH_S = 15.0  # an owner beats every 5 s: so young a beat is proof of life, though its job waits to be started again


class Membership(NamedTuple):
    """A point's place in a sweep."""

    sweep: str
    number: int


@dataclass(frozen=True)
class PointState:
    """One distinct point, however many sweeps it is part of.

    Attributes:
        sweep: Name of the latest sweep that it is part of; empty for a run that no sweep started.
        number: Its number there.
        name: What a person calls it; empty where a run of an older version says nothing.
        seed: Its seed.
        run: Name of its run folder; empty while unknown.
        state: One of `STATES`: done; trained (its evaluation waits); running; queued (in the hands of a job that has not begun it or
            will begin it again); stopped (on request, and no job has it); lost (says that it runs and gives no sign of life); failed;
            missing (never begun, and no job has it).
        step: Last step that it noted.
        steps: Steps that it is to have.
        loss: Last total loss.
        headline: Metrics of its evaluation, such as `{"lsd_hf": 1.49}`.
        eta_s: Seconds until a running point is trained; None where that is not known.
        updated: When it last noted something, UTC.
        job: Id of the job that has or had it.
        host: Node of that job.
        error: First line of what is wrong; empty where nothing is.
        log: What it printed, or where it ended before it could print, its job's log; None for a run that no sweep started.
        train_s: Seconds of training over all attempts; of a running point, what it will have taken.
        memberships: Its places in the sweeps that were asked for, oldest first.
        evaluator: Id of the job that only evaluates it, where that has not ended and can still begin.
    """

    sweep: str = ""
    number: int | None = None
    name: str = ""
    seed: int | None = None
    run: str = ""
    state: str = "missing"
    step: int | None = None
    steps: int | None = None
    loss: float | None = None
    headline: dict[str, float] = field(default_factory=dict)
    eta_s: float | None = None
    updated: str = ""
    job: str = ""
    host: str = ""
    error: str = ""
    log: Path | None = None
    train_s: float | None = None
    memberships: tuple[Membership, ...] = ()
    evaluator: str = ""

    @property
    def is_at_work(self) -> bool:
        """Whether a job has it, or is to have it: something of it is still to come by itself."""
        return self.state in {"running", "queued"} or (self.state == "trained" and bool(self.evaluator))

    @property
    def label(self) -> str:
        """What to call it in a line: its number and name, or its run folder."""
        number = "" if self.number is None else f"{self.number:04d}"
        return " ".join(word for word in (number, self.name or self.run) if word)


class Verdict(NamedTuple):
    """A point's state, with who has it and what is wrong."""

    state: str
    job: str = ""
    host: str = ""
    error: str = ""


def judge(heard: Heard, place: Place, held: Sequence[str], queue: Queue, now: float) -> Verdict:
    """Return a point's state.

    Args:
        heard: What its run folder says.
        place: What its job said before there was a run folder.
        held: Ids of the jobs that have not ended and have the point.
        queue: All jobs.
        now: Seconds since the epoch.
    """
    if heard.problem:
        return Verdict("failed", error=heard.problem)
    if heard.state == "running":
        return _running(heard, held, queue, now - (heard.alive if heard.alive is not None else -math.inf))
    if place.error and heard.state != "done" and place.updated > heard.text("updated"):
        return _failed(Verdict("failed", place.job, place.host, place.error), place.updated, held, queue)
    if _is_prepared(heard, place, held, queue):
        return Verdict("running", place.job, place.host)
    if heard.state == "failed":
        error = heard.text("error").strip().partition("\n")[0] or "it does not say why"
        return _failed(Verdict("failed", heard.text("job"), heard.text("host"), error), heard.text("updated"), held, queue)
    return _at_rest(heard, place, held, queue)


def pace_s(heard: Heard) -> float | None:
    """Return the seconds that a run takes for a step: in this attempt, else over all; None where it says too little."""
    step, first = heard.number("step") or 0, heard.number("first_step") or 0
    began, noted = seconds(heard.text("started")), seconds(heard.text("updated"))
    if began is not None and noted is not None and step > first and noted > began:
        return (noted - began) / (step - first)
    trained_s = heard.number("train_seconds")
    return trained_s / step if trained_s and step > 0 else None


def left_s(heard: Heard, now: float) -> float | None:
    """Return the seconds until a run is trained; None where it says too little."""
    pace, step, steps, noted = pace_s(heard), heard.number("step"), heard.number("steps"), seconds(heard.text("updated"))
    if pace is None or step is None or steps is None or noted is None:
        return None
    return max(0.0, (steps - step) * pace - (now - noted))  # it has gone on since it noted its step


def _running(heard: Heard, held: Sequence[str], queue: Queue, silent_s: float) -> Verdict:
    """Judge a run that says that it runs."""
    job, host = heard.text("job"), heard.text("host")
    again = queue.waits(job) or queue.moved(job, host)  # its job was started again, and has not come to it yet
    if job not in queue.ended and silent_s <= (_FRESH_S if again else STALLED_AFTER_S):
        return Verdict("running", job, host)
    others = [other for other in held if other != job or again]
    if others or again:
        return _queued(others or [job], queue)
    silence = "no sign of life" if math.isinf(silent_s) else f"no word for {duration(silent_s)}"
    gone = ": its job has ended" if job in queue.ended else ""
    return Verdict("lost", job, host, f"{silence} from {host or 'an unknown node'}{gone}")


def _failed(failure: Verdict, at: str, held: Sequence[str], queue: Queue) -> Verdict:
    """Judge a point that failed: its job may live on for others, another will begin it again. Processes of this machine have no name."""
    others = [job for job in held if (job != failure.job if failure.job else queue.submitted.get(job, "") >= at)]
    return _queued(others, queue) if others else failure


def _is_prepared(heard: Heard, place: Place, held: Sequence[str], queue: Queue) -> bool:
    """Say whether a job has begun a point that has not come to its run folder in this attempt yet; local processes have no name."""
    later = bool(place.host and place.begun) and heard.state not in {"done", "trained"} and place.updated > heard.text("updated")
    return later and bool(held) and not queue.waits(place.job) and (not place.job or place.job in held)


def _at_rest(heard: Heard, place: Place, held: Sequence[str], queue: Queue) -> Verdict:
    """Judge a point that neither runs nor failed."""
    if held and heard.state not in {"done", "trained"}:
        return _queued(held, queue)
    state = {"": "missing", "queued": "missing", "interrupted": "stopped"}.get(heard.state, heard.state)
    return Verdict(state, heard.text("job"), heard.text("host"))


def _queued(held: Sequence[str], queue: Queue) -> Verdict:
    job = held[-1]
    return Verdict("queued", job, queue.jobs[job].nodes if job in queue.jobs else "")

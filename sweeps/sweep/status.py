"""The states of a sweep's points: what run folders say, and one call of squeue. Nothing here loads torch.

From a notebook: `read("runs/mine")`, or as a table `sweeps.sweep.table.frame("runs/mine")`.
"""

from __future__ import annotations

import math
import os
import re
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from lcm.errors import LcmError
from lcm.paths import Root, SweepFolder
from slurm.last_words import last_words
from slurm.profiles import did_you_mean
from sweeps.sweep.heard import Heard, hear
from sweeps.sweep.queue import POINTS, Queue, read_queue
from sweeps.sweep.record import Place, Sweep, SweepPoint, read_place, read_sweep, sweep_and_root
from sweeps.sweep.state import STATES, WRONG, Membership, PointState, judge, left_s, pace_s

__all__ = ["STATES", "WRONG", "Membership", "PointState", "Situation", "find", "look", "read"]


@dataclass(frozen=True)
class Situation:
    """The points of a root or of one sweep, and the jobs that have them.

    Attributes:
        root: The root.
        sweeps: The sweeps that were asked for, oldest first.
        points: A row a distinct point: runs of no sweep first, then by sweep and number.
        queue: The jobs.
    """

    root: Root
    sweeps: Sequence[Sweep]
    points: list[PointState]
    queue: Queue


def read(folder: Path | str) -> list[PointState]:
    """Return the state of every point of a root, or of one sweep's folder in it.

    Raises:
        LcmError: The folder is neither.
    """
    return look(folder).points


def look(folder: Path | str) -> Situation:
    """Return the points of a root, or of one sweep's folder in it, with their jobs.

    Raises:
        LcmError: The folder is neither.
    """
    folder = Path(folder).expanduser().absolute()
    root, shown = sweep_and_root(folder)
    whole = root.folder == folder
    queue = read_queue(root.folder)  # before the run folders: what ends meanwhile has said so by then
    every = shown if whole else [*_others(root, shown[0].name), *shown]
    points = _Points(root, every, queue, {sweep.name for sweep in shown}).states(alone=whole)
    return Situation(root, shown, _with_last_words(root, points, queue), queue)


def find(points: Sequence[PointState], word: str) -> PointState:
    """Return the point that a user means.

    Args:
        points: Which there are.
        word: A number of a sweep, of the latest where several have it; or the name of a run folder, or its beginning.

    Raises:
        LcmError: There is none, or several begin so.
    """
    if word.isdecimal():
        having = [(place.sweep, point) for point in points for place in point.memberships if place.number == int(word)]
        if having:
            return max(having, key=lambda one: one[0])[1]
    found = [point for point in points if point.run == word] or [point for point in points if word and point.run.startswith(word)]
    if len(found) == 1:
        return found[0]
    if found:
        raise LcmError(f"{len(found)} run folders begin with {word!r}, such as {found[0].run} and {found[1].run}: give more of the name.")
    raise LcmError(f"There is no point {word!r}. {_there_are(points, word)}")


def _there_are(points: Sequence[PointState], word: str) -> str:
    numbers: dict[str, list[int]] = {}
    for place in (place for point in points for place in point.memberships):
        numbers.setdefault(place.sweep, []).append(place.number)
    parts = [f"The points of {name} are {min(of)} to {max(of)}." for name, of in sorted(numbers.items())[-3:]]
    runs = [point.run for point in points if point.run]
    if runs and not word.isdecimal():
        parts.append(f"Run folders are named like {runs[-1]}.{did_you_mean(word, runs)}")
    return " ".join(parts) or "There are no points here yet."


def _others(root: Root, name: str) -> Iterator[Sweep]:
    """Yield a root's other sweeps; one that cannot be read is nothing to whoever asks for this one."""
    for path in sorted(root.sweeps.glob("*/sweep.json")):
        if path.parent.name != name:
            with suppress(LcmError):
                yield read_sweep(SweepFolder(path.parent))


@dataclass
class _Row:
    """A distinct point in the making: its run folder, and the sweeps that it is part of."""

    run: str
    members: list[tuple[str, SweepPoint]] = field(default_factory=list)


class _Points:
    """Joins sweeps, run folders and jobs."""

    def __init__(self, root: Root, sweeps: Sequence[Sweep], queue: Queue, shown: Collection[str]) -> None:
        self._root, self._queue, self._shown, self._now = root, queue, shown, time.time()
        self._spoken = {sweep.name: _spoken(root.sweep(sweep.name)) for sweep in sweeps}
        members = [(sweep.name, point) for sweep in sweeps for point in sweep.points]
        runs = [point.run or self._place(name, point).run for name, point in members]
        there = set(_names(root.points))
        self._heard = hear(root, there)
        self._rows = self._joined(members, runs)
        self._apart = sorted(there - set(runs))

    def states(self, *, alone: bool) -> list[PointState]:
        """Return the points of the sweeps that were asked for; with runs that no sweep started where those are wanted too."""
        rows = [self._state(row) for row in self._rows if any(name in self._shown for name, _ in row.members)]
        rows.sort(key=lambda point: (point.sweep, point.number))
        return [*(self._state(_Row(run)) for run in (self._apart if alone else ())), *rows]

    def _place(self, sweep: str, point: SweepPoint) -> Place:
        return read_place(self._root.sweep(sweep), point.number) if point.number in self._spoken[sweep] else Place()

    def _joined(self, members: Sequence[tuple[str, SweepPoint]], runs: Sequence[str]) -> list[_Row]:
        """Return a row a run folder; where none is known yet, a row for all points with one frozen config."""
        # what is done may be of other data: a point that is asked for again is then another run
        begun = {p.key: run for (_, p), run in zip(members, runs, strict=True) if run and self._of(run).state != "done"}
        rows: dict[object, _Row] = {}
        for (name, point), known in zip(members, runs, strict=True):
            run = known or (begun.get(point.key, "") if point.key else "")
            rows.setdefault(run or point.key or (name, point.number), _Row(run)).members.append((name, point))
        return list(rows.values())

    def _of(self, run: str) -> Heard:
        return self._heard.get(run, Heard())

    def _state(self, row: _Row) -> PointState:
        heard, mine = self._of(row.run), [(name, point) for name, point in row.members if name in self._shown]
        places, held, evaluators = [Place()], list[str](), list[str]()
        for name, point in row.members if heard.state != "done" else ():
            places.append(self._place(name, point))
            held += self._queue.holders.get((name, point.number), ())
            evaluators += filter(self._queue.can_begin, self._queue.evaluators.get((name, point.number), ()))
        place = max(places, key=lambda one: one.updated)
        verdict = judge(heard, place, held, self._queue, self._now)
        running, pace = verdict.state == "running", pace_s(heard)
        return replace(
            _named(heard, *mine[-1]) if mine else _unnamed(heard, row.run),
            run=row.run,
            **verdict._asdict(),
            eta_s=left_s(heard, self._now) if running else None,
            updated=max(heard.text("updated"), place.updated),
            log=self._log(mine, verdict.job),
            train_s=pace * (heard.number("steps") or 0) if running and pace else heard.number("train_seconds"),
            memberships=tuple(Membership(name, point.number) for name, point in mine),
            evaluator=evaluators[-1] if evaluators else "",
        )

    def _log(self, mine: Sequence[tuple[str, SweepPoint]], job: str) -> Path | None:
        """Return the log in the sweep whose job had the point: another sweep's says only in whose hands it was."""
        if not mine:
            return None
        numbers = {name: point.number for name, point in mine}
        name = self._queue.sweeps.get(job, "")
        name = name if name in numbers else mine[-1][0]
        return self._root.sweep(name).log(numbers[name])


def _named(heard: Heard, sweep: str, point: SweepPoint) -> PointState:
    return replace(_unnamed(heard, ""), sweep=sweep, number=point.number, name=point.name, seed=point.seed)


def _unnamed(heard: Heard, run: str) -> PointState:
    seed = re.search(r"-s(\d+)$", run)
    headline = heard.says.get("headline")
    return PointState(
        name=heard.text("name"),
        seed=int(seed[1]) if seed else None,
        step=_whole(heard.number("step")),
        steps=_whole(heard.number("steps")),
        loss=heard.number("loss"),
        headline={str(k): float(v) for k, v in headline.items() if isinstance(v, (int, float))} if isinstance(headline, dict) else {},
    )


def _whole(value: float | None) -> int | None:
    return int(value) if value is not None and math.isfinite(value) else None


def _names(folder: Path) -> list[str]:
    with suppress(OSError), os.scandir(folder) as entries:
        return [entry.name for entry in entries if not entry.name.startswith(".")]
    return []


def _spoken(folder: SweepFolder) -> set[int]:
    """Return the numbers of the points whose jobs have said something."""
    names = (name.removesuffix(".json") for name in _names(folder.place(0).parent))
    return {int(name) for name in names if name.isdecimal()}


def _with_last_words(root: Root, points: Sequence[PointState], queue: Queue) -> list[PointState]:
    """Give points whose job ended before they could speak their job's last words."""
    silent: dict[str, set[int]] = {}
    for point in points:
        if point.state in {"missing", "lost"} and point.number is not None and not queue.unknown:
            silent.setdefault(point.sweep, set()).add(point.number)
    said = {
        (sweep, number): line
        for sweep, numbers in silent.items()
        if sweep in queue.sweeps.values()
        for number, line in last_words(root.folder, POINTS, {sweep}, numbers, queue.live).items()
    }
    return [_with_words(point, said.get((point.sweep, point.number or 0), "")) for point in points] if said else list(points)


def _with_words(point: PointState, said: str) -> PointState:
    """Return a silent point with what its job said last, `LINE (job JOB, log PATH)`."""
    line, _, source = said.rpartition(" (job ")
    job, _, log = source.removesuffix(")").partition(", log ")
    if not line or point.state not in {"missing", "lost"}:
        return point
    if point.state == "lost":
        return replace(point, error=f"{point.error}. It said: {line} (log {log})") if job == point.job else point
    # a person's will is no failure
    by_hand = ("CANCELLED AT" in line and "DUE TO" not in line) or line == "KeyboardInterrupt"
    return replace(point, state="missing" if by_hand else "failed", error=line, job=job, log=Path(log))

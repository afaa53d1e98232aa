"""Submit a sweep's points: what is done or in the hands of others is left out, the rest becomes arrays of jobs."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from lcm.errors import LcmError
from lcm.paths import Root, Run
from slurm import submit as jobs
from slurm.progress import now
from slurm.scheduler import SchedulerError
from slurm.site import Site, site, threads, writing
from slurm.submission import Submission, Submissions, new_name
from slurm.turn import turn
from sweeps.config import Config
from sweeps.sweep import packing
from sweeps.sweep.freeze import write_frozen
from sweeps.sweep.job import PointsJob
from sweeps.sweep.known import Inputs, Known, needs
from sweeps.sweep.preparation import PreparationJob
from sweeps.sweep.queue import EVALUATION, POINTS, PREPARATION, Queue, read_queue
from sweeps.sweep.record import Place, Sweep, SweepPoint, read_place, sweeps_of, write_place, write_sweep
from sweeps.sweep.settings import LauncherConfig, check_profiles, for_devices, of_tasks

STAGES = (PREPARATION, POINTS, EVALUATION)


@dataclass
class Launched:
    """What one submission of points did.

    Attributes:
        root: The root.
        sweep: The sweep; its name is empty where nothing was submitted.
        submissions: What was submitted, in order.
        lines: What to tell a person.
    """

    root: Root
    sweep: Sweep
    submissions: list[Submission] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Sorted:
    """Points by what is to be done with them.

    Attributes:
        points: All, with their run folders where known; once each.
        submit: Numbers of those to submit.
        needs: Of these, what is still to be prepared, by point.
        lines: What became of the others.
        unreadable: Why what a point is cannot be found out, by its number; it is not to be submitted.
    """

    points: list[SweepPoint]
    submit: list[int]
    needs: dict[int, str]
    lines: list[str]
    unreadable: dict[int, LcmError] = field(default_factory=dict)

    def check(self) -> None:
        """Refuse all where one cannot be read.

        Raises:
            LcmError: Why the first cannot.
        """
        for error in self.unreadable.values():
            raise error


def launch(root: Root, points: Sequence[SweepPoint], configs: Mapping[int, Config], settings: LauncherConfig, label: str = "") -> Launched:
    """Submit the points of one root that are not done, and return.

    Args:
        root: Their root.
        points: The points.
        configs: Frozen config of each, by its number.
        settings: The launcher's.
        label: What the sweep is about.

    Raises:
        LcmError: The cluster refuses, or an input cannot be read; what was submitted before stays submitted.
    """
    folder, cluster = root.folder, settings.profile()
    check_profiles(settings, {point.devices for point in points})
    with writing(folder), turn(Submissions(folder).folder):  # of two who submit at once the second finds what the first has submitted
        found = sort(root, points, configs)
        found.check()  # whoever has just asked for them can put right what was asked for
        profile = [settings.cluster, *(f"{name}={value}" for name, value in settings.over.items())]
        done = Launched(root, Sweep("", label, now(), _command(), "", profile, asdict(settings), found.points), lines=found.lines)
        if not found.submit:
            done.lines.append("Nothing to submit.")
            return done
        at = site(folder, cluster)
        done.sweep = replace(done.sweep, name=new_name(), commit=at.snapshot.commit if at.snapshot else "")
        for point in found.points:
            write_frozen(root.sweep(done.sweep.name).config(point.number), configs[point.number])
        write_sweep(root, done.sweep)  # last: a sweep that is there is there as a whole
        submit_points(done, at, settings, found.submit, found.needs)
    return done


def sort(root: Root, points: Sequence[SweepPoint], configs: Mapping[int, Config]) -> Sorted:
    """Sort points into those that are done, in the hands of jobs, given twice, not to be read, and to submit."""
    inputs, busy, seen = Inputs(), busy_keys(root), set[str]()
    named: list[SweepPoint] = []  # without those given twice
    submit: list[int] = []
    needed: dict[int, str] = {}
    unreadable: dict[int, LcmError] = {}
    counts = {"the same as others of this sweep": 0, "done": 0, "in the hands of jobs that were submitted before": 0}
    for point in points:
        known, error = _looked_up(root, point, configs[point.number], inputs)
        held, twice = bool({point.key, known.run} & busy), point.key in seen
        seen.add(point.key)
        named += [] if twice else [replace(point, run=known.run)]
        why_not = next((name for name, true in zip(counts, (twice, known.done, held), strict=True) if true), "")
        if why_not:
            counts[why_not] += 1
        elif error is not None:
            unreadable[point.number] = error
        else:
            submit.append(point.number)
            if not known.prepared:
                needed[point.number] = needs(configs[point.number])
    lines = [f"{count} of {len(points)} points are {what}" for what, count in counts.items() if count]
    return Sorted(named, submit, needed, lines, unreadable)


def _looked_up(root: Root, point: SweepPoint, config: Config, inputs: Inputs) -> tuple[Known, LcmError | None]:
    """Return what is known of a point, and why that is no more: not of one that says that it is done, which needs its inputs no more."""
    try:
        return inputs.look_up(config), None
    except LcmError as error:
        with suppress(LcmError):
            if point.run and Run(root.points / point.run).read_status().get("state") == "done":
                return Known(prepared=False, run=point.run, done=True), None
        return Known(prepared=False, run=point.run), error


def busy_keys(root: Root, queue: Queue | None = None) -> set[str]:
    """Return the keys and, as far as they are known, the run folders of the points that live jobs have.

    A folder may be wanted by another key: a point that is evaluated in another way is the same run.

    Args:
        root: The root.
        queue: Its jobs, where they were asked for already.

    Raises:
        SchedulerError: SLURM does not say which jobs live.
    """
    queue = queue or read_queue(root.folder)
    if queue.unknown:
        raise SchedulerError(queue.unknown)
    names, busy = {name for name, _ in (*queue.holders, *queue.evaluators)}, set[str]()
    for sweep in (sweep for sweep in sweeps_of(root) if sweep.name in names):
        for point in sweep.points:
            mine = (sweep.name, point.number)
            training, evaluating = set(queue.holders.get(mine, ())), set(queue.evaluators.get(mine, ()))
            if training | evaluating:
                place = read_place(root.sweep(sweep.name), point.number)
                run = place.run or point.run
                failed_in = _failed_in(place, Run(root.points / run) if run else None)
                if training - {failed_in} or (evaluating and failed_in is None):
                    busy |= {point.key, run} - {""}
    return busy


def _failed_in(place: Place, run: Run | None) -> str | None:
    """Return the job in which a point failed, None where it did not: the job may live on for others, and does not try it again."""
    if place.error:
        return place.job
    with suppress(LcmError):  # damaged
        status = run.read_status() if run else {}
        return str(status.get("job") or "") if status.get("state") == "failed" else None
    return None


def submit_points(done: Launched, at: Site, settings: LauncherConfig, numbers: Collection[int], needed: Mapping[int, str]) -> None:
    """Submit points of a sweep that is on disk, with what prepares and evaluates them.

    Args:
        done: Is told what was submitted.
        at: Where.
        settings: The launcher's.
        numbers: Which points.
        needed: What is still to be prepared, by point.
    """
    sweep, place = done.sweep, done.root.sweep(done.sweep.name)
    points = [point for point in sweep.points if point.number in set(numbers)]
    for point in points:
        begun = point.run or read_place(place, point.number).run  # an earlier attempt may have found out what was not known at submit
        write_place(place, point.number, **{**asdict(Place()), "run": begun})
    local = at.cluster.kind == "local"
    prepared_by = {} if local else packing.preparations(needed)  # on one machine points wait for one another
    after = _prepare(done, at, sorted(set(prepared_by.values()))) if prepared_by else ""
    for devices, elements in packing.elements(points, at.cluster, settings.pack).items():
        here = replace(at, cluster=for_devices(at.cluster, devices))
        common: dict[str, Any] = {"sweep": sweep.name, "pack": settings.pack, "attempts": settings.attempts, "prepared_by": prepared_by}
        split = settings.evaluation == "after" and not local
        tasks = 1 if local else devices  # on one machine a point starts its ranks itself
        train = partial(PointsJob, devices=tasks, until="trained" if split else "done", threads=threads(here.cluster), **common)
        trained = _submit(done, here, POINTS, elements, train, after=after)
        if split:
            one = [[[n for task in element for n in task]] for element in elements]
            there = replace(at, cluster=of_tasks(settings.evaluation_profile(), 1))
            evaluate = partial(PointsJob, evaluates=True, threads=threads(there.cluster), **common)
            _submit(done, there, EVALUATION, one, evaluate, following=trained)


def _submit(
    done: Launched,
    at: Site,
    stage: str,
    elements: list[list[list[int]]],
    job: Callable[..., PointsJob],
    *,
    after: str = "",
    following: Submission | None = None,
) -> Submission:
    submission = Submissions(at.place).new(stage, at.cluster.kind, elements, done.sweep.name)
    grace_s, name = jobs.grace_s(at.cluster), submission.name
    tasks = [job(place=at.place, submission=name, element=element, grace_s=grace_s) for element in range(len(elements))]
    submission = jobs.start(at, submission, tasks, after, following=following)
    _tell(done, submission, f"{sum(len(task) for element in elements for task in element)} points in {len(elements)} jobs")
    return submission


def _prepare(done: Launched, at: Site, numbers: list[int]) -> str:
    """Submit the job that prepares; returns the dependency of the points, which see for themselves how it ended."""
    alone = replace(at, cluster=of_tasks(at.cluster, 1))
    for number in numbers:  # what an earlier one said is nothing to these points
        done.root.sweep(done.sweep.name).prepared(number).unlink(missing_ok=True)
    submission = Submissions(at.place).new(PREPARATION, at.cluster.kind, [[numbers]], done.sweep.name)
    job = PreparationJob(place=at.place, submission=submission.name, element=0, grace_s=jobs.grace_s(alone.cluster), sweep=done.sweep.name)
    submission = jobs.start(alone, submission, [job])
    _tell(done, submission, "corpus, codes and what else the points share")
    return f"afterany:{submission.jobs[0]}"


def _tell(done: Launched, submission: Submission, text: str) -> None:
    arrays = sorted({job.partition("_")[0] for job in submission.jobs})
    label = "process" if submission.kind == "local" else "job"
    done.submissions.append(submission)
    done.lines.append(f"{submission.stage}: {text}: {label} {', '.join(arrays)}")


def _command() -> str:
    return shlex.join(["python", "-m", "sweeps.run", *sys.argv[1:]]) if Path(sys.argv[0]).name == "run.py" else shlex.join(sys.argv)

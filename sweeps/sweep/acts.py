"""What a user does with sweeps that were submitted: retry, cancel, debug. From a notebook as from the command line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from lcm.errors import LcmError
from lcm.paths import Root, Run, SweepFolder
from slurm import submit as jobs
from slurm.site import site, writing
from slurm.submission import Submissions
from slurm.turn import turn
from sweeps.config import Config, read_config
from sweeps.sweep.record import Sweep, SweepPoint, read_place, sweep_and_root
from sweeps.sweep.settings import LauncherConfig, check_profiles
from sweeps.sweep.status import find, read
from sweeps.sweep.submit import STAGES, Launched, sort, submit_points


@dataclass(frozen=True)
class Retried:
    """What trying again has done.

    Attributes:
        lines: What to tell a person: what was submitted, and what could not be.
        complete: Whether all was submitted that is not done and in nobody's hands.
    """

    lines: list[str]
    complete: bool


def retry(folder: Path | str, words: Sequence[str] = ()) -> Retried:
    """Submit again what is not done and in nobody's hands, from the frozen configs, with the code as it is now.

    Args:
        folder: A root, or one sweep's folder.
        words: Words over the cluster profile that the sweep was submitted with, such as `time=12:00:00` or `cluster.time=12:00:00`.

    Returns:
        What was done. A point whose frozen config or input, such as its teacher, cannot be read is left out, and named with the reason.

    Raises:
        LcmError: The cluster refuses.
    """
    root, sweeps = sweep_and_root(Path(folder))
    seen: set[str] = set()
    lines: list[str] = []
    complete = True
    with writing(root.folder), turn(Submissions(root.folder).folder):
        for sweep in reversed(sweeps):  # the latest that asked for a point asks for it as it should be
            points = [point for point in sweep.points if point.key not in seen]
            seen |= {point.key for point in points}
            done = _retry(root, sweep, points, [word.removeprefix("cluster.") for word in words])
            lines, complete = lines + done.lines, complete and done.complete
    return Retried(lines or ["Nothing to retry: all points are done or in the hands of jobs."], complete)


def _retry(root: Root, sweep: Sweep, points: list[SweepPoint], words: list[str]) -> Retried:
    configs, wrong = _configs(root.sweep(sweep.name), points)
    readable = [_with_run(root, sweep, point) for point in points if point.number in configs]
    found = sort(root, readable, configs)
    wrong.update(found.unreadable)
    done = Launched(root, sweep, lines=_not_submitted(points, wrong))
    if found.submit:
        settings = LauncherConfig(**sweep.launcher).with_words(words)
        check_profiles(settings, {point.devices for point in points})
        submit_points(done, site(root.folder, settings.profile()), settings, found.submit, found.needs)
    title = [f"{sweep.name} {sweep.label}".strip()] if done.lines else []
    return Retried([*title, *(f"  {line}" for line in done.lines)], complete=not wrong)


def _configs(place: SweepFolder, points: Sequence[SweepPoint]) -> tuple[dict[int, Config], dict[int, LcmError]]:
    """Return the frozen configs, and why some cannot be read: the others, also of other sweeps, can go on."""
    configs, wrong = dict[int, Config](), dict[int, LcmError]()
    for point in points:
        try:
            configs[point.number] = read_config(place.config(point.number))
        except LcmError as error:
            wrong[point.number] = error
    return configs, wrong


def _with_run(root: Root, sweep: Sweep, point: SweepPoint) -> SweepPoint:
    """Return a point with its run folder, also where that was found out after it had been submitted."""
    return replace(point, run=point.run or read_place(root.sweep(sweep.name), point.number).run)


def _not_submitted(points: Sequence[SweepPoint], wrong: Mapping[int, LcmError]) -> list[str]:
    """Return a line a point that cannot be submitted, and what to do about them."""
    lines = [f"not submitted: point {point.number} {point.name}: {wrong[point.number]}" for point in points if point.number in wrong]
    return [*lines, "put back what these lines name, then retry; or submit the sweep again with other inputs"] if lines else []


def cancel(folder: Path | str) -> list[str]:
    """Cancel the jobs of sweeps that have not ended; points that run write a checkpoint first, what is made stays.

    Args:
        folder: A root (all its sweeps), or one sweep's folder.

    Returns:
        A line a submission.
    """
    root, sweeps = sweep_and_root(Path(folder))
    submissions, names, lines = Submissions(root.folder), {sweep.name for sweep in sweeps}, []
    for name, ids in jobs.live_jobs(root.folder).items():
        submission = submissions.read(name)
        if submission.stage in STAGES and submission.target in names:
            jobs.stop(submissions.cancel(name), ids)  # marked first: a task that starts between does nothing
            lines.append(f"{submission.stage} of {submission.target}: {len(ids)} jobs cancelled")
    return lines or ["No job of these sweeps has not ended."]


def debug(folder: Path | str, point: str) -> list[str]:
    """Run one point of a sweep here: short, in the foreground, into a folder of its own. Exceptions are raised as they are, for pdb.

    Args:
        folder: A root, or one sweep's folder.
        point: Its number in the latest sweep that has it, or the name of its run folder.

    Returns:
        A line.

    Raises:
        LcmError: There is no such point.
    """
    from sweeps.point import run_point

    run = run_point(replace(frozen_config(Path(folder), point), debug=True))
    return [f"done: {run.folder}"]


def frozen_config(folder: Path, point: str) -> Config:
    """Return the config of a point.

    Raises:
        LcmError: There is no such point.
    """
    root, _ = sweep_and_root(folder)
    found = find(read(folder), point)
    in_sweep = found.number is not None
    return read_config(root.sweep(found.sweep).config(found.number or 0) if in_sweep else Run(root.points / found.run).config)

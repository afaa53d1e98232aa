"""What a user does with sweeps that were submitted: retry, cancel, debug. From a notebook as from the command line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from lcm.errors import LcmError
from lcm.paths import Root, Run
from slurm import submit as jobs
from slurm.site import site, writing
from slurm.submission import Submissions
from slurm.turn import turn
from sweeps.config import Config, read_config
from sweeps.sweep.record import Sweep, SweepPoint, sweep_and_root
from sweeps.sweep.settings import LauncherConfig, check_profiles
from sweeps.sweep.status import find, read
from sweeps.sweep.submit import STAGES, Launched, sort, submit_points


def retry(folder: Path | str, words: Sequence[str] = ()) -> list[str]:
    """Submit again what is not done and in nobody's hands, from the frozen configs, with the code as it is now.

    Args:
        folder: A root, or one sweep's folder.
        words: Words over the cluster profile that the sweep was submitted with, such as `time=12:00:00` or `cluster.time=12:00:00`.

    Returns:
        What was submitted, in lines, and what was not as its frozen config cannot be read.

    Raises:
        LcmError: The cluster refuses.
    """
    root, sweeps = sweep_and_root(Path(folder))
    seen: set[str] = set()
    lines: list[str] = []
    with writing(root.folder), turn(Submissions(root.folder).folder):
        for sweep in reversed(sweeps):  # the latest that asked for a point asks for it as it should be
            points = [point for point in sweep.points if point.key not in seen]
            seen |= {point.key for point in points}
            lines += _retry(root, sweep, points, [word.removeprefix("cluster.") for word in words])
    return lines or ["Nothing to retry: all points are done or in the hands of jobs."]


def _retry(root: Root, sweep: Sweep, points: list[SweepPoint], words: list[str]) -> list[str]:
    place = root.sweep(sweep.name)
    configs, lines = dict[int, Config](), list[str]()
    for point in points:
        try:
            configs[point.number] = read_config(place.config(point.number))
        except LcmError as error:  # the others, also of other sweeps, can go on
            lines.append(f"point {point.number}: {error}")
    found = sort(root, [point for point in points if point.number in configs], configs)
    if not found.submit:
        return lines
    settings = LauncherConfig(**sweep.launcher).with_words(words)
    check_profiles(settings, {point.devices for point in points})
    done = Launched(root, sweep)
    submit_points(done, site(root.folder, settings.profile()), settings, found.submit, found.needs)
    return [f"{sweep.name} {sweep.label}".strip(), *(f"  {line}" for line in [*lines, *done.lines])]


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

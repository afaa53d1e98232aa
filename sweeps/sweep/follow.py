"""Wait for the points of a submission, with progress on the terminal; what they became is read from disk."""

from __future__ import annotations

import shlex
import time
from collections.abc import Mapping
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from lcm.paths import Run
from slurm import submit as jobs
from sweeps.config import Config
from sweeps.point import headline
from sweeps.sweep.known import Inputs
from sweeps.sweep.queue import read_queue
from sweeps.sweep.record import Place, SweepPoint, read_place
from sweeps.sweep.settings import SweepError
from sweeps.sweep.submit import Launched, busy_keys

_EVERY_S = {"slurm": 10.0, "local": 1.0}  # the controller answers many others too


def follow(done: Launched, kind: str) -> None:
    """Return when no job has any of the points. Interrupted, points on this machine stop and can be continued; on SLURM they go on.

    Args:
        done: What was submitted; points that jobs of an earlier submission have are waited for too.
        kind: `slurm` or `local`.
    """
    points = done.sweep.points
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("points"), TimeElapsedColumn())
    try:
        with Progress(*columns) as bar:
            task = bar.add_task(done.sweep.label or "sweep", total=len(points))
            while _is_at_work(done):
                bar.update(task, completed=sum(_ended(done, point) for point in points))
                time.sleep(_EVERY_S[kind])
            bar.update(task, completed=sum(_ended(done, point) for point in points))
    except KeyboardInterrupt:
        _interrupted(done)
        raise


def _is_at_work(done: Launched) -> bool:
    mine, keys = {submission.name for submission in done.submissions}, {point.key for point in done.sweep.points}
    queue = read_queue(done.root.folder)
    if queue.unknown:  # a controller that is restarted must not end what has waited for days
        return True
    return bool(mine & queue.live.keys() or keys & busy_keys(done.root, queue))


def _interrupted(done: Launched) -> None:
    local = [submission for submission in done.submissions if submission.kind == "local"]
    for submission in local:
        jobs.stop(submission)
        jobs.wait(submission, interruptible=False)
    if not done.submissions:
        print("the jobs that have the points go on")
        return
    said = "stopped; to go on: python -m sweeps retry" if local else "the jobs go on; to end them: python -m sweeps cancel"
    print(said, shlex.quote(str(done.root.sweep(done.sweep.name).folder)))


def _ended(done: Launched, point: SweepPoint) -> bool:
    place = _place(done, point.number)
    run = place.run or point.run
    return bool(place.error) or (bool(run) and _run(done, run).read_status().get("state") in {"done", "failed"})


def _place(done: Launched, number: int) -> Place:
    """Return what a point's job has said; nothing where all points are in the hands of jobs of earlier sweeps."""
    return read_place(done.root.sweep(done.sweep.name), number) if done.sweep.name else Place()


def _run(done: Launched, name: str) -> Run:
    return Run(done.root.points / name)


def values(done: Launched, configs: Mapping[int, Config]) -> dict[int, Any]:
    """Return what a sweeper minimises, of every point of a sweep: a number, or the error of one that failed."""
    inputs = Inputs()
    return {number: _value(done, number, config, inputs) for number, config in configs.items()}


def _value(done: Launched, number: int, config: Config, inputs: Inputs) -> float | SweepError:
    known = inputs.look_up(config)
    if known.done:
        return headline(_run(done, known.run))
    place = _place(done, number)
    run = place.run or known.run
    status = _run(done, run).read_status() if run else {}
    error = status.get("error") or place.error or "it did not end; see its log"
    return SweepError(f"point {number}: {error}")

"""Sweeps on disk as launcher, jobs and points leave them, without any of these; and a squeue that says what a test wants."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from lcm.paths import Root, Run, SweepFolder, write_text
from lcm.store import StorePaths
from slurm.submission import Submission, Submissions
from sweeps.sweep.record import Place, Sweep, SweepPoint, write_sweep

FIRST, SECOND = "20260101T000000-aaaaaa", "20260102T000000-bbbbbb"
NAMES = ("objective=ect", "objective=ct", "objective=cd")


def ago(seconds: float) -> str:
    """Return a time of the past as statuses hold it."""
    return (datetime.now(timezone.utc) - timedelta(seconds=seconds)).isoformat(timespec="seconds")


def sweep(
    root: Root, names: Sequence[str] = NAMES, *, name: str = FIRST, runs: Sequence[str] = (), keys: Sequence[str] = ()
) -> SweepFolder:
    """Write a sweep; its points have run folders, or keys, as far as given."""
    points = [
        SweepPoint(n, text, 0, keys[n] if n < len(keys) else f"{name} {n}", runs[n] if n < len(runs) else "")
        for n, text in enumerate(names)
    ]
    return write_sweep(root, Sweep(name, "ablation=objective", ago(9999), "command", "0" * 40, ["2x48gb"], {}, points))


def run(root: Root, folder: str, state: str, /, *, ago_s: float = 5.0, beat_s: float | None = None, **values: Any) -> Run:
    """Write a run folder as its point would have some time ago; `beat_s`: seconds since its owner was last heard of."""
    there = Run(root.points / folder)
    write_text(there.status_file, json.dumps({"state": state, "updated": ago(ago_s), **values}))
    if beat_s is not None:
        claim(there, 1, beat_s)
    return there


def claim(there: Run, number: int, beat_s: float) -> None:
    """Write a claim whose owner was last heard of some time ago."""
    there.claims.mkdir(exist_ok=True)
    for kind in ("json", "beat"):
        path = there.claims / f"{number:06d}.{kind}"
        path.write_text("{}")
        os.utime(path, (time.time() - beat_s,) * 2)


def place(folder: SweepFolder, number: int, *, ago_s: float = 5.0, **values: Any) -> None:
    """Write what a point's job said before there was a run folder."""
    write_text(folder.place(number), json.dumps(vars(Place(**values, updated=ago(ago_s)))))


def submitted(
    root: Root,
    elements: Sequence[Sequence[int]],
    jobs: Sequence[str],
    *,
    name: str = FIRST,
    stage: str = "sweep",
    kind: str = "slurm",
    **values: Any,
) -> Submission:
    """Write a submission: of each job the numbers of its points."""
    new = Submissions(root.folder).new(stage, kind, [[list(numbers)] for numbers in elements], name)
    return Submissions(root.folder).write(replace(new, jobs=list(jobs), **values))


def job_log(root: Root, submission: Submission, job: str, text: str) -> Path:
    """Write what a job logged."""
    path = StorePaths(root.folder).logs / submission.name / f"{job}_0_log.err"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def squeue(folder: Path, monkeypatch: pytest.MonkeyPatch, *jobs: str, fails: str = "") -> None:
    """Put a squeue on PATH that knows jobs, `ID STATE REASON NODE` each with - for nothing; or one that fails with a message."""
    commands = folder / "commands"
    commands.mkdir(exist_ok=True)
    lines = ["|".join("" if word == "-" else word for word in [*job.split(), "name"]) for job in jobs]
    script = f"echo '{fails}' >&2; exit 1" if fails else "\n".join(f"echo '{line}'" for line in lines) or "exit 0"
    (commands / "squeue").write_text(f"#!/bin/sh\n{script}\n")
    (commands / "squeue").chmod(0o755)
    if str(commands) not in os.environ["PATH"]:
        monkeypatch.setenv("PATH", f"{commands}:{os.environ['PATH']}")

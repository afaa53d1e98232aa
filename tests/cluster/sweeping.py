"""Sweeps that tests submit to a lab by the user's own commands, and what must hold of them whatever happened."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pandas as pd
from lab import Lab
from lab_commands import LabError
from lab_processes import environment_of
from safetensors.torch import load_file

from lcm.paths import Root, Run
from lcm.records import read_records
from sweeps.sweep.record import Sweep, sweeps_of
from sweeps.sweep.status import PointState, read

TINY = (
    "corpus.demo_voices=3", "corpus.demo_utterances=2", "shards=2", "network.width=32", "network.depth=1", "network.heads=2", "init=none",
    "losses.hf_log_magnitude=0", "losses.si_sdr=0", "train.batch=2", "train.estimate=false",
    "evaluate.steps=[1]", "evaluate.max_utterances=1", "evaluate.samples=1",
)  # fmt: skip
ON_LAB = (
    "partition=main", "mem_gb=2", "cpus_per_task=1", "tasks_per_node=1", "time=5", "signal_s=60", "sbatch_every_s=0", "precision=32-true",
)  # fmt: skip


class Sweeping:
    """A root whose sweeps run on a lab.

    Args:
        lab: Where.
        folder: Of the test; the root is in it.
        words: Settings of every point.
    """

    def __init__(self, lab: Lab, folder: Path, *words: str) -> None:
        self.lab, self.root, self.words = lab, Root(folder / "root"), [*TINY, *words]

    # What a user does

    def run(self, *words: str, code: int = 0, cwd: Path | None = None) -> str:
        """Run `python -m sweeps.run`; its output, from a process that ended with a code."""
        return command(["sweeps.run", f"root={self.root.folder}", *self.words, *words], code=code, cwd=cwd)

    def submit(self, *words: str, profile: Sequence[str] = (), **options: Any) -> str:
        """Submit a sweep by the launcher."""
        launcher = ["--multirun", "hydra/launcher=slurm_sweep", *(f"hydra.launcher.{word}" for word in [*ON_LAB, *profile])]
        return self.run(*launcher, *words, **options)

    def act(self, act: str, *words: str, code: int = 0) -> str:
        """Run `python -m sweeps ACT ROOT`."""
        return command(["sweeps", act, str(self.root.folder), *words], code=code)

    # What a test sees

    def sweep(self) -> Sweep:
        """The latest sweep."""
        return list(sweeps_of(self.root))[-1]

    def points(self) -> list[PointState]:
        """All points."""
        return read(self.root.folder)

    def states(self) -> Counter[str]:
        """How many points are in each state."""
        return Counter(point.state for point in self.points())

    def point(self, name: str) -> PointState:
        """The point of a name."""
        return next(point for point in self.points() if point.name == name)

    def status(self, name: str) -> dict[str, Any]:
        """What the run folder of a point says; empty before it has one."""
        run = self.point(name).run
        return Run(self.root.points / run).read_status() if run else {}

    def attempts(self, name: str) -> int:
        """How often a point was begun."""
        return self.root.sweep(self.sweep().name).log(self.point(name).number or 0).read_text().count("=== attempt")

    def wait(self, timeout: float = 180) -> None:
        """Wait until no job waits or runs."""
        self.wait_for(lambda: not self.lab.run("squeue", "-h").strip(), timeout)

    def wait_for(self, what: Any, timeout: float = 300) -> Any:
        """Wait for an answer that is true; fail with the logs where it does not come."""
        try:
            return self.lab.wait_for(what, timeout, f"something in {self.root.folder}")
        except LabError as error:
            raise LabError(f"{error}\n{self.logs()}") from None

    def wait_for_step(self, name: str, step: int) -> PointState:
        """Wait until a point has done so many steps and has a checkpoint."""
        def there() -> bool:
            done = int(self.status(name).get("step") or 0)
            return done >= step and Run(self.root.points / self.point(name).run).last.exists()

        self.wait_for(there)
        return self.point(name)

    def wait_for_step_only(self, name: str, step: int) -> PointState:
        """Wait until a point has done so many steps, by its scalars: its status is written now and then only."""

        def there() -> bool:
            run = self.point(name).run
            text = Run(self.root.points / run).scalars.read_text() if run and Run(self.root.points / run).scalars.exists() else ""
            return any(int(line.split(",")[0]) >= step for line in text.splitlines()[1:] if line.count(",") == 2)

        self.wait_for(there)
        return self.point(name)

    def logs(self) -> str:
        """All that jobs and points have said."""
        files = sorted([*self.root.folder.glob("logs/**/*log.*"), *self.root.folder.glob("sweeps/*/logs/*.log")])
        return "\n".join(f"{path.name}: {line}" for path in files for line in path.read_text(errors="replace").splitlines()[-30:])

    def job_states(self) -> dict[str, str]:
        """State in SLURM of every job of the stage `sweep`, by the name of its first point."""
        from slurm.submission import Submissions

        names = {(sweep.name, point.number): point.name for sweep in sweeps_of(self.root) for point in sweep.points}
        found = {}
        for submission in Submissions(self.root.folder):
            if submission.stage == "sweep":
                for job, element in zip(submission.jobs, submission.elements, strict=True):
                    found[names[submission.target, element[0][0]]] = self.lab.state(job)
        return found

    def processes(self, name: str) -> list[int]:
        """The processes of a point."""
        number = str(self.point(name).number)
        return [pid for pid in self.lab.job_processes() if _runs(pid, "sweeps.frozen", number)]


def command(words: Sequence[str], *, code: int = 0, cwd: Path | None = None) -> str:
    """Run a module of this project; returns what it prints.

    Raises:
        AssertionError: It ended with another code.
    """
    outer = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "200"}
    done = subprocess.run([sys.executable, "-m", *words], capture_output=True, text=True, timeout=1200, env=outer, cwd=cwd, check=False)
    assert done.returncode == code, f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout + done.stderr


def assert_equal(a: Root, b: Root, runs: Sequence[str]) -> None:
    """Assert that runs have the same weights and the same records in two roots; times apart."""
    for name in runs:
        one, other = Run(a.points / name), Run(b.points / name)
        left, right = load_file(one.model), load_file(other.model)
        assert left.keys() == right.keys()
        assert all(left[key].equal(right[key]) for key in left), name
        pd.testing.assert_frame_equal(_untimed(one), _untimed(other))


def _untimed(run: Run) -> pd.DataFrame:
    table = read_records(run.records)
    keys = ["system", "utterance", "steps", "low_band_copy", "metric"]
    return table[~table.metric.str.match(r"time_|rtf")].sort_values(keys).reset_index(drop=True)


def _runs(pid: int, module: str, number: str) -> bool:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
    except OSError:
        return False
    return module in words and number in words and "LCM_JOB" in environment_of(pid)


def kill(pids: Sequence[int], number: signal.Signals = signal.SIGKILL) -> None:
    """Send a signal to processes."""
    for pid in pids:
        with suppress(ProcessLookupError):  # it has ended meanwhile
            os.kill(pid, number)


def submitted(said: str) -> int:
    """How many points a command says that it has submitted."""
    return sum(int(count) for count in re.findall(r"^\s*sweep: (\d+) points", said, re.MULTILINE))

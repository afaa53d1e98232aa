"""What is asked of a lab: commands of SLURM, jobs, and waiting for them."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, TypeVar

import lab_processes as processes

T = TypeVar("T")

SEARCH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
OF_SLURM = ("SLURM", "SBATCH", "SQUEUE", "SINFO", "SCONTROL", "SACCT", "SRUN")


class LabError(AssertionError):
    """The lab, or what a test waits for in it, did not do what was expected."""


class Commands:
    """Commands run with the environment of the lab in `folder`."""

    folder: Path

    @property
    def _conf(self) -> str:
        return f"{self.folder}/slurm.conf"

    def environment(self) -> dict[str, str]:
        """What to merge into the environment of a process that should use this cluster."""
        return {"SLURM_CONF": self._conf}

    def run(self, *command: str | Path, check: bool = True, timeout: float = 60, cwd: Path | None = None, stdin: str = "") -> str:
        """Run a command with this cluster's environment and return its output; an error shows what it printed."""
        outer = {name: value for name, value in os.environ.items() if not name.startswith(OF_SLURM)}
        environment = outer | self.environment() | {"PATH": SEARCH}
        words = [shutil.which(str(command[0]), path=SEARCH) or str(command[0]), *map(str, command[1:])]
        with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:  # a pipe would be held open by a daemon
            options: dict[str, Any] = {"env": environment, "cwd": cwd, "timeout": timeout, "umask": 0o022, "text": True}
            done = subprocess.run(words, input=stdin, stdout=out, stderr=err, check=False, **options)
            printed, complaint = (_content(file) for file in (out, err))
        if check and done.returncode:
            raise LabError(f"{shlex.join(words)} failed with {done.returncode}: {(complaint + printed).strip()}")
        return printed

    def submit(self, script: str, *options: str) -> str:
        """Submit a shell script; its output goes to `output(job)`. Returns the job id."""
        given = [f"--output={self.folder}/out/%j", "--open-mode=append", "--parsable", *options]
        return self.run("sbatch", *given, stdin=f"#!/bin/bash\n{script}\n").strip()

    def output(self, job: str) -> str:
        """What a job of `submit` has printed so far, all its runs."""
        path = self.folder / "out" / job
        return path.read_text() if path.exists() else ""

    def job(self, job: str) -> dict[str, str]:
        """What the controller knows of a job: JobState, Reason, Restarts, NodeList, ..."""
        line = self.run("scontrol", "-o", "show", "job", job).splitlines()[0]
        return dict(word.split("=", 1) for word in line.split() if "=" in word)

    def state(self, job: str) -> str:
        """The state of a job: PENDING, RUNNING, COMPLETED, ..."""
        return self.job(job)["JobState"]

    def job_processes(self, job: str = "*", node: str = "*") -> list[int]:
        """The process ids of a job, or of the jobs of a node, on this machine."""
        return processes.job_processes(self.folder, node, job)

    def wait_for(self, predicate: Callable[[], T], timeout: float = 60, what: str = "") -> T:
        """Ask until the answer is true and return it; after `timeout` seconds the error shows the state of the cluster."""
        end = time.monotonic() + timeout
        while not (answer := predicate()):
            if time.monotonic() > end:
                raise LabError(f"not within {timeout:g} s: {what or predicate}\n{self.diagnosis()}")
            time.sleep(0.1)
        return answer

    def diagnosis(self) -> str:
        """Nodes, jobs and the end of the controller's log."""
        shown = [self.run(*command, check=False, timeout=20) for command in (("sinfo", "-N", "-o", "%N %T %E"), ("squeue", "-r"))]
        log = self.folder / "log/slurmctld"
        return "\n".join([*shown, *(log.read_text(errors="replace").splitlines()[-30:] if log.exists() else [])])


def _content(file: IO[str]) -> str:
    file.seek(0)
    return file.read()

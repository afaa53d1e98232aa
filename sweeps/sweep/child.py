"""A point's process: isolated, so that one which fails, leaks or is killed does not touch its neighbours on the GPU."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from lcm.provenance import JOB_VARIABLE, NODE_VARIABLE
from slurm.progress import job_name, node_name
from sweeps.parent import end_with_parent
from sweeps.stopping import held_back

RESTART_VARIABLE = "LCM_RESTART"
# Variables by which libraries take a process for one task of a job of several; SLURM's commands still need their configuration
_OF_A_JOB = ("SLURM", "SBATCH", "SRUN", "PMI", "PMIX", "SUBMITIT")
_KEPT = ("SLURM_CONF", "SLURM_JWT")


def start(
    module: str, words: Sequence[str], log: Path, *, threads: int = 0, more: Mapping[str, str] | None = None
) -> subprocess.Popen[bytes]:
    """Start a module as a point's process.

    Args:
        module: What to run.
        words: Its arguments.
        log: Where it prints, after what is there.
        threads: Threads of its libraries; 0 leaves them as they are.
        more: Further variables.

    Returns:
        The process. It ends when this one does.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    # SLURM warns every process of a job: one that is still importing must neither die of it nor miss it
    with log.open("ab") as file, held_back():
        return subprocess.Popen(
            [sys.executable, "-u", "-m", module, *words],
            stdout=file,
            stderr=subprocess.STDOUT,
            env={**environment(os.environ), **_threads(threads), **(more or {})},
            preexec_fn=end_with_parent,  # noqa: PLW1509  # it makes one system call
        )


def environment(variables: Mapping[str, str]) -> dict[str, str]:
    """Return a process's variables without those that make it look like one task of several; job and node are noted under names of ours."""
    kept = {name: value for name, value in variables.items() if name in _KEPT or not name.startswith(_OF_A_JOB)}
    restart = variables.get("SLURM_RESTART_COUNT", "0")
    return {**kept, JOB_VARIABLE: job_name(), NODE_VARIABLE: node_name(), RESTART_VARIABLE: restart}


def ended_by(code: int) -> str:
    """Return how a process ended that could not say so itself.

    Args:
        code: Its exit code, negative for a signal.
    """
    if code >= 0:
        return f"its process ended with exit code {code}"
    name = signal.Signals(-code).name if -code in list(signal.Signals) else f"signal {-code}"
    memory = ": out of memory? Raise mem_gb of the profile, or lower hydra.launcher.pack" if name == "SIGKILL" else ""
    return f"its process was ended by {name}{memory}"


def _threads(count: int) -> dict[str, str]:
    return dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(count)) if count else {}

"""Where a result comes from: commit, package versions, machine, job, times."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime, timezone
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from lcm.paths import write_text
from lcm.protocol import PROTOCOL

PACKAGES = (
    "torch", "encodec", "numpy", "scipy", "soxr", "soundfile", "h5py", "lightning-fabric", "torchmetrics", "auraloss", "pystoi",
    "hydra-core", "submitit", "pandas", "pyarrow", "lcm-superres",
)  # fmt: skip
DIRTY = "-dirty"  # after a commit from which tracked files differed
COMMIT_VARIABLE = "LCM_COMMIT"  # set where the code runs from a snapshot without its repository
CHANGES_VARIABLE = "LCM_CHANGES"  # names the file that holds what differed from that commit
# set where SLURM's own variables are taken away, lest libraries believe that a point is a job of several processes
JOB_VARIABLE, NODE_VARIABLE = "LCM_JOB", "LCM_NODE"

_LONGEST_DIFF = 200_000
_IMPORTED = datetime.now(timezone.utc)


def provenance(contents: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return what is needed to tell or repeat the circumstances of a result, JSON-able.

    Args:
        contents: Identities of what the result was made from, such as the codes store's.

    Returns:
        commit, dirty (None where unknown), changes (the diff where dirty), packages,
        python, platform, host (SLURM's node name before the machine's own,
        which may be the same on several nodes), job, device, gpus, threads, protocol, started, written, contents.
    """
    import torch

    commit, dirty = _commit(Path(__file__).resolve().parent)
    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    return {
        "commit": commit,
        "dirty": dirty,
        "changes": changes() if dirty else "",
        "packages": {name: version for name in PACKAGES if (version := _version(name))},
        "python": platform.python_version(),
        "platform": platform.platform(),
        "host": node(),
        "job": _job(),
        "command": sys.argv,
        "device": gpus[0] if gpus else processor(),
        "gpus": gpus,
        "cuda": torch.version.cuda if gpus else None,
        "threads": torch.get_num_threads(),
        "protocol": PROTOCOL,
        "started": _IMPORTED.isoformat(timespec="seconds"),
        "written": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "contents": dict(contents or {}),
    }


def circumstances() -> dict[str, Any]:
    """Return what numbers may depend on beside the settings, and where they were made: what a shard notes.

    Returns:
        commit, host, job, device (model of the GPU or CPU), threads, precision. Torch is asked only where it has been loaded.
    """
    commit, dirty = _commit(Path(__file__).resolve().parent)
    torch = sys.modules.get("torch")
    gpu = torch is not None and torch.cuda.is_available()
    noted: dict[str, Any] = {
        "commit": f"{commit or 'unknown'}{'-dirty' if dirty else ''}",
        "host": node(),
        "device": torch.cuda.get_device_name(0) if torch is not None and gpu else processor(),
        "threads": torch.get_num_threads() if torch is not None else 1,
        "precision": "float32",
        "gpus": torch.cuda.device_count() if torch is not None and gpu else 0,
    }
    return {**noted, "job": job} if (job := _job()) else noted


@cache
def processor() -> str:
    """Return the model of this machine's CPU."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def write_provenance(path: Path, contents: Mapping[str, Any] | None = None) -> None:
    """Write `provenance` as JSON, atomically."""
    write_text(Path(path), json.dumps(provenance(contents), indent=1))


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def node() -> str:
    """Return the name of this node; SLURM's own before the machine's, which may be the same on several nodes."""
    return os.environ.get(NODE_VARIABLE) or os.environ.get("SLURMD_NODENAME") or platform.node()


def _job() -> str | None:
    """Return SLURM's job id, `<array>_<task>` in an array; None outside a job."""
    if named := os.environ.get(JOB_VARIABLE):
        return named
    array, task = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    return f"{array}_{task}" if array and task else os.environ.get("SLURM_JOB_ID")


def _commit(folder: Path) -> tuple[str | None, bool | None]:
    """Return the commit of the code in a folder and whether tracked files differ from it; None where unknown."""
    if named := os.environ.get(COMMIT_VARIABLE):
        return named.removesuffix(DIRTY), named.endswith(DIRTY)
    # A package installed into an environment inside some other repository is not tracked there.
    if not _git(folder, "ls-files", Path(__file__).name):
        return None, None
    commit = _git(folder, "rev-parse", "HEAD")
    changes = _git(folder, "status", "--porcelain", "--untracked-files=no")
    return commit or None, None if changes is None else bool(changes)


def changes() -> str:
    """Return how tracked files differ from the commit, as a diff; cut where it is long. Empty where unknown."""
    if named := os.environ.get(CHANGES_VARIABLE):
        with suppress(OSError):
            return Path(named).read_text(encoding="utf-8")
    diff = _git(Path(__file__).resolve().parent, "diff", "HEAD", "--", ":/") or ""
    return diff if len(diff) <= _LONGEST_DIFF else f"{diff[:_LONGEST_DIFF]}\n... {len(diff) - _LONGEST_DIFF} more characters"


def _git(folder: Path, *arguments: str) -> str | None:
    """Return git's answer; None where git or the repository is missing."""
    try:
        answer = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip()

"""What a probe sees where it runs: on a compute node as a job, or in this process.

Nothing heavy is imported at the top: a package that is missing on the node must become a finding, not a job that cannot start.
"""

from __future__ import annotations

import json
import os
import platform
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from lcm.offline import no_network
from lcm.store.paths import write_json
from slurm.disk import Disk, attempt, in_folder, is_there, link, lock, look_at_disk, read_text, rename
from slurm.progress import node_name

_USR2_WAIT_S = 20.0
_AFTERWARDS_S = 1.5  # lived on after the signal: long enough to see what it did to the processes above


@dataclass
class Sight:
    """What one task saw. Where something failed there is its error, else an empty text; `orphaned`: its parent died of the signal."""

    node: str = ""
    task: int = 0
    cpus: int = 0
    python: str = ""
    executable: str = ""
    packages: dict[str, str] = field(default_factory=dict)
    gpus: list[dict[str, Any]] = field(default_factory=list)
    gpu_error: str = ""
    torch_cuda: str = ""
    visible: str = ""
    weights: list[str] = field(default_factory=list)
    weights_error: str = ""
    reached: list[str] = field(default_factory=list)
    root: Disk = field(default_factory=lambda: Disk(""))
    rename_error: str = ""
    link_error: str = ""
    lock_error: str = ""
    scratch: Disk | None = None
    usr2: bool = False
    orphaned: bool = False

    @classmethod
    def read(cls, path: Path) -> Sight:
        """Read what a task wrote."""
        values = json.loads(path.read_text(encoding="utf-8"))
        known = {entry.name: values[entry.name] for entry in fields(cls) if entry.name in values}
        known["root"] = Disk(**known["root"])
        known["scratch"] = Disk(**known["scratch"]) if known["scratch"] else None
        return cls(**known)


@dataclass(frozen=True)
class Errand:
    """What a probe is asked to look at; submitit pickles it.

    Attributes:
        meeting: Folder in which doctor and probe leave each other files.
        root: Folder of the stores.
        codec: Fields of a `CodecConfig`; the class itself would be loaded, and torch with it, before the errand begins.
        teacher: Fields of a `TeacherConfig`.
        scratch: Node-local folder of the profile; empty for none.
    """

    meeting: Path
    root: Path
    codec: Mapping[str, Any]
    teacher: Mapping[str, Any]
    scratch: str = ""

    def __call__(self) -> None:
        """Say hello, answer the doctor's clock, look around, wait for the signal, report."""
        from slurm.marks import process_number

        told, parent = threading.Event(), os.getppid()
        signal.signal(signal.SIGUSR2, lambda *_: told.set())  # over submitit's own
        task = process_number()
        write_json(self.meeting / f"hello-{task}.json", {"node": node_name(), "read": read_text(self.meeting / "from-login.txt")})
        if task == 0:
            self._answer()
        seen = look(self.root, self.codec, self.teacher, self.scratch)
        seen.task, seen.usr2 = task, told.wait(_USR2_WAIT_S)
        time.sleep(_AFTERWARDS_S)
        seen.orphaned = os.getppid() != parent
        write_json(self.meeting / f"sight-{task}.json", asdict(seen))

    def _answer(self, patience_s: float = 60.0) -> None:
        """Give this clock's time as soon as the doctor asks for it."""
        end = time.monotonic() + patience_s
        while time.monotonic() < end and not is_there(self.meeting / "ask.json"):
            time.sleep(0.05)
        write_json(self.meeting / "answer.json", {"time": time.time()})


def look(root: Path, codec: Mapping[str, Any], teacher: Mapping[str, Any], scratch: str = "") -> Sight:
    """Look at everything that a task needs.

    Args:
        root: Folder of the stores.
        codec: Fields of a `CodecConfig`.
        teacher: Fields of a `TeacherConfig`.
        scratch: Node-local folder of the profile, may name variables; empty for none.
    """
    seen = Sight(node_name(), 0, _cpus(), platform.python_version(), sys.executable)
    seen.visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    with suppress(ImportError):  # it will be named with the GPUs and weights
        seen.packages = _packages()
    seen.gpu_error = attempt(lambda: _gpus(seen))
    with no_network() as reached:
        seen.weights_error = attempt(lambda: _weights(seen, codec, teacher))
    seen.reached = reached
    seen.root = look_at_disk(root)
    if not seen.root.error:
        seen.rename_error = attempt(lambda: in_folder(root, rename))
        seen.link_error = attempt(lambda: in_folder(root, link))
        seen.lock_error = attempt(lambda: in_folder(root, lock))
    seen.scratch = _scratch(scratch)
    return seen


def _scratch(named: str) -> Disk:
    """Look at the node-local folder; without one in the profile, at where temporary files go."""
    path = Path(os.path.expandvars(named) if named else tempfile.gettempdir())
    if "$" in str(path):
        return Disk(named, error=f"{path} names a variable that is not set on the node")
    there = path.exists()
    error = attempt(lambda: path.mkdir(parents=True, exist_ok=True)) if named else ""
    disk = Disk(str(path), error=error) if error else look_at_disk(path)
    if not there and not error:
        path.rmdir()
    return disk


def _gpus(seen: Sight) -> None:
    import torch

    seen.torch_cuda = torch.version.cuda or ""
    for number in range(torch.cuda.device_count()):
        facts = torch.cuda.get_device_properties(number)
        seen.gpus.append({"name": facts.name, "gb": facts.total_memory / 1e9, "uuid": str(getattr(facts, "uuid", ""))})
        ones = torch.ones(8, 8, device=f"cuda:{number}")
        if float((ones @ ones).sum()) != 512.0:
            raise RuntimeError(f"GPU {number} ({facts.name}) computes wrongly")


def _weights(seen: Sight, codec: Mapping[str, Any], teacher: Mapping[str, Any]) -> None:
    from lcm.codec import CodecConfig
    from lcm.teachers import TeacherConfig
    from slurm.prefetch import prefetch

    seen.weights = prefetch(CodecConfig(**codec), TeacherConfig(**teacher))


def _packages() -> dict[str, str]:
    from importlib import metadata

    from lcm.provenance import PACKAGES

    return {name: version for name in PACKAGES if (version := _version(metadata, name))}


def _version(metadata: Any, package: str) -> str:
    try:
        return str(metadata.version(package))
    except metadata.PackageNotFoundError:
        return ""


def _cpus() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

"""The code of a submission, copied when it is submitted: what is edited while jobs queue does not change what they run."""

from __future__ import annotations

import hashlib
import shutil
import sys
import uuid
from dataclasses import dataclass
from pathlib import Path

from lcm.paths import write_text

PACKAGES = ("lcm", "slurm", "sweeps", "analysis")
_NOT_CODE = {"__pycache__", ".ipynb_checkpoints"}


@dataclass(frozen=True)
class Snapshot:
    """A copy of the project's packages.

    Attributes:
        folder: Holds the packages: the first of PYTHONPATH, and the folder that a job runs in.
        commit: Commit of the code, with `-dirty` where tracked files differed; for the job's LCM_COMMIT.
        changes: File that holds how they differed, for the job's LCM_CHANGES; None where they did not.
    """

    folder: Path
    commit: str
    changes: Path | None = None


def take_snapshot(root: Path) -> Snapshot:
    """Copy the packages as they are now into root/snapshots/HASH; the same content is copied once.

    Args:
        root: Folder that the nodes share.

    Returns:
        The snapshot. One that exists is compared file by file, and what was removed or changed in it since is put back.
    """
    from lcm.provenance import DIRTY, provenance  # imports torch

    content = _content()
    folder = root.absolute() / "snapshots" / _digest(content)
    if folder.is_dir():
        _complete(folder, content)
    else:
        _build(folder, content)
    known = provenance()
    changes = _keep_changes(folder, known.get("changes") or "")
    return Snapshot(folder, (known["commit"] or "unknown") + (DIRTY if known["dirty"] else ""), changes)


def _keep_changes(folder: Path, changes: str) -> Path | None:
    """Write how the code differs from its commit beside the snapshot; the same content may differ from several commits."""
    if not changes:
        return None
    path = folder.with_name(f"{folder.name}-{hashlib.sha256(changes.encode()).hexdigest()[:8]}.patch")
    if not path.is_file():
        write_text(path, changes)
    return path


def package_folder(name: str) -> Path:
    """Return where a package is imported from: the loaded one's folder, else beside this one (the current folder may hold a namesake)."""
    loaded = sys.modules.get(name)
    return Path(loaded.__file__).resolve().parent if loaded and loaded.__file__ else Path(__file__).resolve().parents[1] / name


def _content() -> dict[str, bytes]:
    """Return every file by its name in the snapshot; read once, so that hash and copy agree even while files are edited."""
    files = {}
    for package in PACKAGES:
        folder = package_folder(package)
        for path in sorted(folder.rglob("*")):
            inside = path.relative_to(folder)
            if path.is_file() and not any(part in _NOT_CODE or part.startswith(".") for part in inside.parts):
                files[f"{package}/{inside.as_posix()}"] = path.read_bytes()
    return files


def _digest(content: dict[str, bytes]) -> str:
    digest = hashlib.sha256()
    for name, data in sorted(content.items()):
        digest.update(f"{name}\0{hashlib.sha256(data).hexdigest()}\n".encode())
    return digest.hexdigest()[:16]


def _build(folder: Path, content: dict[str, bytes]) -> None:
    """Write beside, then rename: whoever sees the folder sees all of it."""
    part = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}.part")
    try:
        for name, data in content.items():
            _write(part / name, data)
        part.rename(folder)
    except OSError:  # a twin was first
        if not folder.is_dir():
            raise
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _complete(folder: Path, content: dict[str, bytes]) -> None:
    """Put back what is not as it was: scratch file systems remove files that have not been read for weeks."""
    for name, data in content.items():
        path = folder / name
        if not path.is_file() or path.read_bytes() != data:
            part = path.with_name(f".{path.name}.{uuid.uuid4().hex}.part")
            _write(part, data)
            part.replace(path)


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)

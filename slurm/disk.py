"""What a folder can do: is it writable, how much is free, and do rename, hard links and locks work."""

from __future__ import annotations

import fcntl
import os
import shutil
import threading
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

_TURNS = 100  # of the rename that a reader watches
_LOCK_WAIT_S = 10.0  # without its daemon, a network file system's lock hangs


@dataclass
class Disk:
    """A folder and what lies under it.

    Attributes:
        path: The folder.
        error: Why it cannot be written to; empty where it can.
        type: Type of the file system, such as `ext4` or `nfs4`; empty where unknown.
        free_gb: Free for this user.
        inodes: Files that can still be made; None where the file system does not count them.
    """

    path: str
    error: str = ""
    type: str = ""
    free_gb: float = 0.0
    inodes: int | None = None


def attempt(check: Callable[[], object]) -> str:
    """Return the error of a check in a line; empty where it passes."""
    try:
        check()
    except Exception as error:  # whatever it is, it is what the doctor came for
        return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
    return ""


def look_at_disk(folder: Path) -> Disk:
    """Look at a folder: can it be written to, how much is free, what is under it."""
    disk = Disk(str(folder))
    disk.error = attempt(lambda: in_folder(folder, _write))
    if not folder.is_dir():
        return disk
    disk.type, facts = _file_system(folder), os.statvfs(folder)
    disk.free_gb = facts.f_bavail * facts.f_frsize / 1e9
    disk.inodes = facts.f_favail if facts.f_files else None
    return disk


def rename(folder: Path) -> None:
    """Check that a file can be replaced under a reader's eyes without ever being away or torn.

    Raises:
        OSError: It was, or cannot be replaced.
    """
    name, over, torn = folder / "renamed", threading.Event(), []
    name.write_text("0" * 4096)

    def watch() -> None:
        while not over.is_set():
            problem = attempt(lambda: _whole(name))
            if problem:
                torn.append(problem)

    reader = threading.Thread(target=watch)
    reader.start()
    try:
        for turn in range(_TURNS):
            part = folder / "part"
            part.write_text(str(turn % 10) * 4096)
            part.replace(name)
    finally:
        over.set()
        reader.join()
    if torn:
        raise OSError(f"a reader saw {torn[0]}")


def link(folder: Path) -> None:
    """Check that a hard link claims a name once.

    Raises:
        OSError: There are no hard links, or a second one took the name over.
    """
    first, second, name = folder / "first", folder / "second", folder / "claimed"
    first.write_text("first")
    second.write_text("second")
    os.link(first, name)
    try:
        os.link(second, name)
    except FileExistsError:
        if name.read_text() == "first":
            return
    raise OSError("a second link took over a name that was claimed")


def lock(folder: Path) -> None:
    """Check that files can be locked, both ways there are.

    Raises:
        OSError: They cannot, or locking hangs.
    """
    errors: list[str] = []
    done = threading.Event()

    def both() -> None:
        with (folder / "lock").open("w") as file:
            errors.append(attempt(lambda: fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)))
            errors.append(attempt(lambda: fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)))
        done.set()

    threading.Thread(target=both, daemon=True).start()
    if not done.wait(_LOCK_WAIT_S):
        raise OSError(f"locking hangs for more than {_LOCK_WAIT_S:g} s")
    if any(errors):
        raise OSError("; ".join(filter(None, errors)))


def _whole(name: Path) -> None:
    text = name.read_text()
    if text != text[:1] * 4096:
        raise OSError(f"a torn file of {len(text)} bytes")


def _write(folder: Path) -> None:
    (folder / "written").write_text("written")
    if (folder / "written").read_text() != "written":
        raise OSError("what was written is not what is read")


def in_folder(parent: Path, check: Callable[[Path], None]) -> None:
    """Run a check in a folder of its own, which is removed."""
    folder = parent / f".doctor-{uuid.uuid4().hex[:12]}"
    folder.mkdir()
    try:
        check(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _file_system(folder: Path) -> str:
    """Return the type of the file system under a folder: that of the longest mount point above it."""
    best, kind = "", ""
    where = os.path.realpath(folder)
    for line in read_text(Path("/proc/mounts")).splitlines():
        _, mount, name, *_ = line.split(" ")
        mount = mount.replace("\\040", " ")
        if len(mount) >= len(best) and (where == mount or where.startswith(mount.rstrip("/") + "/")):
            best, kind = mount, name
    return kind


def read_text(path: Path) -> str:
    """Return a file's text; empty where it cannot be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def is_there(path: Path) -> bool:
    """Look for a file through its folder: a network file system remembers that a name was not there."""
    return path.parent.is_dir() and any(found.name == path.name for found in path.parent.iterdir())

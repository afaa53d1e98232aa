"""Where and how jobs run: the profile, the folder that keeps logs and submissions, the snapshot of the code, the environment."""

from __future__ import annotations

import errno
import os
import shlex
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lcm.offline import job_environment
from lcm.provenance import CHANGES_VARIABLE, COMMIT_VARIABLE
from lcm.store import StoreError, StorePaths
from slurm.attempt import MAX_BARREN
from slurm.cluster import Cluster
from slurm.snapshot import Snapshot, take_snapshot

_NOT_WRITABLE = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM}


@dataclass(frozen=True)
class Site:
    """Where and how jobs run.

    Attributes:
        cluster: The profile.
        place: Folder that holds submissions, logs and snapshots.
        snapshot: The code that jobs run; None runs what this process would import.
        max_barren: Attempts in a row without one new item after which a shard is given up.
        exclude: Nodes that are not to be used.
    """

    cluster: Cluster
    place: Path
    snapshot: Snapshot | None = None
    max_barren: int = MAX_BARREN
    exclude: tuple[str, ...] = ()

    @property
    def logs(self) -> Path:
        """One folder a submission."""
        return StorePaths(self.place).logs


def site(place: Path, cluster: Cluster, *, max_barren: int = MAX_BARREN, exclude: Sequence[str] = ()) -> Site:
    """Return a site whose jobs run the code as it is now."""
    place = place.resolve()
    if "%" in str(place) and cluster.kind == "slurm":
        raise StoreError(f"SLURM replaces % in file names: choose another folder than {place}.")
    share_with(place, cluster.group)
    return Site(cluster, place, take_snapshot(place), max_barren, tuple(exclude))


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Turn what a full or read-only disk answers into an error that names the folder.

    Raises:
        StoreError: It cannot be written.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _NOT_WRITABLE:
            raise
        raise StoreError(f"{folder} cannot be written: {error}. Make room or ask for access, then run the same command again.") from error


def share_with(folder: Path, group: str) -> None:
    """Give a folder to a group, and what will be made in it too (setgid); nothing where no group is named.

    Raises:
        StoreError: There is no such group, or one may not give to it.
    """
    if not group:
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        shutil.chown(folder, group=group)
        folder.chmod(folder.stat().st_mode | 0o2070)
    except (LookupError, OSError) as error:
        raise StoreError(f"{folder} cannot be given to the group {group!r} of the profile: {error}. `id -nG` lists yours.") from error


def exports(at: Site) -> list[str]:
    """Return the shell lines that make a job run the snapshot, offline, with a fixed number of threads."""
    lines = [f"export {name}={shlex.quote(value)}" for name, value in _variables(at).items()]
    # what modules or the profile have put there stays, after ours
    lines.append(f'export PYTHONPATH={shlex.quote(_python_path(at))}"${{PYTHONPATH:+:$PYTHONPATH}}"')
    return lines if at.snapshot is None else [*lines, f"cd {shlex.quote(str(at.snapshot.folder))} || exit 1"]  # not other code


def _python_path(at: Site) -> str:
    """Return the snapshot before what this process has been given; absolute, as jobs run in another folder."""
    given = [str(Path(folder).absolute()) for folder in os.environ.get("PYTHONPATH", "").split(os.pathsep) if folder]
    return os.pathsep.join(([str(at.snapshot.folder)] if at.snapshot else []) + given)


def _variables(at: Site) -> dict[str, str]:
    if at.snapshot is None:
        return job_environment(os.environ)
    changes = {CHANGES_VARIABLE: str(at.snapshot.changes)} if at.snapshot.changes else {}
    return {**job_environment(os.environ), COMMIT_VARIABLE: at.snapshot.commit, **changes}


def threads(cluster: Cluster) -> int:
    """Return the threads of a process; part of the identity of what it computes. On this machine, its cores are shared."""
    if cluster.threads or cluster.kind != "local":
        return cluster.threads or cluster.cpus_per_task
    asked = os.environ.get("OMP_NUM_THREADS", "")
    return int(asked) if asked.isdigit() else max(1, (os.cpu_count() or 1) // max(cluster.processes, 1))


@contextmanager
def environment(at: Site) -> Iterator[None]:
    """Let processes that are started now run the snapshot: they inherit variables and folder, and `-m` puts the folder first."""
    before, here = dict(os.environ), Path.cwd()
    os.environ.update({**at.cluster.env, **_variables(at), "OMP_NUM_THREADS": str(threads(at.cluster)), "PYTHONPATH": _python_path(at)})
    if at.snapshot is not None:
        os.chdir(at.snapshot.folder)
    try:
        yield
    finally:
        os.chdir(here)
        os.environ.clear()
        os.environ.update(before)

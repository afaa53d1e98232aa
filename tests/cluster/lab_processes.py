"""The processes of one lab, recognised by its own configuration file, and their end. As a script: the lab's keeper.

The keeper waits until the process that started the lab closes its pipe, be it by `Lab.stop` or by dying, and then ends the lab's
processes and removes its folder. So nothing is left even after SIGKILL.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from fnmatch import fnmatch
from pathlib import Path

_OF_A_JOB = (("SLURM_JOB_ID", "LCM_JOB"), ("SLURMD_NODENAME", "LCM_NODE"))


def environment_of(pid: int) -> dict[str, str]:
    """The environment with which a process was started; empty for one that has ended."""
    try:
        words = Path(f"/proc/{pid}/environ").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return {}
    return dict(word.split("=", 1) for word in words if "=" in word)


def alive() -> Iterator[int]:
    """The processes of this machine."""
    return (int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit())


def daemon(folder: Path, name: str) -> int | None:
    """The process id of a daemon of this lab (`slurmctld`, `slurmd.node1`, ...), None where it does not run."""
    try:
        pid = int((folder / "pid" / name).read_text())
    except (OSError, ValueError):
        return None
    return pid if environment_of(pid).get("SLURM_CONF") == f"{folder}/slurm.conf" else None


def steps(folder: Path, node: str = "*") -> list[int]:
    """The slurmstepd of a node. They overwrite their environment, so they are known by the log file that they hold open."""
    daemons = {daemon(folder, path.name) for path in (folder / "pid").glob("slurmd.*")}
    return [pid for pid in alive() if pid not in daemons and holds(pid, f"{folder}/log/slurmd.{node}")]


def holds(pid: int, pattern: str) -> bool:
    """Whether a process has a file open."""
    try:
        return any(fnmatch(str(link.readlink()), pattern) for link in Path(f"/proc/{pid}/fd").iterdir())
    except OSError:
        return False


def job_processes(folder: Path, node: str = "*", job: str = "*") -> list[int]:
    """The processes of jobs (of one node, of one job id), batch scripts and their children.

    SLURM follows the tree of processes; here they are found by their variables, of which a sweep's points have others.
    """
    found = []
    for pid in alive():
        environment = environment_of(pid)
        of, on = ((environment.get(of_slurm) or environment.get(ours, "")) for of_slurm, ours in _OF_A_JOB)
        of_a_job = environment.get("SLURM_CONF") == f"{folder}/slurm.conf" and of
        if of_a_job and fnmatch(on, node) and fnmatch(of, job):
            found.append(pid)
    return found


def kill(find: Callable[[], list[int]], within: float = 10) -> None:
    """SIGKILL what `find` returns until it returns nothing: a process may start others while it is being looked for."""
    end = time.monotonic() + within
    while pids := [pid for pid in find() if pid != os.getpid()]:
        for pid in pids:
            _signal(pid, signal.SIGKILL)
        if time.monotonic() > end:
            raise TimeoutError(f"processes {pids} survive SIGKILL for {within:g} s")
        time.sleep(0.02)


def stop_daemon(folder: Path, name: str, within: float = 10) -> None:
    """SIGTERM, and SIGKILL where it is not enough."""
    end = time.monotonic() + within
    if (pid := daemon(folder, name)) is not None:
        _signal(pid, signal.SIGTERM)
        while daemon(folder, name) == pid and time.monotonic() < end:
            time.sleep(0.02)
        kill_daemon(folder, name)


def kill_daemon(folder: Path, name: str) -> None:
    """SIGKILL a daemon of this lab, where it runs."""
    kill(lambda: [pid for pid in [daemon(folder, name)] if pid])


def _signal(pid: int, number: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def tear_down(folder: Path) -> None:
    """End the lab of a folder and remove the folder. Nodes first, so that no job is requeued; munge last, which the others need."""
    for pid_file in (folder / "pid").glob("slurmd.*"):
        kill_daemon(folder, pid_file.name)
    kill(lambda: steps(folder))
    kill(lambda: job_processes(folder))
    for name in ("slurmctld", "slurmdbd", "mariadbd", "munged"):
        kill_daemon(folder, name)
    shutil.rmtree(folder, ignore_errors=True)


def start_keeper(folder: Path) -> subprocess.Popen[bytes]:
    """Start the process that tears the lab down when this process closes its pipe or dies."""
    return subprocess.Popen([sys.executable, "-S", __file__, str(folder)], stdin=subprocess.PIPE, start_new_session=True)


def main() -> None:
    """Keep."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    sys.stdin.read()
    tear_down(Path(sys.argv[1]))


if __name__ == "__main__":
    main()

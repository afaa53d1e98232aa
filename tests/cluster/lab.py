"""A private SLURM cluster on one machine, started and ended by the tests: `Lab`."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import lab_database
import lab_processes as processes
from lab_commands import SEARCH, Commands, LabError
from lab_configuration import Configuration

COMMANDS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scontrol", "scancel", "sinfo", "srun")
ACCOUNTING_COMMANDS = ("slurmdbd", "mariadbd", "sacct", "sacctmgr")


def lacking(accounting: bool = False) -> str:
    """Say why no lab can be started here; empty where one can."""
    if os.geteuid() != 0:
        return "a private SLURM cluster needs root (its daemons, and device files for its GPUs)"
    absent = [name for name in COMMANDS + ACCOUNTING_COMMANDS * accounting if not shutil.which(name, path=SEARCH)]
    if absent:
        return f"SLURM is not installed: no {', '.join(absent)} on PATH (`.ci/system-packages` installs it on Debian)"
    with tempfile.TemporaryDirectory() as folder:
        try:
            os.mknod(f"{folder}/gpu0", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
        except OSError as error:
            return f"the lab's GPUs need device files, and mknod fails here: {error}"
    return ""


class Lab(Commands):
    """Virtual nodes `node1`, `node2`, ... with GPUs that are `/dev/null`, partitions `main` (default) and `high` (preempts `main`)."""

    def __init__(self, configuration: Configuration) -> None:
        self.configuration = configuration
        self.folder = configuration.folder
        self.nodes = [f"node{number + 1}" for number in range(configuration.nodes)]
        self._keeper = processes.start_keeper(self.folder)

    # Life

    @classmethod
    def start(
        cls,
        nodes: int = 3,
        gpus: int = 2,
        *,
        accounting: bool = False,
        max_array_size: int = 10_001,
        extra: Sequence[str] = (),
        cpus: int = 16,
        memory_mb: int = 64_000,
    ) -> Lab:
        """Start a cluster and wait until its nodes are idle.

        Args:
            nodes: Virtual nodes.
            gpus: GPUs of type `rtx8000` a node.
            accounting: With slurmdbd on a database of its own, so that `sacct` knows jobs.
            max_array_size: MaxArraySize; the highest index of an array must be below it.
            extra: Lines of slurm.conf; one that is there already is replaced.
            cpus: CPUs that each node claims.
            memory_mb: Memory in MB that each node claims.
        """
        if reason := lacking(accounting):
            raise LabError(reason)
        folder = Path(tempfile.mkdtemp(prefix="slurm-lab-"))
        folder.chmod(0o755)  # munge refuses a socket that others cannot reach
        lines = [f"MaxArraySize={max_array_size}", *extra]
        lab = cls(Configuration(folder, nodes, gpus, cpus, memory_mb, accounting, lines))
        try:
            lab._start()
        except BaseException:
            lab.stop()
            raise
        return lab

    def _start(self) -> None:
        for name in ("munge", "state", "spool", "log", "pid", "dev", "out"):
            (self.folder / name).mkdir(mode=0o755)
        for gpu in range(self.configuration.gpus):
            os.mknod(self.folder / f"dev/gpu{gpu}", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
        self.configuration.write()
        self._start_munge()
        if self.configuration.accounting:
            lab_database.start(self)
        self.run("slurmctld", "-f", self._conf)
        for node in self.nodes:
            self._start_slurmd(node)
        self.wait_for(self.is_idle, 30, "the nodes of the lab are idle")

    def _start_munge(self) -> None:
        munge = self.folder / "munge"
        key = munge / "key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o400)
        files = [f"--socket={munge}/socket", f"--pid-file={self.folder}/pid/munged", f"--log-file={munge}/log", f"--seed-file={munge}/seed"]
        self.run("munged", f"--key-file={key}", *files, "--num-threads=2")

    def _start_slurmd(self, node: str) -> None:
        (self.folder / "spool" / node).mkdir(exist_ok=True)
        self.run("slurmd", "-N", node, "-f", self._conf)

    def stop(self) -> None:
        """End every process of the lab and remove its folder; safe to call again."""
        if self._keeper.stdin is not None and not self._keeper.stdin.closed:
            self._keeper.stdin.close()
            self._keeper.wait(60)
            processes.tear_down(self.folder)  # nothing to do, unless the keeper has been killed

    # Faults

    def crash(self, node: str, *, noticed: bool = True) -> None:
        """Let a node lose its power: slurmd, its steps and the processes of its jobs die at once.

        In this order: a step that outlives its processes would report that they failed, and the job would not be requeued.

        Args:
            node: The node.
            noticed: Tell the controller, which else finds out by itself after some 30 s (SlurmdTimeout is 20).
        """
        self.kill_slurmd(node)
        processes.kill(lambda: processes.steps(self.folder, node))
        processes.kill(lambda: self.job_processes(node=node))
        if noticed:
            self.declare_down(node)

    def kill_slurmd(self, node: str) -> None:
        """Let only a node's slurmd die: the processes of its jobs live on, and go on after the node has been given up."""
        if processes.daemon(self.folder, f"slurmd.{node}") is None:
            raise LabError(f"no slurmd runs on {node}")
        processes.kill_daemon(self.folder, f"slurmd.{node}")

    def declare_down(self, node: str) -> None:
        """Let the controller give a node up: its jobs are requeued, as after SlurmdTimeout.

        A late answer of the node would bring it back, so this goes on until it stays down.
        """

        def stays_down() -> bool:
            self.run("scontrol", "update", f"nodename={node}", "state=down", "reason=crash")
            time.sleep(0.5)
            return self.run("sinfo", "-h", "-N", "-p", "main", "-n", node, "-o", "%T").startswith("down")

        self.wait_for(stays_down, 10, f"{node} is down")

    def boot(self, node: str) -> None:
        """Start the slurmd of a node again, if it does not run, and wait until jobs can be scheduled on it."""
        if processes.daemon(self.folder, f"slurmd.{node}") is None:
            self._start_slurmd(node)
        self.wait_for(lambda: self._up(node), 30, f"{node} is up")

    def _up(self, node: str) -> bool:
        state = self.run("sinfo", "-h", "-N", "-p", "main", "-n", node, "-o", "%T").strip()
        if state.startswith(("down", "drain")):
            self.run("scontrol", "update", f"nodename={node}", "state=resume", check=False)
        return state in {"idle", "mixed", "allocated", "completing"}

    def stop_controller(self) -> None:
        """End slurmctld; jobs run on, commands fail until `start_controller`."""
        processes.stop_daemon(self.folder, "slurmctld")

    def start_controller(self) -> None:
        """Start slurmctld from its saved state, with slurm.conf as it is now."""
        self.run("slurmctld", "-f", self._conf)
        self._wait_for_controller()
        for node in self.nodes:
            self.boot(node)

    def _wait_for_controller(self) -> None:
        self.wait_for(lambda: "UP" in self.run("scontrol", "ping", check=False), 30, "the controller answers")

    def is_idle(self) -> bool:
        """No job waits or runs, and every node is ready."""
        states = self.run("sinfo", "-h", "-N", "-p", "main", "-o", "%T", check=False).split()
        return states == ["idle"] * len(self.nodes) and not self.run("squeue", "-h").strip()

    def reset(self) -> None:
        """Cancel all jobs, boot all nodes and wait until the cluster is idle."""
        if processes.daemon(self.folder, "slurmctld") is None:
            self.start_controller()
        if jobs := set(self.run("squeue", "-h", "-o", "%A").split()):
            self.run("scancel", "--quiet", *jobs, check=False)
            processes.kill(self.job_processes)
        for node in self.nodes:
            self.boot(node)
        self.wait_for(self.is_idle, 60, "the lab is idle after all its jobs were cancelled")
        processes.kill(self.job_processes)  # those of a step that its slurmd has lost

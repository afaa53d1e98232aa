"""What a probe saw, judged."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

from lcm.offline import PREFETCH
from slurm.cluster import Cluster
from slurm.disk import Disk
from slurm.finding import Finding, failure, ok, warning
from slurm.policy import asks_requeue
from slurm.probe import Sight
from slurm.status import STALLED_AFTER_S
from slurm.visit import Visit

NETWORKED = ("nfs", "lustre", "gpfs", "beegfs", "ceph", "cifs", "smb", "panfs", "wekafs", "pvfs", "afs", "orangefs", "fuse.sshfs")
_LITTLE_GB, _NONE_GB = 20.0, 1.0
_FEW_INODES = 50_000
_SKEW_S = 5.0
_SLOW_REPLY_S = 30.0
_NAMED = 4  # packages named one by one


def judge_node(seen: Sight, cluster: Cluster) -> Iterator[Finding]:
    """Yield what is to be said of a place where jobs run: GPUs apart."""
    yield from _weights(seen)
    yield from judge_root(seen)
    yield _scratch(seen.scratch, cluster)


def judge_python(seen: Sight, here: Sight) -> Iterator[Finding]:
    """Compare a node's Python and packages with those of the login node."""
    if seen.python == here.python:
        yield ok("python", f"{seen.python} ({seen.executable}), as here")
    else:
        todo = "Results may differ, and pickles may not load: let profile (python, setup, container) and login node use one environment."
        yield warning("python", f"{seen.python} ({seen.executable}), but {here.python} here", todo)
    lacking = sorted(set(here.packages) - set(seen.packages))
    other = [f"{name} {seen.packages[name]} (here {here.packages[name]})" for name in sorted(here.packages.keys() & seen.packages.keys())
             if seen.packages[name] != here.packages[name]]  # fmt: skip
    if lacking:
        todo = "Install the project in the environment of the jobs, or name that of the login node (python, setup, container)."
        yield failure("packages", f"not on {seen.node}: {', '.join(lacking[:_NAMED])}", todo)
    elif other:
        todo = "Install the same versions on both: the codes of two versions may differ."
        yield warning("packages", f"{len(other)} differ: {'; '.join(other[:_NAMED])}", todo)
    else:
        yield ok("packages", f"{len(seen.packages)} packages, the same versions as here (torch {seen.packages.get('torch', '?')})")


def judge_gpus(sights: Sequence[Sight], cluster: Cluster) -> Iterator[Finding]:
    """Say whether each task computes on GPUs of its own."""
    wanted = cluster.gpus_per_task if cluster.kind == "slurm" else 0
    for seen in sights:
        yield _gpus(seen, wanted, f"task {seen.task} on {seen.node}" if cluster.kind == "slurm" else seen.node)
    owners = [(seen.node, gpu["uuid"]) for seen in sights for gpu in seen.gpus if gpu["uuid"]]
    if wanted and len(set(owners)) < len(owners):
        todo = "Use gpus_per_task (not gpus-per-node), or gres with its binding: else one GPU does all the work."
        yield warning("gpus", "several tasks see the same GPU", todo)


def judge_visit(visit: Visit, root: Path, cluster: Cluster) -> Iterator[Finding]:
    """Say what the meeting of login and compute node showed."""
    first = visit.sights[0]
    yield ok("probe", f"job {visit.job} spoke from {first.node} after {visit.started_s:.0f} s; {first.cpus} CPUs for a task")
    if not visit.read:
        todo = f"Use a folder that all nodes share and that shows what is new; {root} does not."
        yield failure("shared folder", f"what is written here is not seen on {first.node}", todo)
    elif visit.reply_s > _SLOW_REPLY_S:
        todo = "`status` will be as much behind. Nothing is lost."
        yield warning("shared folder", f"files are seen both ways, but only after {visit.reply_s:.0f} s", todo)
    else:
        yield ok("shared folder", f"files are seen both ways, within {visit.reply_s:.1f} s")
    yield _clock(visit)
    yield _usr2(visit)
    yield from _granted(visit, cluster)


def judge_root(seen: Sight) -> Iterator[Finding]:
    """Say whether a store can be made in the root folder."""
    root = seen.root
    if root.error:
        todo = "Use a folder that you may write to on all nodes (a container needs it bound, container_args)."
        yield failure("root folder", f"{root.path} cannot be written to on {seen.node}: {root.error}", todo)
        return
    yield ok("root folder", f"{root.path} is writable on {seen.node} ({root.type or 'unknown file system'})")
    if seen.rename_error:
        yield failure("rename", f"files cannot be replaced atomically: {seen.rename_error}", "Use another file system for the stores.")
    else:
        yield ok("rename", "atomic: readers see the old file or the new one")
    if seen.link_error:
        todo = "Nothing to do, but of two copies of a task the last may win rather than the first: prefer a file system with hard links."
        yield warning("hard links", f"none ({seen.link_error}); names are claimed by rename", todo)
    else:
        yield ok("hard links", "claim a name once: the first commit wins")
    if seen.lock_error:
        yield warning("locking", f"files cannot be locked ({seen.lock_error})", "Nothing relies on it; other programs may.")
    else:
        yield ok("locking", "works; nothing relies on it")
    yield _space(root)
    yield _inodes(root)


def examine_quota(root: Path) -> Iterator[Finding]:
    """Yield what the tools for quotas say, where they exist."""
    commands = [["lfs", "quota", "-q", str(root)], ["quota", "-w", "-p"]]
    for command in commands:
        if shutil.which(command[0]):
            try:
                said = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False).stdout
            except (OSError, subprocess.SubprocessError):
                continue
            yield from judge_quota(said)


def judge_quota(said: str) -> Iterator[Finding]:
    """Read a table of quotas: after the file system's name come used, quota, limit and grace, of kilobytes and then of files.

    Args:
        said: What `lfs quota -q` or `quota -w -p` printed.
    """
    for line in filter(str.strip, said.splitlines()):
        where, *words = line.split()
        numbers = [word.rstrip("*") for word in words]
        if len(numbers) < 8 or not all(number.isdigit() for number in (*numbers[0:3], *numbers[4:7])):
            continue
        for what, used, soft, hard in (("kB", *numbers[0:3]), ("files", *numbers[4:7])):
            limit = int(hard) or int(soft)
            if limit and int(used) > 0.9 * limit:
                todo = "Remove what is not needed, or ask for more, before a long generation."
                yield warning("quota", f"{where}: {int(used):,} of {limit:,} {what} used", todo)
            elif limit:
                yield ok("quota", f"{where}: {int(used):,} of {limit:,} {what} used")


def _weights(seen: Sight) -> Iterator[Finding]:
    if seen.weights_error:
        todo = f"Run `{PREFETCH}` on the login node, into a folder that the nodes share (TORCH_HOME, codec.folder, teacher.checkpoint)."
        yield failure("weights", f"cannot be loaded on {seen.node}: {seen.weights_error}", todo)
    else:
        yield ok("weights", f"load on {seen.node}: {'; '.join(seen.weights)}")
    if seen.reached:
        yield failure("network", f"loading reached for {seen.reached[0]}", f"Run `{PREFETCH}` on the login node.")
    elif not seen.weights_error:
        yield ok("network", "not needed: all was loaded with every connection refused")


def _gpus(seen: Sight, wanted: int, who: str) -> Finding:
    names = ", ".join(f"{gpu['name']} {gpu['gb']:.0f} GB" for gpu in seen.gpus)
    if seen.gpu_error:
        todo = "Install a torch that fits this GPU and its driver, or keep off the node (cluster.exclude)."
        return failure("gpus", f"{who}: {names or 'torch'} fails: {seen.gpu_error}", todo)
    if not wanted:
        return ok("gpus", f"{who}: {names or 'none, work is done on the CPU'}")
    if not seen.gpus:
        build = f"torch is built for CUDA {seen.torch_cuda}" if seen.torch_cuda else "torch is a build for CPUs"
        visible = f"CUDA_VISIBLE_DEVICES={seen.visible!r}"
        todo = "Install torch's CUDA build there; in a container pass --nv; on the node see `nvidia-smi`. Or set cluster.gpus_per_task=0."
        return failure("gpus", f"{who}: torch sees none of {wanted} ({build}, {visible})", todo)
    if len(seen.gpus) != wanted:
        todo = "Make gpus_per_task, tasks_per_node and gres agree: each task should see its own GPUs only."
        return warning("gpus", f"{who}: torch sees {len(seen.gpus)} instead of {wanted}: {names}", todo)
    return ok("gpus", f"{who}: {names}")


def _scratch(disk: Disk | None, cluster: Cluster) -> Finding:
    if disk is None:
        return ok("scratch", "not examined")
    if disk.error and cluster.scratch:
        todo = "Set cluster.scratch to a folder on the node's own disk, or leave it empty."
        return failure("scratch", f"{disk.path}: {disk.error}", todo)
    said = f"{disk.path}, {disk.free_gb:.0f} GB free ({disk.type or 'unknown file system'})"
    if not cluster.scratch:
        return ok("scratch", f"none in the profile: stores are read where they lie. Temporary files go to {said}")
    if disk.type.startswith(NETWORKED):
        todo = "Copies there gain nothing: name a disk of the node's own, or leave it empty."
        return warning("scratch", f"{said}, which is not the node's own", todo)
    return ok("scratch", said)


def _space(disk: Disk) -> Finding:
    said = f"{disk.free_gb:,.1f} GB free in {disk.path}"
    todo = "Free some, or use another folder; `plan` says how much a store takes."
    if disk.free_gb < _NONE_GB:
        return failure("free space", said, todo)
    return warning("free space", said, todo) if disk.free_gb < _LITTLE_GB else ok("free space", said)


def _inodes(disk: Disk) -> Finding:
    if disk.inodes is None:
        return ok("inodes", "this file system does not count them")
    if disk.inodes < _FEW_INODES:
        todo = "A store takes some files a shard while it is made: free some, or plan fewer shards."
        return warning("inodes", f"{disk.inodes:,} more files can be made in {disk.path}", todo)
    return ok("inodes", f"{disk.inodes:,} more files can be made")


def _clock(visit: Visit) -> Finding:
    if visit.skew_s is None:
        return warning("clock", "the node's clock was not read", "Run doctor again.")
    unsure = visit.reply_s / 2
    said = f"the node's is {visit.skew_s:+.1f} s off this one's, give or take {unsure:.1f} s"
    surely = abs(visit.skew_s) - unsure
    todo = "Ask the administrators to set the clocks (NTP): heartbeats are compared by wall clock."
    if surely > STALLED_AFTER_S / 2:
        return failure("clock", f"{said}: running shards would look stalled, or stalled ones alive", todo)
    return warning("clock", said, todo) if surely > _SKEW_S else ok("clock", said)


def _usr2(visit: Visit) -> Finding:
    if any(seen.orphaned for seen in visit.sights):
        todo = "A job would be over in the middle of its work. Let what setup, python or container name start Python by `exec`."
        return failure("signals", "USR2 ended the script that started Python", todo)
    deaf = [str(seen.task) for seen in visit.sights if not seen.usr2]
    if deaf:
        todo = "What a task made stays; but start Python by `exec` in setup, python or container, so that it gets signals."
        return warning("signals", f"USR2 did not reach task {', '.join(deaf)}: it will not know of a time limit before it comes", todo)
    return ok("signals", "the tasks get USR2, as SLURM sends it before a time limit and on preemption")


def _granted(visit: Visit, cluster: Cluster) -> Iterator[Finding]:
    if not asks_requeue(cluster):
        return
    if visit.granted.get("Requeue") == "0":
        todo = "Submit again when jobs were interrupted: only what is missing is made. Or ask the administrators why --requeue is dropped."
        yield warning("requeue", "asked for, but SLURM did not grant it to the probe job", todo)
    else:
        yield ok("requeue", "granted to the probe job")

"""What a cluster gives and asks for: a profile, read from YAML, checked before anything is submitted."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

from slurm.profiles import ClusterError, check_keys, did_you_mean, read_profile
from slurm.sbatch import make_executor, python_command, sbatch_text, submitit_parameters

__all__ = ["Cluster", "ClusterError", "light", "load_cluster", "make_executor", "python_command", "sbatch_text", "submitit_parameters"]

KINDS = ("local", "slurm")
PRECISIONS = ("", "32-true", "16-mixed", "bf16-mixed")
_LEAST = {
    "nodes": 1, "tasks_per_node": 1, "gpus_per_task": 0, "cpus_per_task": 1, "mem_gb": 0, "signal_s": 0, "max_parallel": 1,
    "shards_per_task": 1, "max_array_size": 0, "sbatch_every_s": 0, "threads": 0, "processes": 0,
}  # fmt: skip
# what this project itself says to sbatch: a flag that contradicted it would lose results or logs
_OURS = {
    "array": "max_parallel", "signal": "signal_s", "output": "", "error": "", "open_mode": "", "dependency": "", "chdir": "", "wrap": "",
    "job_name": "",
}  # fmt: skip
_FIELDS = {
    "time": "time", "mem": "mem_gb", "nodes": "nodes", "ntasks_per_node": "tasks_per_node", "cpus_per_task": "cpus_per_task",
    "partition": "partition", "account": "account", "qos": "qos", "constraint": "constraint", "gres": "gres", "exclude": "exclude",
    "nodelist": "nodelist",
}  # fmt: skip
_NEEDED = {"time", "nodes"}  # left out, submitit's own defaults would stand: five minutes, one node
_OF_A_JOB = (
    "partition", "account", "qos", "constraint", "gres", "exclude", "nodelist", "cpus_per_task", "mem_gb", "time", "threads",
    "setup", "container", "container_args", "python", "env", "flags",
)  # fmt: skip
_LIGHT_GB = 16.0  # more than the largest merge takes: one shard at a time is in memory


@dataclass
class Cluster:
    """A cluster profile. clusters/template.yaml explains each field to its user.

    Attributes:
        name: Name of the profile.
        kind: `local` (processes of this machine) or `slurm`.
        partition, account, qos, constraint, gres, exclude, nodelist: As sbatch takes them; empty leaves one out.
        nodes: Nodes of a job (of an element of an array).
        tasks_per_node: Tasks of a job on each node.
        gpus_per_task: GPUs that each task sees, its own; 0 is a job without GPU.
        cpus_per_task: CPUs of a task.
        mem_gb: Memory of a node in GB; 0 asks for all that it has.
        time: Time limit: D-HH:MM:SS, HH:MM:SS, MM:SS or minutes.
        signal_s: Seconds before the limit at which tasks are told (USR2).
        max_parallel: Jobs of an array that run at once.
        shards_per_task: Shards that a task makes, one after another.
        max_array_size: As the cluster's MaxArraySize; 0 asks scontrol.
        sbatch_every_s: Least seconds between two calls of sbatch.
        threads: Threads of a task's libraries; 0 is cpus_per_task.
        setup: Lines of bash before the task, such as `module load`.
        container: Image that the task runs in; empty is none.
        container_args: Arguments for the container, such as `--bind /data`.
        python: Command of the interpreter on the node; empty is the one that submits, or `python` in a container.
        env: Variables that a job exports; may name others of the job, such as $TMPDIR.
        flags: Further flags of sbatch by name; true gives a flag without value, false or null leaves one out.
        scratch: Folder on the node's own disk for copies of stores; may name $TMPDIR. Empty stages nothing.
        precision: What `train.precision=auto` means on its GPUs, such as `16-mixed`; empty: found out on the node.
        umask: Mask of new files, octal digits; empty keeps the user's.
        group: Unix group that a new store is given to; empty keeps the user's.
        processes: For kind local: processes at once; 0 is one a GPU, else one.
        light: Fields that differ for jobs without GPU, such as merging.
    """

    name: str = "local"
    kind: str = "local"
    partition: str = ""
    account: str = ""
    qos: str = ""
    constraint: str = ""
    gres: str = ""
    exclude: str = ""
    nodelist: str = ""
    nodes: int = 1
    tasks_per_node: int = 1
    gpus_per_task: int = 1
    cpus_per_task: int = 4
    mem_gb: float = 16.0
    time: str = "04:00:00"
    signal_s: int = 120
    max_parallel: int = 64
    shards_per_task: int = 4
    max_array_size: int = 0
    sbatch_every_s: float = 1.0
    threads: int = 0
    setup: list[str] = field(default_factory=list)
    container: str = ""
    container_args: str = ""
    python: str = ""
    env: dict[str, str] = field(default_factory=dict)
    flags: dict[str, Any] = field(default_factory=dict)
    scratch: str = ""
    precision: str = ""
    umask: str = ""
    group: str = ""
    processes: int = 0
    light: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        where = f"the cluster profile {self.name!r}"
        for entry in fields(self):
            setattr(self, entry.name, _typed(entry.name, getattr(self, entry.name), str(entry.type), where))
        _check(self, where)

    @property
    def time_min(self) -> int:
        """Time limit in minutes, rounded up as SLURM does."""
        return time_min(self.time)

    @property
    def tasks(self) -> int:
        """Tasks of one job."""
        return self.nodes * self.tasks_per_node


def load_cluster(name: str, overrides: Sequence[str] = ()) -> Cluster:
    """Read a cluster profile.

    Args:
        name: A profile that ships, or one in a folder of `LCM_CLUSTERS` or ~/.config/lcm/clusters, or a path that ends in .yaml.
        overrides: Words over it, such as `partition=high` or `flags.reservation=night`.

    Raises:
        ClusterError: No such profile, an unknown key or a wrong value; each is named with what is valid.
    """
    values, where = read_profile(name, overrides, [entry.name for entry in fields(Cluster)])
    try:
        return Cluster(**values)
    except ClusterError as error:
        raise ClusterError(f"{error} Read from {where}.") from None


def light(cluster: Cluster) -> Cluster:
    """Return the profile of a job without GPU, such as merging: `light` over the rest, one task, at most 16 GB."""
    plain: dict[str, Any] = {"gpus_per_task": 0, "nodes": 1, "tasks_per_node": 1, "mem_gb": min(cluster.mem_gb, _LIGHT_GB) or _LIGHT_GB}
    plain["gres"] = ",".join(part for part in cluster.gres.split(",") if not part.startswith("gpu"))
    plain["flags"] = {name: value for name, value in cluster.flags.items() if "gpu" not in name}
    return replace(cluster, **{**plain, **cluster.light, "light": {}})


def time_min(time: str) -> int:
    """Return a time limit in minutes, rounded up.

    Args:
        time: D-HH:MM:SS, D-HH:MM, D-HH, HH:MM:SS, MM:SS or minutes, as sbatch takes it.

    Raises:
        ClusterError: It is none of these, or 0.
    """
    days, dash, clock = time.rpartition("-")
    parts = clock.split(":")
    if not re.fullmatch(r"(\d+-)?\d+(:\d+){0,2}", time):
        raise ClusterError(f"time={time!r} is no time limit. Write D-HH:MM:SS, HH:MM:SS, MM:SS or minutes.")
    # after days the first number is hours; without, a lone one is minutes
    seconds_each = (3600, 60, 1) if dash or len(parts) == 3 else (60, 1)
    seconds = int(days or 0) * 86400 + sum(int(part) * each for part, each in zip(parts, seconds_each, strict=False))
    if not seconds:
        raise ClusterError(f"time={time!r} is no time at all.")
    return math.ceil(seconds / 60)


def _typed(name: str, value: Any, kind: str, where: str) -> Any:
    """Return a value as its field's type; a number is taken for text, not text for a number."""
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if kind == "str" and (isinstance(value, str) or number):
        return str(value)
    if kind == "int" and number and value == int(value):
        return int(value)
    if kind == "float" and number and math.isfinite(value):
        return float(value)
    if kind == "list[str]" and isinstance(value, list) and all(isinstance(line, str) for line in value):
        return list(value)
    if kind.startswith("dict") and isinstance(value, dict):
        plain = {str(key): inner for key, inner in value.items()}
        return plain if kind == "dict[str, Any]" else {key: _typed(f"{name}.{key}", inner, "str", where) for key, inner in plain.items()}
    expected = {"str": "text", "int": "a whole number", "float": "a number", "list[str]": "a list of lines of text"}
    raise ClusterError(f"{name}={value!r} in {where} is not {expected.get(kind, 'a table of `key: value`')}.")


def _check(cluster: Cluster, where: str) -> None:
    if cluster.kind not in KINDS:
        raise ClusterError(f"kind={cluster.kind!r} in {where}: choose {' or '.join(KINDS)}.{did_you_mean(cluster.kind, KINDS)}")
    for name, least in _LEAST.items():
        if getattr(cluster, name) < least:
            raise ClusterError(f"{name}={getattr(cluster, name)} in {where}: at least {least}.")
    if cluster.precision not in PRECISIONS:
        raise ClusterError(f"precision={cluster.precision!r} in {where}: choose one of {', '.join(PRECISIONS[1:])}, or leave it empty.")
    if cluster.umask and not re.fullmatch(r"[0-7]{3,4}", cluster.umask):
        raise ClusterError(f'umask={cluster.umask!r} in {where}: write three octal digits, such as "002".')
    if cluster.kind == "slurm" and cluster.signal_s >= cluster.time_min * 60:
        raise ClusterError(f"signal_s={cluster.signal_s} in {where} is not below the time limit, {cluster.time_min * 60} s.")
    _check_gpus(cluster, where)
    _check_flags(cluster, where)
    check_keys(cluster.light, _OF_A_JOB, f"`light` of {where}")
    if cluster.light:
        light(cluster)  # its values are checked now, not when generation has ended and merging begins


def _check_gpus(cluster: Cluster, where: str) -> None:
    counts = [int(part.rpartition(":")[2]) for part in cluster.gres.split(",") if re.fullmatch(r"gpu(:[^:]+)?:\d+", part)]
    asked = cluster.tasks_per_node * cluster.gpus_per_task
    if counts and asked and sum(counts) != asked:
        raise ClusterError(
            f"gres={cluster.gres!r} in {where} asks for {sum(counts)} GPUs a node, but tasks_per_node={cluster.tasks_per_node} tasks "
            f"with gpus_per_task={cluster.gpus_per_task} need {asked}. Make them agree."
        )


def _check_flags(cluster: Cluster, where: str) -> None:
    for flag, value in cluster.flags.items():
        name = flag.lstrip("-").replace("-", "_")
        if isinstance(value, (dict, list)):
            raise ClusterError(f"flags.{flag}={value!r} in {where}: expected text, a number, true, false or null.")
        if name in _FIELDS and (name in _NEEDED or not (value is None or value is False)):
            raise ClusterError(f"flags.{flag} in {where}: there is a field for it, {_FIELDS[name]}.")
        if name in _OURS:
            instead = f" Use {_OURS[name]}." if _OURS[name] else ""
            raise ClusterError(f"flags.{flag} in {where}: submission sets --{name.replace('_', '-')} itself.{instead}")

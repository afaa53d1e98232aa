"""What SLURM's settings say to a cluster profile, asked from the login node without submitting anything."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from slurm import scheduler
from slurm.accounting import examine_accounting
from slurm.cluster import Cluster, light, sbatch_text
from slurm.finding import Finding, failure, ok, warning
from slurm.profiles import did_you_mean
from slurm.scheduler import NodeKind, Partition, SchedulerError

_KILL_WAIT_S = 10  # less than it takes to write a shard of hundreds of clips


def examine_policy(cluster: Cluster) -> Iterator[Finding]:
    """Yield what the controller says to a profile.

    Raises:
        SchedulerError: The controller stopped answering.
    """
    known = scheduler.settings()
    yield ok("controller", f"cluster {known.get('ClusterName', '?')}, SLURM {known.get('SLURM_VERSION', '?')}")
    there = scheduler.partitions()
    yield from _partition(cluster, there)
    yield from examine_accounting(cluster, known)
    yield _array(cluster, known)
    yield _requeue(cluster, known)
    if chosen := _chosen(cluster, there):
        yield _preemption(known, chosen)
    yield _kill_wait(known)
    yield _accepted("sbatch", cluster)
    yield _accepted("sbatch of jobs without GPU", light(cluster))


def _chosen(cluster: Cluster, there: Sequence[Partition]) -> list[Partition]:
    """Return the partitions that the profile names, or the default."""
    named = {name.strip() for name in cluster.partition.split(",") if name.strip()}
    return [partition for partition in there if (partition.name in named if named else partition.default)]


def _partition(cluster: Cluster, there: Sequence[Partition]) -> Iterator[Finding]:
    names = [partition.name for partition in there]
    chosen = _chosen(cluster, there)
    for name in filter(None, (word.strip() for word in cluster.partition.split(","))):
        if name not in names:
            todo = f"Set cluster.partition to one that you may use: {', '.join(names)}.{did_you_mean(name, names)}"
            yield failure("partition", f"there is no partition {name!r} for this user", todo)
    if not cluster.partition and not chosen:
        yield failure("partition", "the profile names none and the cluster has no default", f"Set cluster.partition: {', '.join(names)}.")
    for partition in chosen:
        yield _up(partition)
        yield _time(cluster, partition)
        yield from _nodes(cluster, partition)


def _up(partition: Partition) -> Finding:
    usable = sum(kind.nodes for kind in partition.kinds if kind.usable)
    if partition.state != "up":
        todo = "Jobs wait until an administrator opens it: choose another by cluster.partition, or wait."
        return failure("partition", f"{partition.name} is {partition.state}", todo)
    if not usable:
        states = ", ".join(sorted({kind.state for kind in partition.kinds}))
        said = f"{partition.name} is up, but none of its {partition.nodes} nodes is usable ({states})"
        return warning("partition", said, "`sinfo -R` says why: wait, or choose another by cluster.partition.")
    return ok("partition", f"{partition.name} is up, {usable} of {partition.nodes} nodes usable")


def _time(cluster: Cluster, partition: Partition) -> Finding:
    limit = partition.time_min
    if limit is not None and cluster.time_min > limit:
        said = f"time {cluster.time} is {cluster.time_min} min, but {partition.name} ends jobs after {limit} min"
        return failure("time limit", said, f"Set cluster.time={limit} or less: what is not done by then goes on in the next attempt.")
    return ok("time limit", f"{cluster.time} of {'no limit' if limit is None else f'{limit} min'} in {partition.name}")


def _nodes(cluster: Cluster, partition: Partition) -> Iterator[Finding]:
    """Say whether nodes have what a job asks of each: generic resources, then CPUs and memory."""
    asked = _asked(cluster)
    there = ", ".join(f"{name}:{count}" for name, count in partition.gres.items()) or "none"
    fit = [kind for kind in partition.kinds if _has(kind, asked)]
    wanted = ", ".join(f"{name}:{count}" for name, count in asked.items()) or "no GPU"
    if not fit:
        todo = "Set cluster.gres, gpus_per_task and tasks_per_node to what a node has, or choose another partition."
        yield failure("gres", f"no node of {partition.name} has {wanted}; the most a node has: {there}", todo)
        return
    count = sum(kind.nodes for kind in fit)
    yield ok("gres", f"{wanted} a node: {count} of {partition.nodes} nodes of {partition.name} have it; the most a node has: {there}")
    cpus = cluster.tasks_per_node * cluster.cpus_per_task
    enough = sum(kind.nodes for kind in fit if kind.cpus >= cpus and kind.mem_gb >= cluster.mem_gb)
    said = f"{cpus} CPUs and {cluster.mem_gb:g} GB a node"
    if enough < cluster.nodes:
        most = f"{max(kind.cpus for kind in fit)} CPUs and {max(kind.mem_gb for kind in fit):.1f} GB"
        todo = "Lower cluster.cpus_per_task or cluster.mem_gb, or the tasks of a node."
        yield failure("cpus and memory", f"{said}: {enough} nodes of {partition.name} have that; the most: {most}", todo)
    else:
        yield ok("cpus and memory", f"{said}: {enough} nodes of {partition.name} have that")


def _asked(cluster: Cluster) -> dict[str, int]:
    """Return the generic resources that a job asks of a node."""
    asked: dict[str, int] = {}
    for word in filter(None, cluster.gres.split(",")):
        name, _, count = word.rpartition(":")
        asked.update({name: int(count)} if name and count.isdigit() else {word: 1})
    if not any(name.split(":")[0] == "gpu" for name in asked) and cluster.gpus_per_task:
        asked["gpu"] = cluster.gpus_per_task * cluster.tasks_per_node
    return asked


def _has(kind: NodeKind, asked: Mapping[str, int]) -> bool:
    """Say whether a node has resources; one asked without a type is met by all types together."""
    return all(
        sum(count for name, count in kind.gres.items() if name == wanted or (":" not in wanted and name.split(":")[0] == wanted)) >= least
        for wanted, least in asked.items()
    )


def _array(cluster: Cluster, known: Mapping[str, str]) -> Finding:
    said = known.get("MaxArraySize", "")
    largest = int(said) if said.isdigit() else 0
    if largest < 2:
        todo = "Ask the administrators for MaxArraySize=1001, SLURM's default."
        return failure("array size", f"MaxArraySize is {said or 'not known'}: no job arrays", todo)
    if cluster.max_array_size > largest:
        todo = f"Set cluster.max_array_size=0 (ask SLURM), or at most {largest}."
        return failure("array size", f"max_array_size={cluster.max_array_size} in the profile, but SLURM's is {largest}", todo)
    return ok("array size", f"MaxArraySize {largest}: longer arrays are split; MaxJobCount {known.get('MaxJobCount', '?')}")


def asks_requeue(cluster: Cluster) -> bool:
    """Say whether jobs ask SLURM to be requeued: they do unless a flag of the profile says otherwise."""
    flags = {name.lstrip("-").replace("_", "-"): value for name, value in cluster.flags.items()}
    return not flags.get("no-requeue") and flags.get("requeue", True) not in (False, None)


def _requeue(cluster: Cluster, known: Mapping[str, str]) -> Finding:
    if not asks_requeue(cluster):
        return warning("requeue", "the profile's flags forbid it: a job that is interrupted stays ended", "Submit again for what is left.")
    default = "is SLURM's default" if known.get("JobRequeue") == "1" else "is not SLURM's default, but jobs ask for it"
    return ok("requeue", f"allowed: it {default}; the probe job says whether that is granted")


def _preemption(known: Mapping[str, str], chosen: Sequence[Partition]) -> Finding:
    if known.get("PreemptType", "preempt/none") in {"preempt/none", "(null)"}:
        return ok("preemption", "off: no job has to make way")
    rules = [_rules(partition.name) for partition in chosen]
    modes = sorted({rule.get("PreemptMode", known.get("PreemptMode", "?")).split(",")[-1] for rule in rules})
    grace = " or ".join(sorted({rule.get("GraceTime", "0") for rule in rules}))
    if modes == ["OFF"]:
        return ok("preemption", "not in this partition")
    if "SUSPEND" in modes or "GANG" in modes:
        return warning("preemption", "preempted jobs are suspended: `status` will show them as stalled", "They go on by themselves: wait.")
    if "CANCEL" in modes:
        return warning("preemption", "preempted jobs are cancelled, not requeued", "Submit again for what is left; only that is made.")
    if "preempt_send_user_signal" not in known.get("SlurmctldParameters", ""):
        said = "preempted jobs are told by TERM only, and requeued by SLURM"
        todo = "Nothing is lost. SlurmctldParameters=preempt_send_user_signal would tell them by USR2: ask the administrators."
        return warning("preemption", said, todo)
    return ok("preemption", f"preempted jobs are told by USR2 (preempt_send_user_signal), have {grace} s, and are requeued")


def _rules(partition: str) -> dict[str, str]:
    said = scheduler.run(["scontrol", "show", "partition", "-o", partition])
    return dict(re.findall(r"(\w+)=(\S*)", said))


def _kill_wait(known: Mapping[str, str]) -> Finding:
    said = known.get("KillWait", "30 sec")
    found = re.match(r"\d+", said)
    if found and int(found[0]) < _KILL_WAIT_S:
        todo = "At most the last record is lost. Ask the administrators for KillWait=30, SLURM's default."
        return warning("kill wait", f"{said} between TERM and KILL: less than {_KILL_WAIT_S} s", todo)
    return ok("kill wait", f"{said} between TERM and KILL")


def _accepted(name: str, cluster: Cluster) -> Finding:
    """Let sbatch itself judge the script that would be submitted; nothing is submitted."""
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "script.sh"
        script.write_text(sbatch_text(cluster, name="lcm-doctor", elements=1, parallel=1, folder=folder), encoding="utf-8")
        try:
            said = scheduler.run(["sbatch", "--test-only", str(script)], also_errors=True)
        except SchedulerError as error:
            todo = "SLURM refuses the profile as it stands: change what it names; `plan` prints the whole script."
            return failure(name, error.said or str(error), todo)
    found = re.search(r"to start at (\S+) .*? on nodes? (\S+)", said)
    return ok(name, f"accepts the profile: a job would start at {found[1]} on {found[2]}" if found else "accepts the profile")

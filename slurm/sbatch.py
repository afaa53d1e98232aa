"""What sbatch is told: a cluster profile as submitit's parameters, and the text of the batch script without submitting it."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slurm.profiles import ClusterError, words

if TYPE_CHECKING:
    from slurm.cluster import Cluster

# tasks of a job are separate: one that fails must not take the other with it, however the site has set KillOnBadExit
_SRUN = ("--kill-on-bad-exit=0", "--wait=0")
_LIBRARIES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
_RUNTIME = '"$(command -v apptainer || command -v singularity || echo apptainer-or-singularity-missing)"'


def sbatch_parameters(
    cluster: Cluster,
    *,
    name: str,
    parallel: int = 1,
    dependency: str = "",
    exclude: Sequence[str] = (),
    setup: Sequence[str] = (),
) -> dict[str, Any]:
    """Return a profile as the arguments of `submitit.SlurmExecutor.update_parameters`.

    Args:
        cluster: A profile of kind slurm.
        name: Name of the job.
        parallel: Elements of the array that run at once, at most `cluster.max_parallel`.
        dependency: As sbatch takes it, such as `afterany:123`.
        exclude: Nodes to keep off, beside those of the profile.
        setup: Further lines of bash, after those of the profile.

    Raises:
        ClusterError: The profile is not one of SLURM.
    """
    if cluster.kind != "slurm":
        raise ClusterError(f"The cluster profile {cluster.name!r} is of kind {cluster.kind!r}: nothing of it goes to sbatch.")
    parameters: dict[str, Any] = {
        "job_name": name,
        "time": cluster.time_min,
        "nodes": cluster.nodes,
        "ntasks_per_node": cluster.tasks_per_node,
        "cpus_per_task": cluster.cpus_per_task,
        "mem": f"{round(cluster.mem_gb * 1024)}M",
        "signal_delay_s": cluster.signal_s,
        "array_parallelism": max(1, min(parallel, cluster.max_parallel)),
        "exclude": ",".join(words([cluster.exclude, *exclude])),
        "dependency": dependency,
        # srun inside a job no longer takes --cpus-per-task from it (SLURM 22.05), which would leave each task one CPU
        "srun_args": [*_SRUN, f"--cpus-per-task={cluster.cpus_per_task}"],
        "setup": [*_setup(cluster), *setup],
    }
    parameters.update({key: getattr(cluster, key) for key in ("partition", "account", "qos", "constraint", "nodelist")})
    kill = {"kill-on-invalid-dep": "yes"} if dependency else {}  # what can never start must not wait for ever
    extra: dict[str, Any] = {"requeue": True, **kill, **_gpus(cluster), **_flags(cluster)}
    dropped = {key for key, value in extra.items() if value is None or value is False}  # not 0: --nice=0 means something
    parameters["additional_parameters"] = {key: value for key, value in extra.items() if key not in dropped and value != ""}
    return {key: value for key, value in parameters.items() if value != "" and key not in dropped}


def submitit_parameters(cluster: Cluster, *, name: str, parallel: int = 1, **more: Any) -> dict[str, Any]:
    """Return a profile as the arguments of `update_parameters` of a `submitit.AutoExecutor(cluster="slurm")`.

    Prefer `make_executor`: submitit adds `--wckey=submitit`, which a site that checks wckeys refuses, and arguments cannot take it out.

    Args:
        cluster: A profile of kind slurm.
        name: Name of the job.
        parallel: Elements of the array that run at once, at most `cluster.max_parallel`.
        more: Further arguments of `sbatch_parameters`.

    Raises:
        ClusterError: The profile is not one of SLURM.
    """
    return {f"slurm_{key}": value for key, value in sbatch_parameters(cluster, name=name, parallel=parallel, **more).items()}


def make_executor(cluster: Cluster, folder: Path, *, name: str, parallel: int = 1, **more: Any) -> Any:
    """Return a `submitit.SlurmExecutor` for a profile; it needs srun on the path.

    Args:
        cluster: A profile of kind slurm.
        folder: Where submitit keeps pickles, scripts and logs; fresh for each submission, and on a disk that nodes share.
        name: Name of the job.
        parallel: Elements of the array that run at once, at most `cluster.max_parallel`.
        more: Further arguments of `sbatch_parameters`.

    Raises:
        ClusterError: The profile is not one of SLURM.
    """
    import submitit

    executor = submitit.SlurmExecutor(folder=folder, python=python_command(cluster))
    executor.update_parameters(**_for_script(cluster, name=name, parallel=parallel, **more))
    return executor


def sbatch_text(cluster: Cluster, *, name: str, elements: int, parallel: int, command: str = "", folder: Path | str, **more: Any) -> str:
    """Return the batch script that submitit would submit, also on a machine without SLURM.

    Args:
        cluster: A profile of kind slurm.
        name: Name of the job.
        elements: Elements of the array; 1 is a job without array.
        parallel: Elements of the array that run at once.
        command: Command of a task, bash; empty is submitit's own.
        folder: Folder of the submission.
        more: Further arguments of `sbatch_parameters`.

    Raises:
        ClusterError: The profile is not one of SLURM.
    """
    from submitit.slurm.slurm import _make_sbatch_string  # the one place that makes it; its class refuses to exist without srun

    folder = Path(folder).expanduser().absolute()
    command = command or f"{python_command(cluster)} -u -m submitit.core._submit {shlex.quote(str(folder))}"
    parameters = _for_script(cluster, name=name, parallel=parallel, **more)
    return str(_make_sbatch_string(command=command, folder=folder, map_count=elements if elements > 1 else None, **parameters))


# Until Python listens, USR2 would end it, and a job that fails is not requeued; what is ignored stays so over exec.
_DEAF = """bash -c 'trap "" USR2; exec "$@"' bash """


def python_command(cluster: Cluster) -> str:
    """Return the command that starts Python on a node, for bash."""
    gpus = has_gpus(cluster)
    # where a site does not fence GPUs, a job without one must not use another's; SLURM removes the variable from what srun starts
    hidden = "" if gpus else "env CUDA_VISIBLE_DEVICES= "
    if cluster.container:
        parts = [_RUNTIME, "exec", "--nv" if gpus else "", cluster.container_args, _double_quoted(cluster.container)]
        return _DEAF + hidden + " ".join(part for part in [*parts, cluster.python or "python"] if part)
    return _DEAF + hidden + (cluster.python or shlex.quote(sys.executable))


def _for_script(cluster: Cluster, **arguments: Any) -> dict[str, Any]:
    return {"wckey": None, **sbatch_parameters(cluster, **arguments)}  # submitit's own is --wckey=submitit


def has_gpus(cluster: Cluster) -> bool:
    """Say whether a profile asks for GPUs, in any of the ways there are."""
    return bool(cluster.gpus_per_task) or "gpu" in cluster.gres or any("gpu" in flag for flag in cluster.flags)


def _gpus(cluster: Cluster) -> dict[str, Any]:
    """Return what gives each task GPUs of its own.

    sbatch refuses a typed --gres beside --gpus-per-task, and tasks of --gpus-per-task=TYPE:1 saw no GPU at all (SLURM 22.05): where the
    profile names GPUs in gres, tasks are bound to their share of them instead.
    """
    if not cluster.gpus_per_task:
        return {"gres": cluster.gres}
    if re.search(r"(^|,)gpu\b", cluster.gres):
        return {"gres": cluster.gres, "gpu_bind": f"per_task:{cluster.gpus_per_task}"}
    return {"gres": cluster.gres, "gpus_per_task": cluster.gpus_per_task}


def _flags(cluster: Cluster) -> dict[str, Any]:
    """Return the profile's flags by the names that submitit gives them, so that one replaces its default rather than standing beside it."""
    return {flag.lstrip("-").replace("-", "_"): value for flag, value in cluster.flags.items()}


def _setup(cluster: Cluster) -> list[str]:
    """Return the lines of bash before the task: mask, the profile's lines, then variables, which modules may have changed."""
    lines = [f"umask {cluster.umask}"] if cluster.umask else []
    lines += cluster.setup
    lines += [f"export {library}={cluster.threads or cluster.cpus_per_task}" for library in _LIBRARIES]
    return lines + [f"export {name}={_double_quoted(value)}" for name, value in cluster.env.items()]


def _double_quoted(text: str) -> str:
    """Quote for bash so that $VARIABLES of the job are still replaced, and nothing else is."""
    escaped = re.sub(r'([\\"`]|\$\()', r"\\\1", text)
    return f'"{escaped}"'

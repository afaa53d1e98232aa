"""What a profile asks for is what tasks get, on a real SLURM."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import cloudpickle
import pytest

from slurm.cluster import light, load_cluster, make_executor, sbatch_text

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # a node cannot import a test

OURS = ["partition=main", "mem_gb=1", "cpus_per_task=2", "time=00:05:00"]


def look(number):
    """Say what a task sees."""
    mask = os.umask(0)
    os.umask(mask)
    names = ("SLURMD_NODENAME", "CUDA_VISIBLE_DEVICES", "SLURM_CPUS_PER_TASK", "OMP_NUM_THREADS", "FROM_SETUP", "FROM_ENV")
    time.sleep(1)  # so that elements do not all fit on one node, one after the other
    return {**{name: os.environ.get(name) for name in names}, "mask": mask, "folder": str(Path.cwd()), "number": number}


def fail_or_write(path):
    """Let task 0 fail at once and task 1 work on."""
    if os.environ["SLURM_PROCID"] == "0":
        raise ValueError("task 0 fails")
    time.sleep(3)
    path.write_text("task 1 went on")


def outputs(lab, jobs, folder, tasks):
    """Results by task, read from disk: without accounting submitit does not know when a job has ended."""
    results = [folder / f"{job.job_id}_{task}_result.pkl" for job in jobs for task in range(tasks)]
    lab.wait_for(lambda: all(path.exists() for path in results), 60, "every task has left its result")
    return [result for job in jobs for result in (job.results() if tasks > 1 else [job.result()])]


def submit(lab, folder, *overrides, elements=1, cluster=None, **more):
    cluster = cluster or load_cluster("2x48gb", [*OURS, *overrides])
    executor = make_executor(cluster, folder, name="look", parallel=2, **more)
    with executor.batch():
        jobs = [executor.submit(look, number) for number in range(elements)]
    return outputs(lab, jobs, folder, cluster.tasks)


@pytest.mark.parametrize("gres", ["", "gpu:rtx8000:2"])
def test_each_task_of_a_node_sees_one_gpu_of_its_own(lab, tmp_path, gres):
    seen = submit(lab, tmp_path / "logs", f"gres={gres}", elements=3)
    assert [(task["number"], task["CUDA_VISIBLE_DEVICES"]) for task in seen] == [(n, gpu) for n in range(3) for gpu in "01"]


def test_a_task_of_two_gpus_sees_both(lab, tmp_path):
    assert submit(lab, tmp_path / "logs", "tasks_per_node=1", "gpus_per_task=2")[0]["CUDA_VISIBLE_DEVICES"] == "0,1"


def test_a_job_without_gpu_sees_none(lab, tmp_path):
    plain = light(load_cluster("2x48gb", OURS))
    assert submit(lab, tmp_path / "logs", cluster=plain)[0]["CUDA_VISIBLE_DEVICES"] == ""


def test_tasks_have_the_environment_of_the_profile(lab, tmp_path):
    (tmp_path / "a place").mkdir()
    words = ("umask=027", "setup=[export FROM_SETUP='a b']", "env.FROM_ENV=$SLURM_JOB_NAME/x", "flags.hold=false", "flags.comment=a b")
    for task in submit(lab, tmp_path / "logs", *words, elements=2, setup=[f"cd '{tmp_path / 'a place'}'"]):
        assert (task["mask"], task["FROM_SETUP"], task["FROM_ENV"]) == (0o027, "a b", "look/x")
        assert (task["SLURM_CPUS_PER_TASK"], task["OMP_NUM_THREADS"]) == ("2", "2")
        assert task["folder"] == str(tmp_path / "a place")


def test_slurm_keeps_to_nodes_flags_and_requeueing_as_asked(lab, tmp_path):
    cluster = load_cluster("2x48gb", [*OURS, "exclude=node1", "flags.comment=a b", "flags.hold=true"])
    job = make_executor(cluster, tmp_path, name="look", exclude=["node2"]).submit(look, 0)
    held = lab.job(job.job_id)
    assert (held["Requeue"], held["TimeLimit"], held["Partition"]) == ("1", "00:05:00", "main")
    assert held["ExcNodeList"] in {"node[1-2]", "node1,node2"}
    assert held["Reason"] == "JobHeldUser"


def test_a_task_that_fails_leaves_its_neighbour_to_work_on(lab, tmp_path):
    cluster = load_cluster("2x48gb", OURS)
    job = make_executor(cluster, tmp_path / "logs", name="look").submit(fail_or_write, tmp_path / "there")
    lab.wait_for(lambda: lab.state(job.job_id) == "FAILED", 60, "the job has ended")
    assert (tmp_path / "there").read_text() == "task 1 went on"


def test_the_text_shown_is_the_script_that_was_submitted(lab, tmp_path):
    cluster, folder = load_cluster("2x48gb", [*OURS, "umask=002"]), tmp_path / "logs"
    submit(lab, folder, cluster=cluster, elements=2, setup=["cd /"])
    shown = sbatch_text(cluster, name="look", elements=2, parallel=2, folder=folder, setup=["cd /"])
    assert next(folder.glob("*_submission.sh")).read_text() == shown

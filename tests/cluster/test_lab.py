"""The private cluster of the tests is a real SLURM, and its faults are those of a real cluster."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import lab_processes
import pytest
from lab_commands import LabError

CONFTEST = Path(__file__).with_name("conftest.py")
# Every run of the job says where and when it writes, twice a second or so, until the file `stop` is there.
WRITER = 'while [ ! -e {stop} ]; do echo "$SLURMD_NODENAME $SLURM_RESTART_COUNT $(date +%s.%N)"; sleep 0.2; done'


@pytest.fixture
def writer(lab, tmp_path):
    """A job that writes until it is told to stop, running on a node: its id, and that node."""
    job = lab.submit(WRITER.format(stop=tmp_path / "stop"))
    lab.wait_for(lambda: lab.output(job), 30, "the job writes")
    return job, lab.job(job)["NodeList"]


def _nodes_writing(lab, job):
    """The nodes that write to the output of a job from now on, within two seconds."""
    start = len(lab.output(job))
    subprocess.run(["sleep", "2"], check=True)
    return {line.split()[0] for line in lab.output(job)[start:].splitlines()}


def test_three_nodes_have_two_gpus_each(lab):
    nodes = lab.run("sinfo", "-h", "-N", "-p", "main", "-o", "%N %T %G").splitlines()

    assert nodes == [f"node{number} idle gpu:rtx8000:2" for number in (1, 2, 3)]


def test_each_of_two_tasks_sees_one_gpu_of_its_own(lab):
    job = lab.submit("srun bash -c 'echo $CUDA_VISIBLE_DEVICES'", "--ntasks=2", "--gpus-per-task=1")
    lab.wait_for(lambda: lab.state(job) == "COMPLETED")

    assert sorted(lab.output(job).split()) == ["0", "1"]


def test_six_jobs_of_one_gpu_run_at_once_and_a_seventh_waits(lab):
    jobs = [lab.submit("sleep 60", "--gpus=1") for _ in range(7)]
    lab.wait_for(lambda: [lab.state(job) for job in jobs].count("RUNNING") == 6)

    assert lab.job(jobs[-1])["Reason"] in {"Resources", "Priority"}
    assert len({lab.job(job)["NodeList"] for job in jobs[:6]}) == 3


def test_a_requeued_job_runs_again_under_its_id(lab, writer):
    job, _ = writer
    lab.run("scontrol", "requeue", job)
    lab.wait_for(lambda: lab.output(job).splitlines()[-1].split()[1] == "1", 40, "the second run writes")

    assert lab.job(job)["Restarts"] == "1"


@pytest.mark.slow
def test_a_job_is_preempted_by_the_partition_high_and_runs_again(lab):
    everything = ("--nodes=3", "--exclusive")
    low = lab.submit("trap 'echo usr2' USR2; trap 'echo term; exit' TERM; while :; do sleep 0.1; done", "--signal=B:USR2@10", *everything)
    lab.wait_for(lambda: lab.state(low) == "RUNNING")
    high = lab.submit("sleep 1", "--partition=high", *everything)
    lab.wait_for(lambda: lab.state(high) == "COMPLETED", 60, "the job of higher priority has run")
    lab.wait_for(lambda: lab.state(low) == "RUNNING", 60, "the preempted job runs again")

    assert lab.job(low)["Restarts"] == "1"
    assert [line for line in lab.output(low).splitlines() if line in {"usr2", "term"}] == ["usr2", "term"]


def test_the_job_of_a_crashed_node_dies_with_it_and_runs_again_on_another(lab, writer):
    job, node = writer
    lab.crash(node)
    assert not lab.job_processes(job, node)
    lab.wait_for(lambda: lab.output(job).splitlines()[-1].split()[1] == "1", 40, "the second run writes")

    assert lab.job(job)["NodeList"] != node


def test_a_job_whose_slurmd_died_has_two_writers_until_the_node_returns(lab, writer):
    job, node = writer
    lab.kill_slurmd(node)
    lab.declare_down(node)
    lab.wait_for(lambda: lab.job(job).get("Restarts") == "1" and lab.state(job) == "RUNNING", 40, "the job runs again")
    other = lab.job(job)["NodeList"]
    assert _nodes_writing(lab, job) == {node, other}
    lab.boot(node)
    lab.wait_for(lambda: not lab.job_processes(job, node), 60, "the first copy is killed")

    assert _nodes_writing(lab, job) == {other}


def test_jobs_live_on_while_the_controller_is_gone(lab, writer):
    job, node = writer
    lab.stop_controller()
    assert "DOWN" in lab.run("scontrol", "ping", check=False)
    assert _nodes_writing(lab, job) == {node}
    lab.start_controller()

    assert lab.state(job) == "RUNNING"


def test_an_array_whose_highest_index_is_max_array_size_is_refused(small_array_lab):
    with pytest.raises(LabError, match="Invalid job array specification"):
        small_array_lab.submit("true", "--array=0-10")

    assert small_array_lab.submit("true", "--array=0-9")


@pytest.mark.slow
def test_usr2_comes_before_the_time_limit(lab):
    job = lab.submit("trap 'echo usr2; exit' USR2; while :; do sleep 0.1; done", "--time=1", "--signal=B:USR2@60")
    lab.wait_for(lambda: lab.state(job) == "COMPLETED", 60, "the job ends by the signal, before its limit")

    assert lab.output(job) == "usr2\n"


def test_with_accounting_sacct_knows_a_job_beside_a_lab_without(accounting_lab, lab):
    job = accounting_lab.submit("true")
    accounting_lab.wait_for(lambda: "COMPLETED" in accounting_lab.run("sacct", "-X", "-n", "-j", job, "-o", "state"), 30)

    assert not lab.run("squeue", "-h", "-t", "all", "-j", job, check=False)
    with pytest.raises(LabError, match="accounting storage is disabled"):
        lab.run("sacct")


def test_without_slurm_the_fixtures_say_why_and_fail_only_under_ci(monkeypatch, request):
    conftest = next(plugin for plugin in request.config.pluginmanager.get_plugins() if getattr(plugin, "__file__", "") == str(CONFTEST))
    monkeypatch.setattr(conftest, "lacking", lambda accounting: "SLURM is not installed")
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="SLURM is not installed"):
        conftest._started()
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="SLURM is not installed"):
        conftest._started()


STARTED_AND_INTERRUPTED = """
from lab import Lab
lab = Lab.start(nodes=1)
job = lab.submit("sleep 600")
lab.wait_for(lambda: lab.job_processes(job))
print(lab.folder, flush=True)
input()
"""


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nothing_is_left_of_a_lab_whose_owner_is_killed(lab, how):
    environment = os.environ | {"PYTHONPATH": str(Path(lab_processes.__file__).parent)}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    # a job in the background starts with SIGINT ignored, and so would what it starts
    command = [sys.executable, "-c", STARTED_AND_INTERRUPTED]
    owner = subprocess.Popen(command, env=environment, preexec_fn=_hear_interrupts, **pipes)  # noqa: PLW1509 - it makes one system call
    folder = Path(owner.stdout.readline().strip())
    assert _processes_naming(folder)
    owner.send_signal(how)
    owner.wait(30)

    lab.wait_for(lambda: not _processes_naming(folder) and not folder.exists(), 20, "the other lab is gone, processes and folder")
    assert lab.is_idle()


def _hear_interrupts():
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _processes_naming(folder):
    """Processes with the folder in their command, their environment or an open file: those of its lab, keeper included."""
    return [pid for pid in lab_processes.alive() if _names(pid, folder)]


def _names(pid, folder):
    try:
        command = Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return False
    return str(folder) in command + str(lab_processes.environment_of(pid)) or lab_processes.holds(pid, f"{folder}/*")

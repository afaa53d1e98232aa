"""SLURM's commands where there is no SLURM, or one that misbehaves: stand-ins on PATH. The real one is in tests/cluster."""

from __future__ import annotations

import shutil

import pytest

from slurm import scheduler
from slurm.scheduler import SchedulerError


@pytest.fixture
def commands(tmp_path, monkeypatch):
    """PATH holds only what a test puts there."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("sh", "env", "sleep", "cat"):
        (folder / name).symlink_to(shutil.which(name))
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setenv("SLURM_CONF", str(tmp_path))  # settings are cached by it

    def add(name, script):
        (folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name).chmod(0o755)

    return add


def test_without_slurm_nothing_is_available_and_the_error_names_the_command(commands):
    assert not scheduler.available()
    with pytest.raises(SchedulerError, match=r"`squeue` on PATH.*cluster=local"):
        scheduler.live_jobs()
    assert scheduler.requeue("1") is False


def test_commands_without_a_controller_are_not_available(commands):
    commands("sbatch", "exit 0")
    commands("squeue", "exit 0")
    commands("scontrol", "echo 'Slurmctld(primary) at head is DOWN'; exit 1")
    assert not scheduler.available()


def test_a_backup_controller_will_do(commands):
    commands("sbatch", "exit 0")
    commands("squeue", "exit 0")
    commands("scontrol", "echo 'Slurmctld(primary) at a is DOWN'; echo 'Slurmctld(backup) at b is UP'; exit 1")
    assert scheduler.available()


def test_a_squeue_that_fails_is_an_error_and_not_an_empty_queue(commands):
    commands("squeue", "echo 'slurm_load_jobs error: Unable to contact slurm controller' >&2; exit 1")
    with pytest.raises(SchedulerError, match=r"Unable to contact slurm controller.*same command again") as caught:
        scheduler.live_jobs()
    assert caught.value.said == "slurm_load_jobs error: Unable to contact slurm controller"


def test_a_command_that_hangs_is_given_up(commands):
    commands("squeue", "sleep 20")
    with pytest.raises(SchedulerError, match=r"did not answer in 0.2 s"):
        scheduler.run(["squeue"], timeout_s=0.2)


def test_a_user_s_own_formats_and_prompts_do_not_reach_slurm(commands, monkeypatch):
    monkeypatch.setenv("SQUEUE_FORMAT", "%A")
    monkeypatch.setenv("SCANCEL_INTERACTIVE", "true")
    monkeypatch.setenv("SLURM_CLUSTERS", "other")
    commands("squeue", "env >&2; exit 1")
    said = scheduler._call(["squeue"]).stderr
    assert "SQUEUE_FORMAT" not in said
    assert "SCANCEL_INTERACTIVE" not in said
    assert "SLURM_CLUSTERS=other" in said


def test_lines_that_are_no_jobs_are_passed_over(commands):
    commands("squeue", "echo 'CLUSTER: lab'; echo '12_3|RUNNING|None|node1|odd | name'; echo '13|PENDING|Priority||b'")
    jobs = scheduler.live_jobs()
    assert list(jobs) == ["12_3", "13"]
    assert jobs["13"] == scheduler.Job("13", "PENDING", "Priority", "", "b")
    assert jobs["12_3"].name == "odd | name"


def test_generic_resources_are_read_whatever_their_form(commands):
    lines = (
        "gpu|gpu*|up|2-00:00:00|3|mix|gpu:a100:4(S:0-1),shard:16|64|515000|ib,a100",
        "gpu|gpu*|up|2-00:00:00|1|drain*|gpu:rtx8000:2,lustre:2K|32+|257000+|(null)",
        "cpu|cpu|down|infinite|2|idle|(null)|16|64000|(null)",
    )
    commands("sinfo", "\n".join(f"echo '{line}'" for line in lines))
    gpu, cpu = scheduler.partitions()
    assert (gpu.name, gpu.default, gpu.state, gpu.time_min, gpu.nodes) == ("gpu", True, "up", 2880, 4)
    assert gpu.gres == {"gpu:a100": 4, "shard": 16, "gpu:rtx8000": 2, "lustre": 2048}
    assert [(kind.gpus, kind.usable, kind.features) for kind in gpu.kinds] == [(4, True, ("ib", "a100")), (2, False, ())]
    assert (cpu.default, cpu.state, cpu.time_min, cpu.gres, cpu.cpus, cpu.mem_gb) == (False, "down", None, {}, 16, 62.5)


def test_max_array_size_that_slurm_does_not_name_is_an_error(commands):
    commands("scontrol", "echo 'ClusterName = lab'")
    with pytest.raises(SchedulerError, match=r"MaxArraySize.*max_array_size"):
        scheduler.max_array_size()


def test_settings_are_asked_once_a_process(commands, tmp_path):
    commands("scontrol", f"echo 'MaxArraySize = 77'; echo asked >> {tmp_path}/asked")
    assert [scheduler.max_array_size() for _ in range(3)] == [77, 77, 77]
    assert (tmp_path / "asked").read_text() == "asked\n"


def test_thousands_of_jobs_are_cancelled_in_batches(commands, tmp_path):
    commands("scancel", f'echo "$#" >> {tmp_path}/calls')
    scheduler.cancel([f"7_{index}" for index in range(450)])
    assert (tmp_path / "calls").read_text().split() == ["201", "201", "51"]  # ids and -Q


def test_jobs_that_have_ended_are_no_error_in_cancelling(commands):
    commands("scancel", "echo 'scancel: error: Kill job error on job id 9: Invalid job id specified' >&2; exit 1")
    scheduler.cancel(["9"])


def test_a_job_of_somebody_else_is_an_error_in_cancelling(commands):
    commands("scancel", "echo 'scancel: error: Kill job error on job id 9: Access/permission denied' >&2; exit 1")
    with pytest.raises(SchedulerError, match=r"permission denied"):
        scheduler.cancel(["9"])


@pytest.mark.parametrize("state", ["COMPLETING", "CANCELLED", "PENDING", "TIMEOUT"])
def test_only_a_running_job_is_requeued(commands, tmp_path, state):
    commands("squeue", f"echo '5|{state}|None|node1'")
    commands("scontrol", f"echo requeued > {tmp_path}/requeued")
    assert scheduler.requeue("5") is False
    assert not (tmp_path / "requeued").exists()


def test_a_requeue_that_slurm_refuses_is_false_and_raises_nothing(commands):
    commands("squeue", "echo '5|RUNNING|None|node1'")
    commands("scontrol", "echo 'Requested operation is presently disabled' >&2; exit 1")
    assert scheduler.requeue("5") is False

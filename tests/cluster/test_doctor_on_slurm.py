"""The doctor on a real controller, with a probe job that really goes to a node."""

from __future__ import annotations

import shutil
import sys
import threading
import time
from dataclasses import replace

import pytest
from lab import Lab, lacking

from lcm.codec import CodecConfig
from slurm import scheduler, visit
from slurm.cluster import Cluster
from slurm.doctor import examine

PLAIN = Cluster(name="lab", kind="slurm", gpus_per_task=0, cpus_per_task=1, mem_gb=2, time="00:30:00")


@pytest.fixture(autouse=True)
def _the_disk_is_quick(monkeypatch):
    """Here a file is seen at once: what a job left is there when squeue no longer knows it."""
    monkeypatch.setattr(visit, "_GONE_S", 2.0)


@pytest.fixture
def a_lab_of(monkeypatch):
    """Starts a small cluster with other settings, which this process uses."""
    labs = []

    def start(*lines, **settings):
        if reason := lacking(settings.get("accounting", False)):
            pytest.skip(reason)
        labs.append(Lab.start(1, extra=lines, **settings))
        for name, value in labs[-1].environment().items():
            monkeypatch.setenv(name, value)
        return labs[-1]

    yield start
    for lab in labs:
        lab.stop()


def finding(found, name, level=None):
    """The first finding of a name, of a level if given."""
    return next(f for f in found if f.name == name and level in {None, f.level})


def failures(found):
    return {f.name for f in found if f.level == "failure"}


def test_a_sound_cluster_has_no_failure_and_the_probe_speaks_from_a_node(lab, tmp_path):
    found = list(examine(tmp_path, PLAIN))
    assert failures(found) == set(), found
    assert {f.name for f in found} >= {
        "controller", "partition", "time limit", "gres", "cpus and memory", "accounting", "array size", "requeue", "preemption",
        "kill wait", "sbatch", "probe", "shared folder", "clock", "signals", "python", "packages", "gpus", "weights", "network",
        "root folder", "rename", "hard links", "locking", "free space", "inodes", "scratch",
    }  # fmt: skip
    assert any(f"spoke from {node} " in finding(found, "probe").text for node in lab.nodes)
    assert finding(found, "signals").level == "ok"
    assert finding(found, "clock").level == "ok"
    assert "granted to the probe job" in [f.text for f in found if f.name == "requeue"]
    assert "10001" in finding(found, "array size").text


def test_a_probe_leaves_nothing_behind(lab, tmp_path):
    list(examine(tmp_path, PLAIN))
    assert scheduler.live_jobs() == {}
    assert list((tmp_path / "logs").iterdir()) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["logs", "snapshots"]


def test_a_gpu_profile_fails_where_torch_sees_no_gpu_and_each_task_says_so(lab, tmp_path):
    """The lab's GPUs are device files without a GPU behind them."""
    found = list(examine(tmp_path, replace(PLAIN, gpus_per_task=1, tasks_per_node=2)))
    assert failures(found) == {"gpus"}
    said = [f.text for f in found if f.name == "gpus"]
    assert ["task 0" in said[0], "task 1" in said[1]] == [True, True]
    assert ["CUDA_VISIBLE_DEVICES='0'" in said[0], "CUDA_VISIBLE_DEVICES='1'" in said[1]] == [True, True]
    assert finding(found, "gres").level == "ok"


def test_without_a_probe_nothing_is_submitted(lab, tmp_path):
    found = list(examine(tmp_path, PLAIN, probe=False))
    assert failures(found) == set()
    assert {"controller", "sbatch", "root folder", "free space"} <= {f.name for f in found}
    assert not {"probe", "signals", "python"} & {f.name for f in found}
    assert list(tmp_path.iterdir()) == []


def test_a_probe_that_does_not_start_is_a_warning_with_squeue_s_reason_and_is_cancelled(lab, tmp_path):
    lab.submit("sleep 300", "--nodes=3", "--exclusive")
    found = list(examine(tmp_path, PLAIN, wait_s=3))
    assert failures(found) == set()
    probe = finding(found, "probe")
    assert probe.level == "warning"
    assert "within 3 s: squeue says PENDING, " in probe.text
    assert any(reason in probe.text for reason in ("Resources", "Priority", "ReqNodeNotAvail"))
    lab.wait_for(lambda: len(scheduler.live_jobs()) == 1, what="only the job that fills the cluster")
    assert finding(found, "root folder").level == "ok"  # from here, at least


def test_a_python_that_is_not_on_the_node_is_named(lab, tmp_path):
    found = list(examine(tmp_path, replace(PLAIN, python="no-such-python")))
    probe = finding(found, "probe")
    assert probe.level == "failure"
    assert "ended without a word" in probe.text
    assert "no-such-python" in probe.text
    assert "python, setup, container" in probe.todo


def test_packages_that_are_not_on_the_node_are_named(lab, tmp_path):
    found = list(examine(tmp_path, replace(PLAIN, python=f"{sys.executable} -S -E")))  # without site-packages
    assert "No module named" in finding(found, "probe", "failure").text


IN_BETWEEN = """#!{python}
import signal, subprocess, sys
child = subprocess.Popen([{python!r}, *sys.argv[1:]])
def end(*_):
    child.kill()
    sys.exit(3)
signal.signal(signal.SIGUSR2, end)
sys.exit(child.wait())
"""


def test_a_program_in_between_that_ends_on_the_signal_is_found_out(lab, tmp_path):
    wrapper = tmp_path / "wrapper"
    wrapper.write_text(IN_BETWEEN.format(python=sys.executable))
    wrapper.chmod(0o755)
    found = list(examine(tmp_path / "root", replace(PLAIN, python=str(wrapper))))
    bad = next(f for f in found if f.level == "failure")  # Python lives on as an orphan, or is gone before it can say so
    assert ("ended the script" in bad.text) if bad.name == "signals" else ("got USR2 and did not report" in bad.text)
    assert "exec" in bad.todo


def test_a_shell_script_in_between_does_no_harm(lab, tmp_path):
    """It starts with the signal ignored, and a shell cannot undo that."""
    wrapper = tmp_path / "wrapper.sh"
    wrapper.write_text(f'#!/bin/bash\n"{sys.executable}" "$@" &\ntrap "kill $!; exit 3" USR2\nwait\n')
    wrapper.chmod(0o755)
    found = list(examine(tmp_path / "root", replace(PLAIN, python=str(wrapper))))
    assert finding(found, "signals", "ok")


def test_a_task_that_the_signal_ends_is_told_from_one_that_did_not_start(lab, tmp_path, monkeypatch):
    """Python itself is ended by it, as by a site's job prolog that kills what is left of a task."""
    monkeypatch.setattr(scheduler, "send", lambda job, _: lab.run("scancel", "--signal=KILL", job))
    probe = finding(examine(tmp_path, PLAIN), "probe", "failure")
    assert "got USR2 and did not report" in probe.text


def test_a_root_that_the_node_does_not_see_is_a_failure_that_says_so(lab, tmp_path):
    """The folder is gone by the time the job starts, which is what a node sees of a folder that is not shared."""
    root = tmp_path / "root"

    def take_away():
        lab.wait_for(lambda: scheduler.live_jobs() and list((root / "logs").glob("doctor-*/*.sh")), 30, "the probe waits")
        shutil.rmtree(root)

    thread = threading.Thread(target=take_away)
    thread.start()
    found = list(examine(root, replace(PLAIN, flags={"begin": "now+4"}), wait_s=60))
    thread.join()
    probe = finding(found, "probe")
    assert probe.level == "failure"
    assert "nor a log" in probe.text
    assert "a folder that all nodes share" in probe.todo


def test_weights_that_the_node_does_not_find_are_a_failure_and_the_network_is_not_tried(lab, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "empty"))
    found = list(examine(tmp_path / "root", PLAIN, codec=CodecConfig("encodec_24khz")))
    assert failures(found) == {"weights"}
    assert "encodec_24khz-d7cc33bc.th does not exist" in finding(found, "weights").text
    assert "prefetch" in finding(found, "weights").todo


def test_an_interrupted_doctor_cancels_its_probe(lab, tmp_path, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(visit, "is_there", interrupt)
    with pytest.raises(KeyboardInterrupt):
        list(examine(tmp_path, replace(PLAIN, flags={"hold": True})))
    assert scheduler.live_jobs() == {}


@pytest.mark.parametrize(
    ("changes", "name", "text", "todo"),
    [
        ({"partition": "mian"}, "partition", "no partition 'mian'", "Did you mean 'main'"),
        ({"gpus_per_task": 3}, "gres", "gpu:3; the most a node has: gpu:rtx8000:2", "cluster.gres"),
        ({"gres": "gpu:a100:1", "gpus_per_task": 1}, "gres", "gpu:a100:1", "cluster.gres"),
        ({"mem_gb": 999}, "cpus and memory", "999 GB", "mem_gb"),
        ({"max_array_size": 99999}, "array size", "10001", "at most 10001"),
        ({"constraint": "no-such-feature"}, "sbatch", "feature", "refuses"),
    ],
)
def test_what_the_cluster_cannot_give_is_named_without_a_probe(lab, tmp_path, changes, name, text, todo):
    found = list(examine(tmp_path, replace(PLAIN, **changes), probe=False))
    assert text in finding(found, name, "failure").text
    assert todo in finding(found, name, "failure").todo


def test_a_time_limit_above_the_partition_s_is_a_failure(lab, tmp_path):
    lab.run("scontrol", "update", "partitionname=main", "maxtime=20")
    try:
        found = list(examine(tmp_path, PLAIN, probe=False))
    finally:
        lab.run("scontrol", "update", "partitionname=main", "maxtime=infinite")
    assert "30 min, but main ends jobs after 20 min" in finding(found, "time limit", "failure").text


def test_a_partition_that_is_down_is_a_failure_and_nodes_that_are_down_a_warning(lab, tmp_path):
    lab.run("scontrol", "update", "partitionname=main", "state=down")
    try:
        assert "partition" in failures(examine(tmp_path, PLAIN, probe=False))
    finally:
        lab.run("scontrol", "update", "partitionname=main", "state=up")
    for node in lab.nodes:
        lab.run("scontrol", "update", f"nodename={node}", "state=drain", "reason=test")
    try:
        assert "none of its 3 nodes" in finding(examine(tmp_path, PLAIN, probe=False), "partition", "warning").text
    finally:
        for node in lab.nodes:
            lab.run("scontrol", "update", f"nodename={node}", "state=resume")


def test_a_small_array_size_is_told(small_array_lab, tmp_path):
    assert finding(examine(tmp_path, PLAIN, probe=False), "array size").text.startswith("MaxArraySize 10:")


@pytest.mark.parametrize(
    ("mode", "level", "text"), [("requeue", "ok", "told by USR2"), ("cancel", "warning", "cancelled"), ("off", "ok", "not in this")]
)
def test_preemption_is_told_as_the_partition_has_it(lab, tmp_path, mode, level, text):
    lab.run("scontrol", "update", "partitionname=main", f"preemptmode={mode}")
    try:
        found = finding(examine(tmp_path, PLAIN, probe=False), "preemption")
    finally:
        lab.run("scontrol", "update", "partitionname=main", "preemptmode=requeue")
    assert (found.level, text in found.text) == (level, True), found


def test_preemption_without_a_signal_to_the_user_is_a_warning(a_lab_of, tmp_path):
    a_lab_of("SlurmctldParameters=enable_configless", "KillWait=30")
    found = list(examine(tmp_path, PLAIN, probe=False))
    assert "TERM only" in finding(found, "preemption", "warning").text
    assert finding(found, "kill wait").level == "ok"


def test_a_cluster_without_arrays_is_a_failure(a_lab_of, tmp_path):
    a_lab_of("MaxArraySize=0")
    assert "no job arrays" in finding(examine(tmp_path, PLAIN, probe=False), "array size", "failure").text


def test_requeue_that_the_profile_forbids_is_a_warning_and_the_probe_does_not_contradict(lab, tmp_path):
    found = list(examine(tmp_path, replace(PLAIN, flags={"requeue": False, "no-requeue": True})))
    assert [f.level for f in found if f.name == "requeue"] == ["warning"]
    assert "forbid" in finding(found, "requeue").text


def test_accounting_that_is_off_makes_an_account_in_the_profile_a_warning(lab, tmp_path):
    found = list(examine(tmp_path, replace(PLAIN, account="speech"), probe=False))
    assert "off" in finding(found, "accounting").text
    assert finding(found, "account").level == "warning"


def test_with_accounting_account_and_qos_are_compared_with_the_user_s_own(accounting_lab, tmp_path):
    manage = ("sacctmgr", "-i")
    accounting_lab.run(*manage, "add", "account", "speech")
    accounting_lab.run(*manage, "add", "qos", "short", "maxwall=10", "maxsubmitjobsperuser=7")
    accounting_lab.run(*manage, "add", "user", "root", "account=speech", "qos=normal,short")
    try:
        right = list(examine(tmp_path, replace(PLAIN, account="speech", qos="short", time="5", signal_s=30), probe=False))
        wrong = list(examine(tmp_path, replace(PLAIN, account="speach", qos="normal"), probe=False))
        long = list(examine(tmp_path, replace(PLAIN, account="speech", qos="short"), probe=False))
        closed = list(examine(tmp_path, replace(PLAIN, account="speech", qos="gold"), probe=False))
    finally:
        accounting_lab.run(*manage, "delete", "user", "root", "account=speech", check=False)
        accounting_lab.run(*manage, "delete", "account", "speech", check=False)
        accounting_lab.run(*manage, "delete", "qos", "short", check=False)
    assert "on (slurmdbd)" in finding(right, "accounting").text
    assert (finding(right, "account").level, finding(right, "qos").level) == ("ok", "ok")
    assert "at most 7 at once" in finding(right, "jobs in the queue", "warning").text
    assert "Did you mean 'speech'" in finding(wrong, "account", "warning").todo  # this cluster does not enforce them
    assert "ends jobs after 00:10:00" in finding(long, "qos", "failure").text
    assert "gold" in finding(closed, "qos", "warning").text


def test_where_accounts_are_enforced_a_wrong_one_is_a_failure(a_lab_of, tmp_path):
    lab = a_lab_of("AccountingStorageEnforce=associations,limits,qos", accounting=True)
    lab.run("sacctmgr", "-i", "add", "account", "speech")
    lab.run("sacctmgr", "-i", "add", "user", "root", "account=speech")
    found = list(examine(tmp_path, replace(PLAIN, account="speach"), probe=False))
    assert "no account 'speach'" in finding(found, "account", "failure").text
    assert finding(found, "sbatch").level == "failure"
    assert "account" in finding(found, "sbatch").text.lower()
    assert failures(examine(tmp_path, replace(PLAIN, account="speech"), probe=False)) == set()


def test_a_controller_that_is_gone_is_one_failure_and_the_file_system_is_examined_all_the_same(lab, tmp_path):
    lab.stop_controller()
    try:
        start = time.monotonic()
        found = list(examine(tmp_path, PLAIN))
        assert time.monotonic() - start < 60
    finally:
        lab.start_controller()
    assert failures(found) == {"controller"}
    assert finding(found, "root folder").level == "ok"

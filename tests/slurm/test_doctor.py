"""The doctor without SLURM: what disks can do, how what was seen is judged, and a machine of its own."""

from __future__ import annotations

import errno
import json
import os
import time
from dataclasses import replace
from pathlib import Path

import pytest

from lcm.codec import CodecConfig
from slurm import diagnosis, disk
from slurm.accounting import examine_accounting
from slurm.cluster import Cluster
from slurm.disk import Disk, look_at_disk
from slurm.doctor import examine
from slurm.probe import Sight, asdict, look
from slurm.visit import Visit

GPU = {"name": "RTX", "gb": 48.0, "uuid": "a"}
PACKAGES = {"torch": "2.6", "h5py": "3.10"}
SEEN = Sight("node1", 0, 8, "3.11.2", "python", PACKAGES, weights=["codec: there"], root=Disk("root", free_gb=500.0))
SLURM = Cluster(name="lab", kind="slurm", gpus_per_task=1)


def levels(findings):
    return {finding.name: finding.level for finding in findings}


def test_a_machine_of_one_s_own_is_examined_too(tmp_path):
    found = list(examine(tmp_path / "new" / "root", Cluster()))
    assert {"gpus", "weights", "network", "root folder", "rename", "hard links", "locking", "scratch"} <= set(levels(found))
    assert [finding for finding in found if finding.level == "failure"] == []
    assert "partition" not in levels(found)


def test_whatever_is_not_ok_says_what_to_do(tmp_path):
    bad = replace(
        SEEN, python="3.9.1", packages={"torch": "2.5"}, weights_error="no weights", reached=["hub:443"], usr2=False, rename_error="torn",
        link_error="EPERM", lock_error="ENOLCK", root=Disk("root", free_gb=3.0, inodes=5), scratch=Disk("s", error="gone"),
    )  # fmt: skip
    visit = Visit([bad], "1", {"Requeue": "0"}, 3.0, 70.0, 900.0, "read")
    cluster = replace(SLURM, scratch="s")
    found = [
        *diagnosis.judge_node(bad, cluster), *diagnosis.judge_python(bad, SEEN), *diagnosis.judge_gpus([bad], cluster),
        *diagnosis.judge_visit(visit, tmp_path, cluster),
    ]  # fmt: skip
    assert {f.name for f in found if f.level == "ok"} == {"probe", "root folder"}
    assert all(f.todo.endswith(".") for f in found if f.level != "ok")
    assert levels(found)["locking"] == levels(found)["hard links"] == levels(found)["inodes"] == "warning"
    assert levels(found)["rename"] == levels(found)["weights"] == levels(found)["network"] == levels(found)["gpus"] == "failure"


def test_a_root_that_cannot_be_made_is_the_only_finding(tmp_path):
    (tmp_path / "file").write_text("")
    found = list(examine(tmp_path / "file" / "root", Cluster()))
    assert levels(found) == {"root folder": "failure"}


def test_weights_that_are_not_there_are_a_failure_that_names_prefetch(tmp_path):
    found = examine(tmp_path, Cluster(), codec=CodecConfig("encodec_24khz", folder=str(tmp_path)))
    weights = next(finding for finding in found if finding.name == "weights")
    assert weights.level == "failure"
    assert "encodec_24khz-d7cc33bc.th does not exist" in weights.text
    assert "python -m slurm prefetch" in weights.todo


def test_nothing_is_left_behind(tmp_path):
    look(tmp_path, asdict(CodecConfig()), {"name": "original"}, str(tmp_path / "scratch"))
    assert list(tmp_path.iterdir()) == []


def test_a_scratch_that_names_an_unset_variable_says_which(tmp_path, monkeypatch):
    monkeypatch.delenv("NODE_DISK", raising=False)
    found = list(examine(tmp_path, Cluster(scratch="$NODE_DISK/lcm")))
    scratch = next(finding for finding in found if finding.name == "scratch")
    assert scratch.level == "failure"
    assert "$NODE_DISK" in scratch.text


def test_a_file_system_without_hard_links_is_a_warning(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    found = levels(examine(tmp_path, Cluster()))
    assert found["hard links"] == "warning"
    assert found["rename"] == "ok"


def test_a_link_that_takes_over_a_claimed_name_is_noticed(tmp_path, monkeypatch):
    def take_over(source, name):
        Path(name).write_text(Path(source).read_text())

    monkeypatch.setattr(os, "link", take_over)
    with pytest.raises(OSError, match="took over"):
        disk.link(tmp_path)


def test_a_rename_that_leaves_a_gap_is_noticed(tmp_path, monkeypatch):
    as_ever = Path.replace

    def with_a_gap(self, target):
        Path(target).unlink()
        time.sleep(0.001)
        return as_ever(self, target)

    monkeypatch.setattr(Path, "replace", with_a_gap)
    with pytest.raises(OSError, match="a reader saw"):
        disk.rename(tmp_path)


def test_locking_that_hangs_does_not_hang_the_doctor(tmp_path, monkeypatch):
    monkeypatch.setattr(disk, "_LOCK_WAIT_S", 0.1)
    monkeypatch.setattr(disk.fcntl, "flock", lambda *_: time.sleep(1.0))
    with pytest.raises(OSError, match="hangs"):
        disk.lock(tmp_path)


def test_a_folder_that_cannot_be_written_to_says_why(tmp_path):
    found = look_at_disk(tmp_path / "absent")
    assert found.error.startswith("FileNotFoundError")


def test_the_file_system_is_that_of_the_longest_mount_above(tmp_path, monkeypatch):
    where = os.path.realpath(tmp_path)
    mounts = f"root / ext4 rw 0 0\nserver:/a {where} nfs4 rw 0 0\nother {where}x xfs rw 0 0\n"
    monkeypatch.setattr(disk, "read_text", lambda _: mounts)
    assert look_at_disk(tmp_path).type == "nfs4"


def test_scratch_on_the_network_is_a_warning(tmp_path):
    seen = replace(SEEN, scratch=Disk("scratch", type="lustre", free_gb=900.0))
    assert levels(diagnosis.judge_node(seen, replace(SLURM, scratch="scratch")))["scratch"] == "warning"


@pytest.mark.parametrize(
    ("gpus", "error", "level"),
    [([], "", "failure"), ([GPU], "", "ok"), ([GPU, GPU], "", "warning"), ([GPU], "no kernel image", "failure")],
)
def test_gpus_are_judged_by_what_torch_sees(gpus, error, level):
    found = list(diagnosis.judge_gpus([replace(SEEN, gpus=gpus, gpu_error=error)], SLURM))
    assert found[0].level == level


def test_no_gpu_is_fine_where_none_was_asked_for():
    assert levels(diagnosis.judge_gpus([SEEN], replace(SLURM, gpus_per_task=0))) == {"gpus": "ok"}


def test_a_torch_without_cuda_is_named_as_the_reason():
    assert "build for CPUs" in next(diagnosis.judge_gpus([SEEN], SLURM)).text
    assert "built for CUDA 12.4" in next(diagnosis.judge_gpus([replace(SEEN, torch_cuda="12.4")], SLURM)).text


def test_two_tasks_on_one_gpu_are_a_warning():
    both = [replace(SEEN, gpus=[GPU]), replace(SEEN, task=1, gpus=[GPU])]
    assert [finding.level for finding in diagnosis.judge_gpus(both, SLURM)] == ["ok", "ok", "warning"]
    apart = [both[0], replace(both[1], gpus=[{**GPU, "uuid": "b"}])]
    assert [finding.level for finding in diagnosis.judge_gpus(apart, SLURM)] == ["ok", "ok"]


def test_a_package_that_lacks_is_a_failure_and_another_version_a_warning():
    assert levels(diagnosis.judge_python(replace(SEEN, packages={"torch": "2.6"}), SEEN))["packages"] == "failure"
    other = list(diagnosis.judge_python(replace(SEEN, packages={**SEEN.packages, "torch": "2.7"}), SEEN))
    assert levels(other)["packages"] == "warning"
    assert "torch 2.7 (here 2.6)" in other[1].text
    assert set(levels(diagnosis.judge_python(SEEN, SEEN)).values()) == {"ok"}


@pytest.mark.parametrize(
    ("skew_s", "reply_s", "level"),
    [(1.0, 0.2, "ok"), (-20.0, 0.2, "warning"), (20.0, 60.0, "ok"), (-400.0, 1.0, "failure"), (None, 1.0, "warning")],
)
def test_clocks_are_judged_with_what_is_not_known_of_them(tmp_path, skew_s, reply_s, level):
    visit = Visit([replace(SEEN, usr2=True)], "1", {}, 1.0, reply_s, skew_s, "read")
    assert levels(diagnosis.judge_visit(visit, tmp_path, SLURM))["clock"] == level


@pytest.mark.parametrize(("free_gb", "level"), [(0.5, "failure"), (5.0, "warning"), (500.0, "ok")])
def test_free_space_is_judged(free_gb, level):
    assert levels(diagnosis.judge_root(replace(SEEN, root=Disk("root", free_gb=free_gb))))["free space"] == level


def test_quotas_are_read_from_the_tables_of_their_tools():
    lustre = "/lustre/a 963000* 900000 1000000 6d23h 40 0 0 - \n"
    heading = "Disk quotas for user me (uid 1):\n     Filesystem blocks quota limit grace files quota limit grace\n"
    plain = heading + "/dev/sda1 100 0 5000 0 95 90 100 0\n"
    assert [(f.level, f.text) for f in diagnosis.judge_quota(lustre)] == [("warning", "/lustre/a: 963,000 of 1,000,000 kB used")]
    assert [f.level for f in diagnosis.judge_quota(plain)] == ["ok", "warning"]
    assert list(diagnosis.judge_quota("Disk quotas for user me (uid 1): none\n\n")) == []


def test_a_profile_for_slurm_where_there_is_none_is_a_failure_that_says_so(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    found = list(examine(tmp_path, SLURM))
    controller = next(finding for finding in found if finding.name == "controller")
    assert controller.level == "failure"
    assert "cluster=local" in controller.text


def test_a_group_that_is_not_here_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    found = list(examine(tmp_path, replace(SLURM, group="no-such-group")))
    assert found[0].level == "failure"
    assert "no-such-group" in found[0].text


def test_what_a_task_saw_is_read_as_it_was_written(tmp_path):
    seen = replace(SEEN, scratch=Disk("s", inodes=None), gpus=[GPU])
    (tmp_path / "sight.json").write_text(json.dumps({**asdict(seen), "of_another_version": 1}))
    assert Sight.read(tmp_path / "sight.json") == seen


def test_a_user_without_an_account_is_a_failure_only_where_one_is_demanded(tmp_path, monkeypatch):
    (tmp_path / "sacctmgr").write_text("#!/bin/sh\n")
    (tmp_path / "sacctmgr").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    known = {"AccountingStorageType": "accounting_storage/slurmdbd"}
    assert levels(examine_accounting(SLURM, {**known, "AccountingStorageEnforce": "none"}))["account"] == "warning"
    assert levels(examine_accounting(SLURM, {**known, "AccountingStorageEnforce": "associations,limits"}))["account"] == "failure"

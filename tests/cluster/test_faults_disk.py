"""Files that are lost or damaged, and a disk that is full."""

from __future__ import annotations

import os
import re
import subprocess

import h5py
import pytest
from filling import Filling, jobs
from toy_producer import toy_plan

from lcm.errors import LcmError
from lcm.store import StorePaths
from slurm.cli import main
from slurm.status import read_status

MIB = 2**20


@pytest.fixture
def small_disk(tmp_path):
    """A file system of its own with little room; what is written to it must not end anywhere else."""
    folder = tmp_path / "small disk"
    folder.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={40 * MIB}", "tmpfs", folder], capture_output=True, text=True, check=False)
    if done.returncode:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(f"no file system can be mounted here: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def fill_up(folder, *, leave):
    """Write a file until nothing fits any more, then give some bytes back."""
    file, size = os.open(folder / "ballast", os.O_WRONLY | os.O_CREAT), MIB
    while size:
        try:
            os.write(file, bytes(size))
        except OSError:
            size //= 2
    os.ftruncate(file, os.fstat(file).st_size - leave)
    os.close(file)


@pytest.mark.parametrize("leave", [0, 24 * 1024], ids=["nothing fits", "the journal fits, the shard does not"])
def test_a_full_disk_fails_the_tasks_clearly_and_submit_goes_on_when_there_is_room(lab, tmp_path, small_disk, leave, capsys):
    plan = toy_plan(4, items=[(f"clip {n:02d}", 400 + n % 4) for n in range(24)])  # 6 kB each
    filling = Filling(lab, tmp_path, plan, "tasks_per_node=1", "shards_per_task=4", disk=small_disk, hold_at=plan.keys(2)[0])
    job = jobs(filling.submit())[0]
    filling.wait_for_lines(12)
    fill_up(small_disk, leave=leave)
    filling.gate.touch()
    filling.wait()
    assert (lab.state(job), lab.job(job)["ExitCode"]) == ("FAILED", "1:0")
    assert read_status(filling.folder).states[:2] == ("done", "done")
    assert re.search("the first, 2: .*No space left on device", filling.logs())
    main(["status", f"store={filling.folder}"])
    assert re.search("No space left|no room", capsys.readouterr().out)
    (small_disk / "ballast").unlink()
    filling.fill()
    filling.check()


def test_submitting_to_a_full_disk_says_so(lab, tmp_path, small_disk):
    filling = Filling(lab, tmp_path, toy_plan(4), disk=small_disk)
    fill_up(small_disk, leave=0)
    with pytest.raises(LcmError, match=r"No space left on device"):
        filling.submit()
    assert lab.run("squeue", "-h") == ""
    (small_disk / "ballast").unlink()
    filling.fill()
    filling.check()


def damage(path):
    """Turn a bit over in a clip's codes."""
    with h5py.File(path, "r+") as file:
        file["streams/codes"][1, 1] ^= 1


def test_a_damaged_shard_is_named_by_the_merge_set_aside_and_made_again(lab, tmp_path, capsys):
    plan = toy_plan(4)
    filling = Filling(lab, tmp_path, plan, hold_at=plan.keys(3)[-1])
    filling.submit()
    shard = filling.paths.shard(1, 4)
    filling.wait_for(lambda: shard.exists() and not list(filling.paths.shard_folder.glob(".shard-00001*")))
    damage(shard)
    filling.gate.touch()
    filling.wait()
    assert not filling.paths.index.exists()
    assert "1 of 4 shards are missing or damaged" in filling.logs()
    assert shard.name in filling.logs()
    assert main(["verify", f"store={filling.folder}", "--set-aside"]) == 1
    assert f"{shard.name} is damaged" in capsys.readouterr().out
    made = len(filling.lines())
    filling.fill()
    assert sorted(line.key for line in filling.lines()[made:]) == sorted(plan.keys(1))
    filling.check()
    assert main(["verify", f"store={filling.folder}"]) == 0


def test_a_missing_shard_is_named_by_the_merge_and_submit_makes_it_alone(lab, tmp_path):
    plan = toy_plan(4)
    filling = Filling(lab, tmp_path, plan, "shards_per_task=1", deadly=frozenset({plan.keys(2)[0]}))
    merge = jobs(filling.submit(), "merge fill")
    filling.wait()
    assert [lab.state(job) for job in merge] == ["FAILED"]
    assert "1 of 4 shards are missing or damaged" in filling.logs()
    assert StorePaths.shard_name(2, 4) in filling.logs()
    assert [submission.shards() for submission in filling.submit(deadly=frozenset())] == [[2], []]
    filling.wait()
    filling.check()
    assert filling.made_twice() == []


def test_a_shard_that_is_lost_from_a_finished_store_is_made_again_alone(lab, tmp_path):
    plan = toy_plan(4)
    filling = Filling(lab, tmp_path, plan)
    filling.fill()
    filling.paths.shard(3, 4).unlink()
    filling.fill()
    assert filling.made_twice() == sorted(plan.keys(3))
    filling.check()

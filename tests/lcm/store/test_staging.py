"""Copies of finished stores on a node's own disk."""

from __future__ import annotations

import errno
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import namedtuple
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from lcm.store import Record, Store, StoreError, StorePaths, build_index, staging, write_shard
from lcm.store.staging import stage

SHARDS = 6


class OneClipAShard:
    identity = "cafe"
    shards = SHARDS
    attrs: ClassVar[dict[str, str]] = {}

    def keys(self, shard: int) -> tuple[str, ...]:
        return (f"clip {shard}",)


def make(folder: Path, seed: int = 0, **attrs: str) -> Path:
    plan = OneClipAShard()
    for shard in range(SHARDS):
        rng = np.random.default_rng([seed, shard])
        records = [Record(key, {"codes": rng.integers(0, 1024, (500, 8)).astype(np.int16)}) for key in plan.keys(shard)]
        noted = {"identity": "cafe", "shard": shard, "shards": SHARDS, "seed": seed, **attrs}
        write_shard(StorePaths(folder).shard(shard, SHARDS), records, noted)
    build_index(folder, plan)
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make(tmp_path / "a store")


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    return tmp_path / "the node's disk"


def shards(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in StorePaths(folder).shard_folder.iterdir()}


def test_the_copy_is_a_finished_store_of_the_same_content(folder: Path, scratch: Path) -> None:
    copy = stage(folder, scratch)
    assert copy.parent == scratch
    assert Store(copy).identity == Store(folder).identity
    assert copy.name.startswith(Store(folder).identity)
    Store(copy).verify()
    assert shards(copy) == shards(folder)


def test_the_copy_needs_the_original_no_more(folder: Path, scratch: Path) -> None:
    copy = stage(folder, scratch)
    expected = Store(folder).read("clip 3", "codes")
    shutil.rmtree(folder)
    assert np.array_equal(Store(copy).read("clip 3", "codes"), expected)


def test_staging_again_copies_nothing(folder: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = stage(folder, scratch)
    monkeypatch.setattr(shutil, "copyfile", None)
    assert stage(folder, scratch) == copy


def test_a_store_that_was_made_anew_gets_a_copy_of_its_own(folder: Path, scratch: Path) -> None:
    old = stage(folder, scratch)
    shutil.rmtree(folder)
    make(folder, seed=1)
    new = stage(folder, scratch)
    assert new != old
    assert shards(new) == shards(folder)


def test_a_store_of_the_same_content_made_otherwise_gets_a_copy_of_its_own(folder: Path, scratch: Path, tmp_path: Path) -> None:
    first, second = stage(folder, scratch), stage(make(tmp_path / "other", commit="abc"), scratch)
    assert Store(first).identity == Store(second).identity
    assert Store(second).attrs["commit"] == "abc"
    assert "commit" not in Store(first).attrs


def test_the_scratch_folder_may_name_a_variable(folder: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(scratch))
    assert stage(folder, Path("$TMPDIR/stores")).parent == scratch / "stores"


def test_a_variable_that_is_not_set_leaves_the_store_where_it_is(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("NODE_DISK", raising=False)
    assert stage(folder, Path("$NODE_DISK/stores")) == folder
    assert "names a variable that is not set" in capsys.readouterr().err


def test_too_little_room_leaves_the_store_where_it_is(
    folder: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**12, 10**12, 10**9))
    assert stage(folder, scratch) == folder
    assert "1.0 GB are free" in capsys.readouterr().err
    assert list(scratch.iterdir()) == []


def test_a_disk_that_fills_up_meanwhile_is_given_back_what_was_taken(
    folder: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    copy, calls = shutil.copyfile, []

    def full_at_the_third(source: Path, target: Path) -> None:
        calls.append(target)
        copy(source, target)
        if len(calls) == 3:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(shutil, "copyfile", full_at_the_third)
    assert stage(folder, scratch) == folder
    assert os.strerror(errno.ENOSPC) in capsys.readouterr().err
    assert list(scratch.iterdir()) == []


def test_a_scratch_that_cannot_be_written_leaves_the_store_where_it_is(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "a file").write_text("")
    assert stage(folder, tmp_path / "a file" / "scratch") == folder


def test_a_copy_with_a_shard_removed_is_completed(folder: Path, scratch: Path) -> None:
    copy = stage(folder, scratch)
    StorePaths(copy).shard(2, SHARDS).unlink()
    os.truncate(StorePaths(copy).shard(4, SHARDS), 100)
    assert stage(folder, scratch) == copy
    assert shards(copy) == shards(folder)


def test_what_a_process_that_died_left_is_not_used(folder: Path, scratch: Path) -> None:
    copy = stage(folder, scratch)
    StorePaths(copy).index.unlink()
    StorePaths(copy).shard(2, SHARDS).unlink()
    (copy / "parts").mkdir()
    (copy / "parts" / f"{StorePaths(copy).shard(2, SHARDS).name}.dead").write_bytes(b"half a sha")
    assert stage(folder, scratch) == copy
    assert shards(copy) == shards(folder)
    assert not (copy / "parts").exists()


def test_a_copy_that_differs_from_its_original_is_not_used(
    folder: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def flip_a_bit(source: Path, target: Path) -> None:
        data = bytearray(Path(source).read_bytes())
        data[len(data) // 2] ^= 1
        Path(target).write_bytes(data)

    monkeypatch.setattr(shutil, "copyfile", flip_a_bit)
    assert stage(folder, scratch) == folder
    assert "differs from its original" in capsys.readouterr().err
    assert not list(scratch.rglob("*.h5"))


def test_a_damaged_original_is_named_rather_than_its_copy(folder: Path, scratch: Path) -> None:
    path = StorePaths(folder).shard(1, SHARDS)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(StoreError, match=path.name) as error:
        stage(folder, scratch)
    assert str(path) in str(error.value)


def test_a_missing_original_is_named(folder: Path, scratch: Path) -> None:
    path = StorePaths(folder).shard(1, SHARDS)
    path.unlink()
    with pytest.raises(StoreError, match=f"{path.name} is missing"):
        stage(folder, scratch)


def test_a_store_that_is_not_finished_is_not_staged(folder: Path, scratch: Path) -> None:
    StorePaths(folder).index.unlink()
    with pytest.raises(StoreError, match="No finished store"):
        stage(folder, scratch)


def test_a_shard_that_another_process_is_copying_comes_last(folder: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = stage(folder, scratch)
    shutil.rmtree(StorePaths(copy).shard_folder)
    name, copied, real = StorePaths(copy).shard(2, SHARDS).name, [], shutil.copyfile
    (copy / "parts").mkdir()
    (copy / "parts" / f"{name}.another").write_bytes(b"half a sha")

    def noting(source: Path, target: Path) -> None:
        copied.append(source.name)
        real(source, target)

    monkeypatch.setattr(shutil, "copyfile", noting)
    stage(folder, scratch)
    assert copied.index(name) == SHARDS - 1


def _stage_and_read(folder: Path, scratch: Path, start: object, answers: object) -> None:
    """Stage when all are ready; note what was copied."""
    copied, copy = [], shutil.copyfile

    def noting(source: Path, target: Path) -> None:
        copied.append(Path(source).name)
        copy(source, target)
        time.sleep(0.05)  # as a shared file system would

    shutil.copyfile = noting
    start.wait()
    place = stage(folder, scratch)
    store = Store(place)
    answers.put((str(place), copied, [int(store.read(key, "codes").sum()) for key in store.keys]))


def test_processes_that_ask_at_once_share_the_work_and_read_the_same(folder: Path, scratch: Path) -> None:
    fork = multiprocessing.get_context("fork")
    start, answers = fork.Barrier(4), fork.Queue()
    processes = [fork.Process(target=_stage_and_read, args=(folder, scratch, start, answers)) for _ in range(4)]
    for process in processes:
        process.start()
    found = [answers.get(timeout=60) for _ in processes]
    for process in processes:
        process.join()
    places, copied, sums = zip(*found, strict=True)
    store = Store(folder)
    assert set(places) == {str(stage(folder, scratch))}
    assert all(answer == [int(store.read(key, "codes").sum()) for key in store.keys] for answer in sums)
    assert sum(map(len, copied)) < 4 * SHARDS  # each would have copied all of them
    assert shards(Path(places[0])) == shards(folder)


def test_what_killed_processes_have_copied_is_completed(folder: Path, scratch: Path, tmp_path: Path) -> None:
    script = tmp_path / "dying.py"
    script.write_text(
        "import os, shutil, signal, sys\n"
        "from pathlib import Path\n"
        "from lcm.store.staging import stage\n"
        "copy, calls = shutil.copyfile, []\n"
        "def dying(source, target):\n"
        "    calls.append(target)\n"
        "    if len(calls) == int(sys.argv[3]):\n"
        "        Path(target).write_bytes(Path(source).read_bytes()[:1000])\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "    copy(source, target)\n"
        "shutil.copyfile = dying\n"
        "stage(Path(sys.argv[1]), Path(sys.argv[2]))\n"
    )
    for dies_at in (1, 2, 3):
        assert subprocess.run([sys.executable, script, folder, scratch, str(dies_at)], check=False).returncode == -signal.SIGKILL
    assert len(list(scratch.rglob("shards/*.h5"))) == 3
    assert len(list(scratch.rglob("parts/*"))) == 3
    copy = stage(folder, scratch)
    assert copy.parent == scratch
    assert shards(copy) == shards(folder)


def test_a_process_whose_twin_finishes_first_returns_the_same_copy(folder: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, begun = staging._check_copy, []

    def meanwhile_the_twin_finishes(*arguments: object) -> None:
        if not begun:
            begun.append(True)
            stage(folder, scratch)  # and cleans up what this process is copying
        real(*arguments)

    monkeypatch.setattr(staging, "_check_copy", meanwhile_the_twin_finishes)
    copy = stage(folder, scratch)
    assert copy.parent == scratch
    assert shards(copy) == shards(folder)

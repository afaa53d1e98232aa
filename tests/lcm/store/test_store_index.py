"""The index: built only over shards that are whole and of one making; many are checked by several processes."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
import tracemalloc
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import h5py
import numpy as np
import pytest

from lcm.store import Record, StoreError, StorePaths, build_index, read_index, shard, verify_shard, verify_store, write_shard
from lcm.store.checking import check_shards

ROOT = Path(__file__).parents[3]


@dataclass(frozen=True)
class Numbers:
    """A plan of shards with two records each."""

    shards: int = 6
    identity: str = "cafe"
    attrs: dict[str, object] = field(default_factory=lambda: {"codec": "c0de", "teacher": {"steps": [18, 4]}, "note": "[sic"})

    def keys(self, shard: int) -> tuple[str, ...]:
        return f"{shard} a", f"{shard} b"


def record(key: str) -> Record:
    return Record(key, {"codes": np.random.default_rng(list(key.encode())).integers(0, 1024, (9, 8)).astype(np.int16)})


def write(folder: Path, number: int, plan: Numbers = Numbers(), **attrs: object) -> Path:
    path = StorePaths(folder).shard(number, plan.shards)
    noted = {"device": "A", "threads": 2, **plan.attrs, "identity": plan.identity, "shard": number, "shards": plan.shards, **attrs}
    write_shard(path, [record(key) for key in plan.keys(number)], noted)
    return path


def damage(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[data.find(record(f"{int(path.name[6:11])} b").streams["codes"].tobytes()) + 3] ^= 1
    path.write_bytes(data)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    for number in range(Numbers().shards):
        write(tmp_path / "store", number)
    return tmp_path / "store"


@pytest.mark.parametrize("processes", [1, 2, 3, 16])
def test_the_index_is_the_same_whoever_checks(store: Path, processes: int):
    index = build_index(store, Numbers(), processes=processes)
    assert [entry.keys for entry in index.shards] == [Numbers().keys(number) for number in range(6)]
    assert index == build_index(store, Numbers()) == read_index(store)


@pytest.mark.parametrize("processes", [1, 3])
def test_every_missing_and_damaged_shard_is_named(store: Path, processes: int):
    plan = Numbers(12)
    for number in (1, 7):
        write(store, number, plan)
    damage(StorePaths(store).shard(7, 12))
    with pytest.raises(StoreError, match=r"11 of 12 shards are missing or damaged") as caught:
        build_index(store, plan, processes=processes)
    said = str(caught.value)
    assert all(f"shard-{number:05d}-of-00012.h5 is missing" in said for number in (0, 2, 3, 4, 5))
    assert said.endswith("... and 6 more: 6 to 11.")
    assert not StorePaths(store).index.exists()


def test_progress_is_told_shard_by_shard(store: Path):
    told: list[int] = []
    build_index(store, Numbers(), on_shard=told.append, processes=2)
    assert told == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize(("name", "other"), [("codec", "beef"), ("teacher", {"name": "mbd"}), ("note", "sic"), ("identity", "0000")])
def test_a_shard_made_with_something_else_is_refused_by_name(store: Path, name: str, other: object):
    StorePaths(store).shard(4, 6).unlink()
    write(store, 4, **{name: other})
    with pytest.raises(StoreError, match=rf"shard-00004-of-00006\.h5 is of another plan: it says .*{name}.*expected") as caught:
        build_index(store, Numbers())
    assert "1 of 6 shards" in str(caught.value)


def test_a_shard_that_does_not_note_what_was_planned_is_refused(store: Path):
    with h5py.File(StorePaths(store).shard(4, 6), "r+") as file:
        del file.attrs["teacher"]
    with pytest.raises(StoreError, match=r"shard-00004-of-00006\.h5 is of another plan: it says {'teacher': None}"):
        build_index(store, Numbers())


def test_the_seed_of_the_plan_may_be_noted_beside_one_among_its_attrs(tmp_path: Path):
    plan = Numbers(1, attrs={"seed": 7})
    write(tmp_path, 0, plan, seed=0)
    assert build_index(tmp_path, plan).attrs["seed"] == 0


def test_a_store_made_on_different_devices_says_so(store: Path):
    alike = build_index(store, Numbers())
    assert alike.circumstances == [{"device": "A", "threads": 2, "shards": 6}]
    for number in (2, 5):
        StorePaths(store).shard(number, 6).unlink()
        write(store, number, device="B", precision="float16")
    index = build_index(store, Numbers())
    assert index.circumstances == [
        {"device": "A", "threads": 2, "shards": 4},
        {"device": "B", "threads": 2, "precision": "float16", "shards": 2},
    ]
    assert read_index(store).circumstances == index.circumstances
    assert "device" not in index.attrs
    assert index.attrs["threads"] == 2


def test_shards_that_differ_in_streams_are_refused_by_name(store: Path):
    path = StorePaths(store).shard(3, 6)
    path.unlink()
    plan = Numbers()
    noted = {**plan.attrs, "identity": plan.identity, "shard": 3, "shards": 6}
    write_shard(path, [Record(key, {"other": np.zeros((2, 1), np.int16)}) for key in plan.keys(3)], noted)
    with pytest.raises(StoreError, match=r"differ in streams: shard-00003-of-00006\.h5 has"):
        build_index(store, plan)


@pytest.mark.parametrize("text", ["[sic", "{", "null", '"', "", "plain", "☃"])
def test_text_among_the_attrs_is_read_back_as_it_was(tmp_path: Path, text: str):
    write_shard(tmp_path / "x.h5", [record("0 a")], {"note": text, "list": [text]})
    attrs = verify_shard(tmp_path / "x.h5").attrs
    assert (attrs["note"], attrs["list"]) == (text, [text])


def test_the_memory_of_a_check_does_not_grow_with_the_shard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(shard, "_BYTES_PER_READ", 1 << 16)
    many = [Record(str(n), {"codes": np.full((500, 8), n, np.int16), "latents": np.ones((500, 32), np.float16)}) for n in range(200)]
    write_shard(tmp_path / "x.h5", many, {})
    del many
    tracemalloc.start()
    info = verify_shard(tmp_path / "x.h5")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert info.size_bytes > 8e6
    assert peak < 1e6


def test_a_process_that_is_killed_costs_nothing_but_time():
    parent = os.getpid()

    def check(number: int):
        if number == 5 and os.getpid() != parent:
            os.kill(os.getpid(), signal.SIGKILL)
        return number

    with closing(check_shards(check, 20, processes=3)) as results:
        assert list(results) == [(number, "") for number in range(20)]


def test_what_one_shard_says_does_not_keep_the_others_from_being_checked():
    def check(number: int):
        if number % 3 == 1:
            raise StoreError(f"shard {number} is bad")
        return number

    for processes in (1, 2):
        found = list(check_shards(check, 8, processes=processes))
        assert found == [(None, f"shard {n} is bad") if n % 3 == 1 else (n, "") for n in range(8)]


def test_no_process_is_left_by_one_who_stops_early():
    with closing(check_shards(lambda number: bytes(100_000), 50, processes=4)) as results:
        next(results)
        assert len(multiprocessing.active_children()) == 4
    assert multiprocessing.active_children() == []


def test_processes_end_when_the_one_that_asked_is_killed(tmp_path: Path):
    code = f"""
import os, time
from pathlib import Path
from lcm.store.checking import check_shards
def check(number):
    Path({str(tmp_path)!r}, str(os.getpid())).touch()
    return bytes(100_000)
for result in check_shards(check, 1000, processes=3):
    time.sleep(0.05)
"""
    process = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT)
    wait_until(lambda: len(list(tmp_path.iterdir())) == 3)
    process.kill()
    process.wait()
    children = [int(path.name) for path in tmp_path.iterdir()]
    wait_until(lambda: not any(is_running(child) for child in children))


def wait_until(condition, limit_s: float = 30) -> None:
    end = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


@pytest.mark.parametrize("plan", [None, Numbers()])
def test_a_whole_finished_store_has_no_problems(store: Path, plan: Numbers | None):
    build_index(store, Numbers())
    assert verify_store(store, plan) == []


@pytest.mark.parametrize("plan", [None, Numbers()])
def test_a_missing_and_a_damaged_shard_of_a_finished_store_are_named(store: Path, plan: Numbers | None):
    build_index(store, Numbers())
    StorePaths(store).shard(2, 6).unlink()
    damage(StorePaths(store).shard(4, 6))
    missing, damaged = verify_store(store, plan, processes=2)
    assert "shard-00002-of-00006.h5 is missing" in missing
    assert "shard-00004-of-00006.h5 is damaged" in damaged


def test_a_shard_that_is_whole_but_not_the_one_that_was_indexed_is_named(store: Path):
    build_index(store, Numbers())
    path = StorePaths(store).shard(1, 6)
    path.unlink()
    write_shard(path, [record("1 a")], {"identity": "cafe", "shard": 1, "shards": 6})
    (problem,) = verify_store(store)
    assert "shard-00001-of-00006.h5 is whole, but not the one that was indexed" in problem


def test_an_index_of_another_plan_is_named(store: Path):
    build_index(store, Numbers())
    (problem,) = verify_store(store, Numbers(identity="beef"))
    assert "index.json is of the plan cafe, not of beef" in problem


def test_of_an_unfinished_store_the_committed_shards_are_checked(store: Path):
    StorePaths(store).shard(0, 6).unlink()
    assert verify_store(store) == verify_store(store, Numbers()) == []
    damage(StorePaths(store).shard(4, 6))
    for plan in (None, Numbers()):
        (problem,) = verify_store(store, plan)
        assert "shard-00004-of-00006.h5 is damaged" in problem


def test_a_shard_of_another_making_in_an_unfinished_store_is_named(store: Path):
    StorePaths(store).shard(3, 6).unlink()
    write(store, 3, codec="beef")
    (problem,) = verify_store(store)
    assert "shard-00003-of-00006.h5" in problem
    assert "{'codec': ('beef', 'c0de')}" in problem
    (problem,) = verify_store(store, Numbers())
    assert "shard-00003-of-00006.h5 is of another plan" in problem


def test_a_shard_under_anothers_name_is_named(store: Path):
    StorePaths(store).shard(3, 6).rename(StorePaths(store).shard(3, 7))
    (problem,) = verify_store(store)
    assert "shard-00003-of-00007.h5 says that it is shard-00003-of-00006.h5" in problem
    (problem,) = verify_store(store, Numbers())
    assert "shard-00003-of-00007.h5 is not of this plan" in problem

"""Running a plan: what is missing is made, bad items are set aside, sharding and batching change nothing."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from toy_producer import ITEMS, Toy, toy, toy_plan

from lcm.store import Store, StoreError, StorePaths, build_index, verify_shard
from slurm import attempt, run_plan, run_shard
from slurm.attempt import Circumstances
from slurm.batches import FrameBudget, equal_length_batches
from slurm.progress import read_progress
from slurm.signals import Stop


def task_of(**noted: str) -> Circumstances:
    return Circumstances(noted, Stop(), FrameBudget())


@pytest.fixture
def store(tmp_path: Path) -> Path:
    run_plan(tmp_path / "my store", toy_plan(3), toy())
    return tmp_path / "my store"


def test_a_store_holds_what_was_produced(store: Path):
    made, expected = Store(store), Toy(prepared=1).produce(["clip 07"])[0]
    assert made.keys == tuple(key for key, _ in ITEMS)
    np.testing.assert_array_equal(made.read("clip 07", "codes"), expected.streams["codes"])
    assert made.meta("clip 07") == expected.meta


@pytest.mark.parametrize(("shards", "batch_size"), [(1, 1), (7, 3), (24, 64)])
def test_the_result_is_independent_of_shards_and_batches(store: Path, tmp_path: Path, shards: int, batch_size: int):
    index = run_plan(tmp_path / "other", toy_plan(shards), toy(batch_size=batch_size))
    assert index.identity == Store(store).identity


def test_another_seed_gives_another_identity(store: Path, tmp_path: Path):
    assert run_plan(tmp_path / "other", toy_plan(3, seed=2), toy(seed=2)).identity != Store(store).identity


def test_a_finished_store_is_left_alone(store: Path):
    before = {path: path.stat().st_mtime_ns for path in store.rglob("*")}
    run_plan(store, toy_plan(3), never_made)
    assert {path: path.stat().st_mtime_ns for path in store.rglob("*")} == before


def test_only_a_missing_shard_is_made_again(store: Path, tmp_path: Path):
    identity = Store(store).identity
    StorePaths(store).shard(1, 3).unlink()
    index = run_plan(store, toy_plan(3), toy(log=tmp_path / "log"))
    assert sorted((tmp_path / "log").read_text().splitlines()) == list(toy_plan(3).keys(1))
    assert index.identity == identity


def test_a_changed_plan_is_refused_before_anything_is_made(store: Path):
    with pytest.raises(StoreError, match="shards: 3 before, 4 asked"):
        run_plan(store, toy_plan(4), never_made)


def test_a_bad_item_is_quarantined_with_its_reason_and_the_rest_is_made(tmp_path: Path, store: Path):
    index = run_plan(tmp_path / "other", toy_plan(3), toy(bad=frozenset({"clip 05", "clip 20"})))
    with StorePaths(tmp_path / "other").quarantine.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["key"], row["reason"]) for row in rows] == [(k, f"ValueError: {k} is not speech") for k in ("clip 05", "clip 20")]
    assert set(Store(store).keys) - set(Store(tmp_path / "other").keys) == {"clip 05", "clip 20"}
    assert index.quarantined == 2


class Poisoned(Toy):
    def _record(self, key):
        record = super()._record(key)
        record.streams["latents"] = np.full((record.frames, 2), np.nan if key == "clip 03" else 0.5, np.float16)
        return record


def test_a_record_with_nan_is_quarantined(tmp_path: Path):
    assert run_plan(tmp_path, toy_plan(3), Poisoned).quarantined == 1
    assert "clip 03" in StorePaths(tmp_path).quarantine.read_text()


def test_a_producer_that_fails_at_everything_fails_the_run_and_commits_nothing(tmp_path: Path):
    with pytest.raises(StoreError, match=r"3 of 3 shards .* failed.*not speech"):
        run_plan(tmp_path, toy_plan(3), toy(bad=frozenset(dict(ITEMS))))
    assert not list(StorePaths(tmp_path).shard_folder.glob("*.h5"))
    assert read_progress(StorePaths(tmp_path).progress(0)).state == "failed"


class Forgetful(Toy):
    def produce(self, keys):
        return super().produce(keys)[:-1]


def test_a_producer_that_drops_a_record_fails_the_shard(tmp_path: Path):
    with pytest.raises(StoreError, match="one record a key, in order"):
        run_plan(tmp_path, toy_plan(3), Forgetful)


class OutOfMemory(Toy):
    def produce(self, keys):
        if "clip 05" in keys and not MEMORY:
            raise MemoryError("no memory left")
        return super().produce(keys)


MEMORY: list[int] = []


def test_running_out_of_memory_is_not_the_items_fault_and_is_tried_again(tmp_path: Path, store: Path):
    with pytest.raises(StoreError, match="MemoryError"):
        run_plan(tmp_path / "other", toy_plan(3), OutOfMemory)
    MEMORY.append(1)
    assert run_plan(tmp_path / "other", toy_plan(3), OutOfMemory).identity == Store(store).identity


def test_a_failed_shard_does_not_keep_the_others_from_being_made(tmp_path: Path):
    MEMORY.clear()
    with pytest.raises(StoreError, match="1 of 3 shards"):
        run_plan(tmp_path, toy_plan(3), OutOfMemory)
    assert len(list(StorePaths(tmp_path).shard_folder.glob("*.h5"))) == 2


def test_of_two_twins_the_first_commit_stays(tmp_path: Path, store: Path):
    class Slow(Toy):
        def produce(self, keys):
            if "clip 03" in keys:
                assert run_shard(tmp_path / "s", toy_plan(3), 0, Toy(prepared=1), task_of(commit="twin"))
            return super().produce(keys)

    assert run_shard(tmp_path / "s", toy_plan(3), 0, Slow(prepared=1, batch_size=1), task_of(commit="slow")) is False
    info = verify_shard(StorePaths(tmp_path / "s").shard(0, 3))
    assert info.attrs["commit"] == "twin"
    assert info.checksums == verify_shard(StorePaths(store).shard(0, 3)).checksums
    assert [path.name for path in StorePaths(tmp_path / "s").shard_folder.iterdir()] == ["shard-00000-of-00003.h5"]


def test_a_twin_that_commits_and_cleans_up_between_write_and_claim_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def overtaken(*args: object) -> None:
        monkeypatch.undo()
        attempt.write_shard(*args)
        assert run_shard(tmp_path, toy_plan(3), 0, Toy(prepared=1), task_of(commit="twin"))

    monkeypatch.setattr(attempt, "write_shard", overtaken)
    assert run_shard(tmp_path, toy_plan(3), 0, Toy(prepared=1), task_of(commit="slow")) is False
    assert verify_shard(StorePaths(tmp_path).shard(0, 3)).attrs["commit"] == "twin"
    assert read_progress(StorePaths(tmp_path).progress(0)).state == "done"


def test_a_damaged_shard_is_named_and_the_others_stay(store: Path):
    path = StorePaths(store).shard(2, 3)
    flip(path, path.read_bytes().find(Toy(prepared=1).produce(["clip 20"])[0].streams["codes"].tobytes()))
    with pytest.raises(StoreError, match=r"1 of 3 shards.*\n.*shard-00002-of-00003\.h5 is damaged.*clip 20"):
        build_index(store, toy_plan(3))
    path.unlink()
    assert run_plan(store, toy_plan(3), toy()).shards[2].file == path.name


def test_a_missing_shard_is_named_by_the_index_and_by_the_reader(store: Path):
    opened = Store(store)
    StorePaths(store).shard(0, 3).unlink()
    with pytest.raises(StoreError, match=r"shard-00000-of-00003\.h5 is missing"):
        opened.read("clip 00", "codes")
    with pytest.raises(StoreError, match=r"shard-00000-of-00003\.h5 is missing"):
        build_index(store, toy_plan(3))


def test_a_shard_of_another_plan_is_refused_by_the_index(store: Path, tmp_path: Path):
    run_plan(tmp_path / "other", toy_plan(3, seed=2), toy(seed=2))
    StorePaths(tmp_path / "other").shard(1, 3).replace(StorePaths(store).shard(1, 3))
    with pytest.raises(StoreError, match=r"shard-00001-of-00003\.h5 is of another plan"):
        build_index(store, toy_plan(3))


def test_a_finished_store_keeps_no_journals(store: Path):
    assert not list(store.rglob("*.journal"))
    assert not list(store.rglob("*.part"))


def test_the_attrs_of_plan_and_provenance_are_noted(tmp_path: Path):
    index = run_plan(tmp_path, toy_plan(2, codes="beef"), toy(), provenance={"commit": "abc"})
    assert {name: index.attrs[name] for name in ("codes", "commit", "seed")} == {"codes": "beef", "commit": "abc", "seed": 1}


def test_batches_hold_one_length_and_every_item_once():
    batches = list(equal_length_batches(toy_plan().items, 4))
    lengths = dict(ITEMS)
    assert sorted(item.key for items in batches for item in items) == sorted(lengths)
    assert all(len({item.length for item in items}) == 1 and len(items) <= 4 for items in batches)


def test_submitit_jobs_make_the_same_store(tmp_path: Path, store: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PYTHONPATH", f"{Path(__file__).parents[2]}:{Path(__file__).parent}")
    index = run_plan(tmp_path / "other", toy_plan(3), toy(), processes=2)
    assert index.identity == Store(store).identity
    assert len(list(StorePaths(tmp_path / "other").logs.rglob("*_result.pkl"))) == 2


def test_a_failing_submitit_job_is_named_with_its_logs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PYTHONPATH", f"{Path(__file__).parents[2]}:{Path(__file__).parent}")
    bad = frozenset(toy_plan(3).keys(1))
    with pytest.raises(StoreError, match=r"1 of 3 shards .* shard 1: StoreError: .*Logs: "):
        run_plan(tmp_path, toy_plan(3), toy(bad=bad), processes=1)


def never_made() -> Toy:
    raise AssertionError("nothing was missing, yet a producer was made")


def flip(path: Path, position: int) -> None:
    assert position >= 0
    data = bytearray(path.read_bytes())
    data[position] ^= 0xFF
    path.write_bytes(data)

"""How far two stores agree."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from lcm.store import Record, StoreError, StorePaths, build_index, write_shard
from slurm.compare import compare
from slurm.shards import make_plan

BOOKS = 4


def record(key: str, frames: int = 10) -> Record:
    rng = np.random.default_rng(ord(key[0]))
    codes = rng.integers(0, 1024, (frames, BOOKS)).astype(np.int16)
    return Record(key, {"codes": codes, "latents": rng.standard_normal((frames, 8)).astype(np.float16)})


def store(folder: Path, records: list[Record], shards: int = 1, each: Sequence[dict[str, str]] = (), **attrs: object) -> Path:
    plan = make_plan([(record.key, record.frames) for record in records], shards, attrs=attrs)
    by_key = {record.key: record for record in records}
    for shard in range(plan.shards):
        noted = {"identity": plan.identity, "shard": shard, "shards": plan.shards, "seed": 0, "commit": "unknown", **attrs}
        noted.update(each[shard] if each else {})
        write_shard(StorePaths(folder).shard(shard, plan.shards), [by_key[key] for key in plan.keys(shard)], noted)
    build_index(folder, plan)
    return folder


def changed(original: Record, rows: int, column: int) -> Record:
    codes = original.streams["codes"].copy()
    codes[:rows, column] += 1
    return Record(original.key, {**original.streams, "codes": codes})


def shown(comparison: object) -> str:
    console = Console(width=200)
    with console.capture() as text:
        console.print(comparison)
    return text.get()


def test_the_same_clips_in_other_shards_are_equal(tmp_path: Path) -> None:
    records = [record(key) for key in "abcd"]
    comparison = compare(store(tmp_path / "one", records), store(tmp_path / "other", records, shards=3))
    assert comparison.equal
    assert comparison.streams["codes"].clips == 4
    assert comparison.made == {}
    assert "equal" in shown(comparison)


def test_codes_are_counted_by_codebook_and_by_clip(tmp_path: Path) -> None:
    a, b = [record(key) for key in "abcd"], [record(key) for key in "abcd"]
    b[1], b[2] = changed(b[1], 4, 3), changed(b[2], 6, 3)
    codes = compare(store(tmp_path / "a", a), store(tmp_path / "b", b)).streams["codes"]
    assert codes.share == pytest.approx(10 / (4 * 10 * BOOKS))
    assert codes.shares_by_column == pytest.approx((0, 0, 0, 10 / 40))
    assert codes.share_of_clips == pytest.approx(2 / 4)


def test_latents_are_measured_by_their_largest_and_rms_difference(tmp_path: Path) -> None:
    a = record("a")
    latents = a.streams["latents"].copy()
    latents[0, 0] += 2
    b = Record("a", {**a.streams, "latents": latents})
    found = compare(store(tmp_path / "a", [a]), store(tmp_path / "b", [b])).streams["latents"]
    gap = float(latents[0, 0]) - float(a.streams["latents"][0, 0])  # as float16 holds it
    assert found.largest == pytest.approx(gap)
    assert found.rms == pytest.approx(gap / np.sqrt(80))
    assert found.values_that_differ == 1


def test_clips_of_another_length_differ_and_are_left_out_of_the_shares(tmp_path: Path) -> None:
    a, b = store(tmp_path / "a", [record("a"), record("b")]), store(tmp_path / "b", [record("a"), record("b", frames=11)])
    comparison = compare(a, b)
    assert comparison.streams["codes"].other_length == 1
    assert comparison.streams["codes"].share == 0
    assert not comparison.equal
    assert "another length" in shown(comparison)


def test_clips_that_only_one_store_has_are_named(tmp_path: Path) -> None:
    comparison = compare(store(tmp_path / "a", [record("a"), record("b")]), store(tmp_path / "b", [record("b"), record("c")]))
    assert (comparison.only_a, comparison.only_b) == (("a",), ("c",))
    assert not comparison.equal
    assert f"only in {tmp_path / 'a'}: a" in shown(comparison)


def test_streams_that_only_one_store_has_are_named(tmp_path: Path) -> None:
    bare = Record("a", {"codes": record("a").streams["codes"]})
    comparison = compare(store(tmp_path / "a", [record("a")]), store(tmp_path / "b", [bare]))
    assert list(comparison.streams) == ["codes"]
    assert "latents" in comparison.not_compared
    assert not comparison.equal


def test_streams_of_another_width_are_named_with_both(tmp_path: Path) -> None:
    half = record("a")
    half = Record("a", {**half.streams, "codes": half.streams["codes"][:, :2]})
    comparison = compare(store(tmp_path / "a", [record("a")]), store(tmp_path / "b", [half]))
    assert "4 columns" in comparison.not_compared["codes"]
    assert "2 in" in comparison.not_compared["codes"]


def test_what_the_stores_were_made_with_is_said_where_it_differs(tmp_path: Path) -> None:
    a, b = store(tmp_path / "a", [record("a")], device="cpu"), store(tmp_path / "b", [record("a")], device="H200")
    comparison = compare(a, b)
    assert comparison.made == {"device": ("cpu", "H200")}
    assert comparison.equal
    assert "device: cpu and H200" in shown(comparison)


def test_a_store_made_on_several_devices_names_them_all(tmp_path: Path) -> None:
    records = [record(key) for key in "abc"]
    mixed = store(tmp_path / "mixed", records, shards=3, each=[{"device": device} for device in ("cpu", "H200", "cpu")])
    assert compare(store(tmp_path / "a", records, device="cpu"), mixed).made == {"device": ("cpu", "cpu, H200")}


def test_stores_without_a_common_clip_are_refused_with_an_example_of_each(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no clip in common: 'a' in one, 'b' in the other"):
        compare(store(tmp_path / "a", [record("a")]), store(tmp_path / "b", [record("b")]))


def test_a_store_that_is_not_finished_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="No finished store"):
        compare(store(tmp_path / "a", [record("a")]), tmp_path / "b")

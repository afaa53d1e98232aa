"""Shards: written whole, verified, claimed once."""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path

import h5py
import numpy as np
import pytest

from lcm.store import Record, StoreError, claim, verify_shard, write_shard

ATTRS = {"identity": "0123", "shard": 42, "shards": 400, "seed": 1, "commit": "abc", "codec": {"name": "small", "books": 8}}


def records(count: int = 5, seed: int = 0) -> list[Record]:
    rng = np.random.default_rng(seed)
    made = []
    for number in range(count):
        frames = int(rng.integers(20, 60))
        codes = rng.integers(0, 1024, (frames, 8)).astype(np.int16)
        latents = rng.standard_normal((frames, 16)).astype(np.float16)
        made.append(Record(f"utterance {number}", {"codes": codes, "latents": latents}, {"speaker": f"s{number}"}))
    return made


@pytest.fixture
def shard(tmp_path: Path) -> Path:
    path = tmp_path / "shard-00042-of-00400.h5"
    write_shard(path, records(), ATTRS, {"bad one": "ValueError: silent"})
    return path


def test_a_written_shard_verifies_and_says_what_it_holds(shard: Path):
    info = verify_shard(shard)
    assert info.keys == tuple(f"utterance {n}" for n in range(5))
    assert info.frames == tuple(record.frames for record in records())
    assert {name: (s.dtype, s.width) for name, s in info.streams.items()} == {"codes": ("<i2", 8), "latents": ("<f2", 16)}
    assert info.quarantined == {"bad one": "ValueError: silent"}
    assert (info.attrs["shard"], info.attrs["commit"], info.attrs["codec"]) == (42, "abc", ATTRS["codec"])


def test_a_shard_is_laid_out_as_documented(shard: Path):
    with h5py.File(shard) as file:
        offsets, second = file["offsets"][...], records()[1]
        np.testing.assert_array_equal(file["streams/codes"][offsets[1] : offsets[2]], second.streams["codes"])
        assert (file["offsets"].dtype, file["checksums"].dtype, len(offsets)) == (np.int64, np.uint32, 6)
        assert file["ids"].asstr()[1] == second.key
        assert file.attrs["schema"] == 1


def test_a_shard_without_records_verifies(tmp_path: Path):
    write_shard(tmp_path / "empty.h5", [], ATTRS, {"a": "why"})
    info = verify_shard(tmp_path / "empty.h5")
    assert (info.keys, info.streams, info.quarantined) == ((), {}, {"a": "why"})


def test_more_records_than_one_batch_of_writing_arrive_in_order(tmp_path: Path):
    many = [Record(str(n), {"codes": np.full((2, 1), n, np.int16)}) for n in range(600)]
    write_shard(tmp_path / "many.h5", many, ATTRS)
    with h5py.File(tmp_path / "many.h5") as file:
        np.testing.assert_array_equal(file["streams/codes"][:, 0], np.repeat(np.arange(600), 2))


@pytest.mark.parametrize("table", ["streams/codes", "streams/latents", "offsets", "checksums", "ids", "meta", "quarantined"])
def test_a_change_in_any_table_is_found_and_the_shard_named(shard: Path, table: str):
    with h5py.File(shard, "r+") as file:
        dataset = file[table]
        dataset[0] = "x" if dataset.dtype.kind == "O" else dataset[0] + 1
    with pytest.raises(StoreError, match=r"shard-00042-of-00400\.h5 is damaged.*Delete it"):
        verify_shard(shard)


def test_any_flipped_byte_is_found_or_leaves_the_content_as_it_was(shard: Path):
    before, data = verify_shard(shard), shard.read_bytes()
    rng, found = np.random.default_rng(0), 0
    for position in rng.integers(0, len(data), 60):
        flipped = bytearray(data)
        flipped[position] ^= 0xFF
        shard.write_bytes(flipped)
        try:
            after = verify_shard(shard)
        except StoreError:
            found += 1
        else:  # the byte was padding of HDF5's, or an attribute
            assert (after.digest, after.checksums) == (before.digest, before.checksums)
    assert found > 20


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_a_truncated_shard_is_found_and_named(shard: Path, share: float):
    data = shard.read_bytes()
    shard.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(StoreError, match=shard.name):
        verify_shard(shard)


def test_a_missing_shard_is_named(tmp_path: Path):
    with pytest.raises(StoreError, match=r"shard-1\.h5 is missing"):
        verify_shard(tmp_path / "shard-1.h5")


def test_records_with_different_streams_are_refused(tmp_path: Path):
    other = Record("other", {"codes": np.zeros((3, 8), np.int16)})
    with pytest.raises(StoreError, match="'other' has streams"):
        write_shard(tmp_path / "x.h5", [*records(1), other], ATTRS)


def test_of_many_twins_that_claim_at_once_one_wins(tmp_path: Path):
    final, barrier, won = tmp_path / "shard.h5", threading.Barrier(8), []
    parts = [tmp_path / f"{n}.part" for n in range(8)]
    for part in parts:
        part.write_text(part.name)

    def run(part: Path) -> None:
        barrier.wait()
        if claim(part, final):
            won.append(part.name)

    threads = [threading.Thread(target=run, args=(part,)) for part in parts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert won == [final.read_text()]
    assert list(tmp_path.iterdir()) == [final]


@pytest.mark.parametrize("taken", [True, False])
def test_without_hard_links_a_rename_claims_a_free_name_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, taken: bool):
    def refuse(*_: object) -> None:  # no file system without hard links can be mounted here
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    part, final = tmp_path / "x.part", tmp_path / "x.h5"
    part.write_text("mine")
    if taken:
        final.write_text("twin's")
    assert claim(part, final) is not taken
    assert final.read_text() == ("twin's" if taken else "mine")
    assert not part.exists()

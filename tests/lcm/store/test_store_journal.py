"""Journals: what was appended before a death is there after it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from lcm.store import Journal, Record, StoreError, read_journal
from lcm.store.record import as_stored

ROOT = Path(__file__).parents[3]


def record(key: str, frames: int = 5) -> Record:
    codes = np.arange(frames * 8, dtype=np.int16).reshape(frames, 8)
    return Record(key, {"codes": codes, "latents": codes.astype(np.float16) / 7}, {"speaker": "a ☃", "seed": 3})


def keys(path: Path) -> list[str]:
    return [found.key for found in read_journal(path)]


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    path = tmp_path / "attempt one.journal"
    with Journal(path) as writer:
        writer.append(record("a"))
        writer.extend([record("b", 3), record("c")])
    return path


def test_appended_records_are_read_back_whole(journal: Path):
    found = list(read_journal(journal))[1]
    expected = record("b", 3)
    assert (found.key, found.meta) == (expected.key, expected.meta)
    for name, array in expected.streams.items():
        np.testing.assert_array_equal(found.streams[name], array)
        assert found.streams[name].dtype == array.dtype


def test_a_big_endian_array_is_stored_by_value():
    array = np.array([[1, 2]], dtype=">i2")
    assert as_stored(array).tobytes() == b"\x01\x00\x02\x00"


@pytest.mark.parametrize("lost_bytes", [1, 40, 200])
def test_a_torn_tail_costs_the_last_record_alone(journal: Path, lost_bytes: int):
    data = journal.read_bytes()
    journal.write_bytes(data[:-lost_bytes])
    assert keys(journal) == ["a", "b"]


def test_every_cut_of_a_journal_reads_as_a_prefix_of_its_records(journal: Path):
    data, seen = journal.read_bytes(), set()
    for length in range(0, len(data), 7):
        journal.write_bytes(data[:length])
        found = keys(journal)
        assert found == ["a", "b", "c"][: len(found)]
        seen.add(len(found))
    assert seen == {0, 1, 2}


def test_a_damaged_record_ends_the_journal_before_it(journal: Path):
    data = bytearray(journal.read_bytes())
    data[len(data) // 2] ^= 1
    journal.write_bytes(data)
    assert keys(journal) in (["a"], ["a", "b"])


def test_a_damaged_length_does_not_ask_for_memory(journal: Path):
    data = bytearray(journal.read_bytes())
    data[8:12] = b"\xff\xff\xff\xff"
    journal.write_bytes(data)
    assert keys(journal) == []


@pytest.mark.parametrize("content", [b"", b"LCM", b"something else entirely"])
def test_a_foreign_or_empty_file_reads_as_no_records(tmp_path: Path, content: bytes):
    (tmp_path / "x.journal").write_bytes(content)
    assert keys(tmp_path / "x.journal") == []


def test_a_second_writer_of_one_journal_is_refused(journal: Path):
    with pytest.raises(StoreError, match="belongs to another attempt"):
        Journal(journal)


def test_a_record_with_nan_is_refused_and_nothing_of_its_batch_appended(tmp_path: Path):
    bad = record("bad")
    bad.streams["latents"][2, 1] = np.nan
    with Journal(tmp_path / "x.journal") as journal, pytest.raises(StoreError, match="'bad', stream 'latents' holds NaN"):
        journal.extend([record("a"), bad])
    assert keys(tmp_path / "x.journal") == []


def test_streams_of_different_lengths_are_refused_with_their_shapes(tmp_path: Path):
    bad = Record("bad", {"hr": np.zeros((3, 8), np.int16), "lr0": np.zeros((4, 8), np.int16)})
    with Journal(tmp_path / "x.journal") as journal, pytest.raises(StoreError, match=r"\(3, 8\).*\(4, 8\)"):
        journal.append(bad)


def test_a_write_that_the_disk_refuses_halfway_is_undone(tmp_path: Path):
    code = f"""
import resource, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from test_store_journal import Journal, Path, record
journal = Journal(Path({str(tmp_path)!r}) / "x.journal")
journal.append(record("a"))
resource.setrlimit(resource.RLIMIT_FSIZE, (journal._size + 700, journal._size + 700))
try:
    journal.append(record("too long", 40))
except OSError as error:
    print("refused")
journal.append(record("b", 3))
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "refused"
    assert keys(tmp_path / "x.journal") == ["a", "b"]

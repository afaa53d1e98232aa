"""Reading a finished store, from any process."""

from __future__ import annotations

import os
import pickle
import shutil
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import pytest

from lcm.store import Record, Store, StoreError, StorePaths, build_index, write_shard

BOOKS = 8


@dataclass(frozen=True)
class TwoShards:
    """The smallest plan there is."""

    names: tuple[tuple[str, ...], ...] = (("a", "b|0", "ç"), ("d", "e"))
    identity: str = "cafe"

    @property
    def attrs(self) -> dict[str, str]:
        return {"codes": "1234"}

    @property
    def shards(self) -> int:
        return len(self.names)

    def keys(self, shard: int) -> tuple[str, ...]:
        return self.names[shard]


def record(key: str) -> Record:
    rng = np.random.default_rng(ord(key[0]))
    frames = int(rng.integers(30, 90))
    codes = rng.integers(0, 1024, (frames, BOOKS)).astype(np.int16)
    return Record(key, {"codes": codes, "latents": rng.standard_normal((frames, 4)).astype(np.float16)}, {"speaker": key})


def make(folder: Path, plan: TwoShards = TwoShards()) -> Path:
    for shard in range(plan.shards):
        attrs = {"identity": plan.identity, "shard": shard, "shards": plan.shards, "seed": 0, **plan.attrs}
        write_shard(StorePaths(folder).shard(shard, plan.shards), [record(key) for key in plan.keys(shard)], attrs)
    build_index(folder, plan)
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make(tmp_path / "a store")


def damage(folder: Path, key: str) -> Path:
    """Flip one byte of a record's codes, leaving the file's size as it is."""
    path = next(path for path in StorePaths(folder).shard_folder.iterdir() if record(key).streams["codes"].tobytes() in path.read_bytes())
    data = bytearray(path.read_bytes())
    data[data.find(record(key).streams["codes"].tobytes()) + 11] ^= 1
    path.write_bytes(data)
    return path


def test_every_record_is_read_back_as_written(folder: Path):
    store = Store(folder)
    assert store.keys == ("a", "b|0", "ç", "d", "e")
    for key in store.keys:
        assert (store.frames(key), store.meta(key)) == (record(key).frames, record(key).meta)
        for name, array in record(key).streams.items():
            np.testing.assert_array_equal(store.read(key, name), array)
            assert store.read(key, name).dtype == array.dtype


def test_a_crop_is_the_slice_of_the_whole(folder: Path):
    whole = record("d").streams["codes"]
    np.testing.assert_array_equal(Store(folder).read("d", "codes", 7, 19), whole[7:19])
    assert Store(folder).read("d", "codes", 5, 5).shape == (0, BOOKS)


def test_a_crop_may_be_changed_without_changing_the_store(folder: Path):
    store = Store(folder)
    store.read("d", "codes")[:] = 0
    np.testing.assert_array_equal(store.read("d", "codes"), record("d").streams["codes"])


@pytest.mark.parametrize(("start", "stop"), [(-1, 5), (0, 1000), (9, 8)])
def test_frames_outside_a_record_are_refused(folder: Path, start: int, stop: int):
    with pytest.raises(ValueError, match=r"of 'd' in the store .* do not exist"):
        Store(folder).read("d", "codes", start, stop)


def test_an_unknown_key_is_named_with_the_store(folder: Path):
    with pytest.raises(KeyError, match=r"a store has no record 'nobody'"):
        Store(folder).read("nobody", "codes")


def test_an_unknown_stream_is_named_with_those_there_are(folder: Path):
    with pytest.raises(KeyError, match=r"no stream 'hr'.*only codes, latents"):
        Store(folder).read("a", "hr")


def test_the_identity_is_of_content_alone(folder: Path, tmp_path: Path):
    assert Store(make(tmp_path / "b", TwoShards((("e", "a"), ("d",), ("b|0", "ç")), "beef"))).identity == Store(folder).identity
    assert Store(make(tmp_path / "c", TwoShards((("e", "a"),)))).identity != Store(folder).identity


def test_a_store_may_be_moved(folder: Path, tmp_path: Path):
    identity = Store(folder).identity
    moved = Store(shutil.move(folder, tmp_path / "elsewhere"))
    assert moved.identity == identity
    np.testing.assert_array_equal(moved.read("a", "codes"), record("a").streams["codes"])


def test_what_all_shards_note_is_an_attribute_of_the_store(folder: Path):
    assert Store(folder).attrs["codes"] == "1234"
    assert "shard" not in Store(folder).attrs


def test_a_folder_without_an_index_is_refused(tmp_path: Path):
    with pytest.raises(StoreError, match="No finished store"):
        Store(tmp_path)


def test_a_flipped_byte_is_found_at_the_first_read_of_its_record_and_not_before(folder: Path):
    path, store = damage(folder, "d"), Store(folder)
    store.read("e", "codes")
    with pytest.raises(StoreError, match=rf"{path.name} is damaged.*'d' \(row 0\) differs from its checksum"):
        store.read("d", "codes", 20, 25)
    with pytest.raises(StoreError, match=path.name):
        Store(folder).preload()


def test_a_shard_that_was_exchanged_is_refused(folder: Path):
    path = StorePaths(folder).shard(1, 2)
    path.unlink()
    write_shard(path, [record("e"), record("d")], {"identity": "cafe", "shard": 1, "shards": 2})
    with pytest.raises(StoreError, match=r"shard-00001-of-00002.* not those that were indexed"):
        Store(folder).read("d", "codes")


def test_a_missing_shard_is_never_read_as_zeros(folder: Path):
    store = Store(folder)
    StorePaths(folder).shard(1, 2).unlink()
    with pytest.raises(StoreError, match=r"shard-00001-of-00002\.h5 is missing"):
        store.read("d", "codes")


def test_a_preloaded_store_needs_no_files(folder: Path):
    store = Store(folder).preload()
    shutil.rmtree(folder)
    np.testing.assert_array_equal(store.read("e", "latents"), record("e").streams["latents"])
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(store)).read("e", "latents"), record("e").streams["latents"])


def test_an_opened_store_pickles_small_and_reads_after(folder: Path):
    store = Store(folder)
    store.read("a", "codes")
    data = pickle.dumps(store)
    assert len(data) < 5000
    np.testing.assert_array_equal(pickle.loads(data).read("a", "codes"), record("a").streams["codes"])


def test_a_read_keeps_no_hdf5_file_open_for_a_fork_to_share(folder: Path):
    store = Store(folder)
    store.read("a", "codes")
    assert h5py.h5f.get_obj_count(h5py.h5f.OBJ_ALL, h5py.h5f.OBJ_FILE) == 0


def test_a_store_opened_before_a_fork_is_read_by_the_child(folder: Path):
    store = Store(folder)
    expected = store.read("a", "codes")
    child = os.fork()
    if child == 0:
        os._exit(0 if (store.read("a", "codes") == expected).all() and len(store.read("d", "codes")) else 1)
    assert os.waitpid(child, 0)[1] == 0


def test_data_loader_workers_read_the_store(folder: Path):
    torch = pytest.importorskip("torch")

    class Clips(torch.utils.data.Dataset):
        def __init__(self) -> None:
            self.store = Store(folder)
            self.store.read("a", "codes")  # opened before the workers are forked

        def __len__(self) -> int:
            return len(self.store)

        def __getitem__(self, number: int) -> object:
            return torch.from_numpy(self.store.read(self.store.keys[number], "codes", 2, 22))

    batches = list(torch.utils.data.DataLoader(Clips(), batch_size=2, num_workers=2))
    expected = np.stack([record(key).streams["codes"][2:22] for key in Store(folder).keys])
    np.testing.assert_array_equal(torch.cat(batches).numpy(), expected)

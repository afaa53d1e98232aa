from dataclasses import fields

import numpy as np
import pytest
import torch

from lcm.codec import HOP
from lcm.data import CropSource, DataConfig
from lcm.errors import TrainingError
from lcm.schedule import frame_noise
from lcm.store import Record, Store
from slurm.local import run_plan
from slurm.shards import make_plan

LENGTHS = {"a": 90, "b": 60, "c": 20}
CUTOFFS_HZ = (6000.0, 4500.0)


class Numbered:
    """Writes records whose values tell clip, variant and frame: nothing can be mistaken for anything else."""

    batch_size = 1

    def __init__(self, overlay):
        self.overlay = overlay

    def prepare(self):
        pass

    def produce(self, keys):
        return [self._taught(key) if self.overlay else self._coded(key) for key in keys]

    def _coded(self, key):
        streams = {name: values(key, i) for i, name in enumerate(("hr", "lr0", "lr1"))}
        return Record(key, streams, {"degradations": [{"cutoff_hz": hz} for hz in CUTOFFS_HZ]})

    def _taught(self, key):
        utterance, variant = key.split("|")
        codes = values(utterance, 3 + int(variant))
        return Record(key, {"codes": codes, "latents": codes.astype(np.float16)}, {"seed": 1000 + ord(key[0]) + int(variant)})


def values(key, stream):
    """Return codes [F, 2]: 128 * stream + frame in the first codebook, the clip's number in the second."""
    first = 128 * stream + np.arange(LENGTHS[key])
    return np.stack([first, np.full_like(first, "abc".index(key))], 1).astype(np.int16)


def filled(folder, items, overlay):
    run_plan(folder, make_plan(items, 1), lambda: Numbered(overlay))
    return Store(folder)


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    codes = filled(tmp_path_factory.mktemp("codes"), list(LENGTHS.items()), overlay=False)
    taught = [(f"{k}|{i}", f) for k, f in LENGTHS.items() for i in range(2)]
    return codes, filled(tmp_path_factory.mktemp("overlay"), taught, overlay=True)


@pytest.fixture
def source(stores):
    def make(target="hr", pairs=False, waveforms=None, keys=tuple(LENGTHS), **config):
        overlay = None if target == "hr" else stores[1]
        settings = DataConfig(**{"crop_frames": 32, "target": target, **config})
        return CropSource(stores[0], keys, settings, overlay=overlay, waveforms=waveforms, pairs=pairs)

    return make


def frames_of(codes, mask):
    """Return (stream, first frame) of a crop's codes [2, F], and check that it is contiguous."""
    stream, frame = codes[0][mask] // 128, codes[0][mask] % 128
    assert len(stream.unique()) == 1
    assert torch.equal(frame, frame[0] + torch.arange(len(frame)))
    return int(stream[0]), int(frame[0])


def equal(a, b):
    return all(torch.equal(getattr(a, f.name), getattr(b, f.name)) for f in fields(a))


def test_a_batch_depends_on_seed_and_step_alone(source):
    crops = source()
    assert equal(crops.batch(4, seed=1, step=2), source().batch(4, seed=1, step=2))
    assert not equal(crops.batch(4, seed=1, step=2), crops.batch(4, seed=1, step=3))
    assert not equal(crops.batch(4, seed=1, step=2), crops.batch(4, seed=2, step=2))


@pytest.mark.parametrize("world", [2, 4])
def test_ranks_divide_the_batch_of_one_process(source, world):
    crops = source("mix", pairs=True)
    whole = crops.batch(8, seed=0, step=5)
    parts = [crops.batch(8, seed=0, step=5, rank=r, world=world) for r in range(world)]
    for f in fields(whole):
        assert torch.equal(getattr(whole, f.name), torch.cat([getattr(p, f.name) for p in parts]))


def test_input_and_target_show_the_same_frames_of_the_same_clip(source):
    batch = source().batch(64, seed=0, step=0)
    starts = set()
    for i in range(64):
        mask = batch.mask[i]
        (lr, start), (hr, same) = frames_of(batch.lr_codes[i], mask), frames_of(batch.target_codes[i], mask)
        assert (lr in (1, 2), hr, start) == (True, 0, same)
        assert torch.equal(batch.lr_codes[i, 1], batch.target_codes[i, 1])
        assert float(batch.cutoff_hz[i]) == CUTOFFS_HZ[lr - 1]
        starts.add(start)
    assert len(starts) > 20


def test_every_start_of_a_clip_can_be_drawn_and_none_beyond_its_end(source):
    crops = source(keys=("b",), crop_frames=56)
    batches = [crops.batch(16, seed=0, step=s) for s in range(8)]
    assert all(bool(batch.mask.all()) for batch in batches)
    assert {frames_of(c, m)[1] for batch in batches for c, m in zip(batch.lr_codes, batch.mask, strict=True)} == {0, 1, 2, 3, 4}


def test_a_short_clip_is_padded_and_masked(source):
    batch = source(keys=("c",)).batch(2, seed=0, step=0)
    assert batch.lr_codes.shape == (2, 2, 32)
    assert batch.mask.sum(1).tolist() == [20, 20]
    assert bool((batch.lr_codes[..., 20:] == 0).all())


def test_longer_clips_are_drawn_more_often(source):
    clips = source().batch(600, seed=0, step=0).lr_codes[:, 1, 0].bincount()
    assert clips[0] > clips[1] > clips[2] > 0


@pytest.mark.parametrize(("target", "low", "high"), [("hr", 0, 0), ("mix", 20, 44), ("teacher", 64, 64)])
def test_the_target_is_the_originals_or_the_teachers_for_the_variant_that_is_shown(source, target, low, high):
    batch = source(target).batch(64, seed=0, step=0)
    assert low <= int(batch.from_teacher.sum()) <= high
    for i, taught in enumerate(batch.from_teacher.tolist()):
        (lr, start), (stream, same) = (frames_of(c[i], batch.mask[i]) for c in (batch.lr_codes, batch.target_codes))
        assert start == same
        assert stream == (lr + 2 if taught else 0)  # variant 0 is stream 1 of the codes and 3 of the overlay


def test_compared_targets_see_the_same_crops(source):
    a, b, c = (source(t).batch(16, seed=3, step=4) for t in ("hr", "mix", "teacher"))
    assert torch.equal(a.lr_codes, b.lr_codes)
    assert torch.equal(a.lr_codes, c.lr_codes)


def test_pairs_bring_the_teachers_latents_and_the_noise_of_their_frames(source):
    batch = source("mix", pairs=True).batch(32, seed=0, step=0)
    for i, taught in enumerate(batch.from_teacher.tolist()):
        if not taught:
            assert not batch.noise[i].any()
            assert not batch.latents[i].any()
            continue
        real = int(batch.mask[i].sum())
        assert torch.equal(batch.latents[i], batch.target_codes[i].float())
        (lr, start), clip = frames_of(batch.lr_codes[i], batch.mask[i]), "abc"[int(batch.lr_codes[i, 1, 0])]
        whole = frame_noise(2, LENGTHS[clip], seed=1000 + ord(clip) + lr - 1)
        assert torch.equal(batch.noise[i, :, :real], whole[:, start : start + real])
        assert not batch.noise[i, :, real:].any()


def test_without_pairs_nothing_of_the_kind_is_read(source):
    batch = source("teacher").batch(2, seed=0, step=0)
    assert batch.noise.shape == batch.latents.shape == (2, 0, 32)


@pytest.mark.parametrize(("share", "low", "high"), [(0.0, 0, 0), (0.3, 8, 32), (1.0, 64, 64)])
def test_the_cutoff_is_kept_back_from_the_asked_share_of_crops(source, share, low, high):
    batch = source(unknown_cutoff=share).batch(64, seed=0, step=0)
    assert low <= int((batch.cutoff_hz == 0).sum()) <= high


def test_audio_is_cut_where_the_codes_are_and_padded_with_silence(source):
    def read(key):
        return np.repeat(np.arange(LENGTHS[key], dtype=np.float32) + 1, HOP)[:-100]  # a clip ends inside its last frame

    batch = source(waveforms=read).batch(32, seed=0, step=0)
    assert batch.audio.shape == (32, 32 * HOP)
    for i in range(32):
        start, real = frames_of(batch.lr_codes[i], batch.mask[i])[1], int(batch.mask[i].sum())
        assert torch.equal(batch.audio[i, ::HOP][:real], start + 1.0 + torch.arange(real))
        assert not batch.audio[i, real * HOP :].any()


def test_without_a_reader_a_batch_has_no_audio(source):
    assert source().batch(2, seed=0, step=0).audio.shape == (2, 0)


def test_a_batch_moves_as_a_whole(source):
    moved = source("mix", pairs=True).batch(2, seed=0, step=0).to(torch.device("meta"))
    assert {getattr(moved, f.name).device.type for f in fields(moved)} == {"meta"}


def test_impossible_sources_are_refused_with_the_setting_to_change(stores, source):
    with pytest.raises(TrainingError, match="choose hr, teacher or mix"):
        source("student")
    with pytest.raises(TrainingError, match=r"data\.target=mix needs a teacher that generates"):
        CropSource(stores[0], ["a"], DataConfig(target="mix"))
    with pytest.raises(TrainingError, match="train split is empty"):
        source(keys=())

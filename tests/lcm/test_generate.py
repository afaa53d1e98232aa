from functools import partial

import numpy as np
import pytest
import torch

from lcm import checkpoint, degrade
from lcm.audio import load_mono_24k
from lcm.codec import WEIGHTS, CodecConfig
from lcm.corpus import CorpusConfig, build
from lcm.degrade import DegradationConfig
from lcm.errors import CheckpointError, LcmError
from lcm.generate import CodesProducer, OverlayProducer
from lcm.store import Store, item_seed
from lcm.teachers import TeacherConfig, load_teacher
from slurm.local import run_plan
from slurm.shards import make_plan


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    return build(CorpusConfig(demo_voices=3, demo_utterances=1), tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="module")
def store(manifest, tmp_path_factory):
    folder = tmp_path_factory.mktemp("codes")
    items = [(u.utterance, -(-round(u.seconds * 24_000) // 320)) for u in manifest.utterances]
    run_plan(folder, make_plan(items, 2), partial(CodesProducer, manifest, CodecConfig(), DegradationConfig(variants=2)))
    return Store(folder)


@pytest.fixture
def teacher(tmp_path, make_model):
    checkpoint.save_model(tmp_path / "teacher.safetensors", make_model("diffusion"))
    return TeacherConfig(checkpoint=str(tmp_path / "teacher.safetensors"), steps=2)


def overlay(folder, store, teacher, batch_size=2):
    items = [(f"{k}|{i}", store.frames(k)) for k in store.keys for i in range(2)]
    run_plan(folder, make_plan(items, 2), partial(OverlayProducer, str(store.folder), CodecConfig(), teacher, batch_size, True))
    return Store(folder)


def test_codes_are_those_of_the_degraded_recording(store, manifest, codec):
    u = manifest.utterances[0]
    meta = store.meta(u.utterance)
    wave = load_mono_24k(manifest.audio_path(u))
    assert meta["samples"] == len(wave)
    for i, values in enumerate(meta["degradations"]):
        degraded = degrade.apply(wave, degrade.Degradation.from_dict(values))
        padded = torch.from_numpy(np.pad(degraded, (0, -len(degraded) % 320)))[None, None]
        assert np.array_equal(store.read(u.utterance, f"lr{i}"), codec.encode(padded)[0].t().numpy())


def test_original_codes_have_the_level_of_the_references_degraded_ones(manifest, codec, tmp_path):
    u = manifest.utterances[0]
    config = DegradationConfig(family=degrade.REFERENCE)
    items = [(u.utterance, -(-round(u.seconds * 24_000) // 320))]
    run_plan(tmp_path, make_plan(items, 1), partial(CodesProducer, manifest, CodecConfig(), config))
    made, wave = Store(tmp_path), load_mono_24k(manifest.audio_path(u))
    loud = wave / np.abs(wave).max()
    for stream, samples in {"hr": loud, "lr0": degrade.apply(wave, config.fixed)}.items():
        padded = torch.from_numpy(np.pad(samples, (0, -len(samples) % 320)).astype(np.float32))[None, None]
        assert (made.read(u.utterance, stream) == codec.encode(padded)[0].t().numpy()).mean() > 0.999  # but for roundings


def test_the_first_variant_is_12_khz_and_further_ones_are_drawn_per_utterance(store):
    variants = [store.meta(k)["degradations"] for k in store.keys]
    assert {v[0]["cutoff_hz"] for v in variants} == {6000.0}
    assert len({v[1]["cutoff_hz"] for v in variants}) > 1


def test_an_overlay_is_keyed_by_utterance_and_variant_and_carries_its_seed(tmp_path, store, teacher):
    made = overlay(tmp_path / "o", store, teacher)
    key = f"{store.keys[0]}|1"
    assert made.read(key, "codes").shape == (store.frames(store.keys[0]), 8)
    assert made.read(key, "latents").dtype == np.float16
    assert made.meta(key) == {"seed": item_seed(key, 0), "steps": 2}


def test_a_teachers_result_does_not_depend_on_the_batch(tmp_path, store, teacher):
    one, four = (overlay(tmp_path / str(n), store, teacher, n) for n in (1, 4))
    for key in one.keys:
        assert (one.read(key, "codes") == four.read(key, "codes")).mean() > 0.999


@pytest.mark.parametrize("batch", [1, 4])
def test_a_clips_result_is_the_same_to_the_bit_in_any_company(store, teacher, batch):
    # Sharding, kills and bad clips change who shares a batch; the rows that a batch is computed with stay.
    producer = OverlayProducer(str(store.folder), CodecConfig(), teacher, batch, True, rows=batch)
    producer.prepare()
    length = store.frames(store.keys[0])
    keys = [f"{k}|{i}" for k in store.keys if store.frames(k) == length for i in range(2)]
    together = {r.key: r for start in range(0, len(keys), batch) for r in producer.produce(keys[start : start + batch])}
    for key in keys:
        (alone,) = producer.produce([key])
        assert np.array_equal(alone.streams["latents"], together[key].streams["latents"])
        assert np.array_equal(alone.streams["codes"], together[key].streams["codes"])


def test_an_utterances_codes_are_the_same_in_any_company(store, manifest):
    producer = CodesProducer(manifest, CodecConfig(), DegradationConfig(variants=2), batch=4, rows=4)
    producer.prepare()
    for key in store.keys[:3]:
        (alone,) = producer.produce([key])
        assert all(np.array_equal(alone.streams[name], store.read(key, name)) for name in ("hr", "lr0", "lr1"))


def test_another_seed_gives_another_overlay(tmp_path, store, teacher):
    from dataclasses import replace

    a, b = overlay(tmp_path / "a", store, teacher), overlay(tmp_path / "b", store, replace(teacher, seed=1))
    assert a.identity != b.identity


def test_the_original_needs_no_overlay_and_others_are_named(codec):
    assert load_teacher(TeacherConfig(name="original"), codec) is None
    with pytest.raises(LcmError, match=r"\['latent', 'mbd', 'original'\]"):
        load_teacher(TeacherConfig(name="oracle"), codec)


def test_a_student_is_no_teacher(tmp_path, make_model, codec):
    checkpoint.save_model(tmp_path / "s.safetensors", make_model())
    with pytest.raises(CheckpointError, match="trained as consistency"):
        load_teacher(TeacherConfig(checkpoint=str(tmp_path / "s.safetensors")), codec)


def test_the_shipped_teacher_loads_with_the_shipped_codec(codec):
    teacher = load_teacher(TeacherConfig(), codec)
    assert teacher is not None
    assert teacher.model.spec.partition == (8,)


def test_shipped_weights_are_at_most_ten_megabytes_each_and_licensed():
    files = sorted(WEIGHTS.glob("*.safetensors"))
    assert [f.name for f in files] == ["encodec_small.safetensors", "student_small.safetensors", "teacher_small.safetensors"]
    assert (WEIGHTS / "student_small.safetensors").stat().st_size <= 8_000_000
    assert all(f.stat().st_size <= 10_000_000 for f in files)
    text = (WEIGHTS / "LICENSE.md").read_text()
    assert all(f.name in text for f in files)

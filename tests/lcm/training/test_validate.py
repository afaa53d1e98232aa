import json
import math
from dataclasses import replace

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lcm import checkpoint, upsample
from lcm.audio import write
from lcm.codec import HOP
from lcm.corpus import Manifest
from lcm.corpus.manifest import Utterance
from lcm.data import Batch, DataConfig
from lcm.errors import TrainingError
from lcm.evaluate import restore
from lcm.losses import LossConfig
from lcm.metrics import score
from lcm.objectives import ObjectiveConfig
from lcm.paths import Run
from lcm.store import Record, Store
from lcm.systems import Clip, model_system
from lcm.training.optim import TrainConfig
from lcm.training.train import Trainer
from lcm.training.validate import Validator, validation_clips
from slurm.local import run_plan
from slurm.shards import make_plan


class Repeated:
    """Draws the same codes again and again."""

    config = DataConfig(crop_frames=32, context_frames=8)

    def __init__(self, codes):
        self.codes = codes[..., :32]

    def batch(self, size, *, seed, step, rank=0, world=1):
        codes, none = self.codes.expand(size // world, -1, -1), torch.zeros(size // world, 0, 32)
        mask, told = torch.ones(size // world, 32, dtype=torch.bool), torch.full((size // world,), 6000.0)
        return Batch(codes, codes, told, mask, torch.zeros(size // world, 0), torch.zeros(size // world, dtype=torch.bool), none, none)


@pytest.fixture(scope="module")
def clips(speech):
    whole = torch.from_numpy(speech[: 100 * HOP])
    degraded = torch.from_numpy(upsample.UPSAMPLERS["sinc"](upsample.decimate(whole.numpy()), len(whole)))
    return [Clip(name, "s", gain * whole, gain * degraded, 6000.0, 12_000.0) for name, gain in (("loud", 1.0), ("quiet", 0.3))]


@pytest.fixture
def trainer(codec, make_model, clips, tmp_path):
    source = Repeated(codec.encode(clips[0].target[None, None]))

    def make(run="run", **config):
        few = {"steps": 6, "batch": 2, "warmup": 1, "checkpoint_every": 4, "validate_every": 2, "estimate": False}
        given = (make_model(), codec, source, ObjectiveConfig(), LossConfig(), TrainConfig(**{**few, **config}), Run(tmp_path / run))
        return Trainer(*given, seed=0, validator=Validator(clips, codec))

    return make


def scalars(run, name):
    rows = [line.split(",") for line in run.scalars.read_text().splitlines()[1:]]
    return {int(step): float(value) for step, found, value in rows if found == name}


def test_the_score_is_the_mean_over_clips_of_one_step_with_low_band_copy(codec, make_model, clips):
    model = make_model()
    values, estimates = Validator(clips, codec, seed=3).score(model)
    expected = []
    for clip in clips:
        estimate = restore(model_system(model, codec, steps=1, seed=3), clip)[True][0]
        assert torch.equal(estimate, estimates[clip.utterance])
        expected.append(score(estimate, clip.target, cutoff_hz=6000.0, bandwidth_hz=12_000.0))
    assert set(values) == {"lsd_hf", "si_sdr", "mr_stft"}
    for name, value in values.items():
        assert value == pytest.approx((expected[0][name] + expected[1][name]) / 2)


def test_a_clip_for_which_a_metric_is_not_defined_is_left_out_of_its_mean(codec, make_model, clips):
    narrow = replace(clips[1], utterance="narrow", bandwidth_hz=6000.0)  # nothing lies above its cutoff
    values, _ = Validator([clips[0], narrow], codec).score(make_model())
    assert values["lsd_hf"] == pytest.approx(Validator(clips[:1], codec).score(make_model())[0]["lsd_hf"])
    assert math.isnan(Validator([narrow], codec).score(make_model())[0]["lsd_hf"])


def test_validation_is_written_when_it_is_due_and_at_the_end(trainer):
    t = trainer(steps=5)
    t.train()
    for name in ("lsd_hf", "si_sdr", "mr_stft"):
        assert list(scalars(t.run, f"valid/{name}")) == [1, 3, 4]


def test_the_best_model_is_the_averaged_one_of_the_lowest_validation(trainer, codec, clips):
    t = trainer(steps=8, rate=3e-2, ema=0.5)
    t.train()
    values = scalars(t.run, "valid/lsd_hf")
    best = min(values, key=values.get)
    assert len(set(values.values())) == 4
    assert t.best == {"step": best + 1, "lsd_hf": pytest.approx(values[best], rel=1e-4)}
    assert json.loads(t.run.status_file.read_text())["best"] == t.best
    kept = Validator(clips, codec).score(checkpoint.load_model(t.run.best, codec))[0]["lsd_hf"]
    assert kept == pytest.approx(t.best["lsd_hf"], rel=1e-6)
    assert checkpoint.load(t.run.best)[1]["step"] == best + 1


def test_the_best_so_far_survives_a_resume(trainer):
    with pytest.raises(ZeroDivisionError):
        trainer().train(lambda step: 1 / (step - 5))
    again = trainer()
    assert again.first == 4
    assert again.best["step"] in (2, 4)
    again.best = {"step": 2, "lsd_hf": 0.0}  # nothing can beat it
    before = again.run.best.read_bytes()
    again.train()
    assert again.run.best.read_bytes() == before
    assert checkpoint.load(again.run.last)[1]["best"] == {"step": 2, "lsd_hf": 0.0}


def test_validation_changes_nothing_in_the_training(trainer):
    a, b = trainer(run="a"), trainer(run="b", validate_every=0)
    a.train(), b.train()
    assert scalars(a.run, "ect") == scalars(b.run, "ect")
    assert not b.run.best.exists()


def test_tensorboard_has_each_target_once_and_each_estimate_each_time(trainer):
    t = trainer()
    t.train()
    events = EventAccumulator(str(t.run.tensorboard), size_guidance={"audio": 0})
    events.Reload()
    count = {tag: len(events.Audio(tag)) for tag in events.Tags()["audio"]}
    assert count == {"loud/target": 1, "loud/estimate": 3, "quiet/target": 1, "quiet/estimate": 3}
    assert "valid/lsd_hf" in events.Tags()["scalars"]


class Encoded:
    batch_size = 1

    def prepare(self):
        pass

    def produce(self, keys):
        meta = {"degradations": [{"cutoff_hz": 6000.0, "family": "resample", "order": 0}]}
        return [Record(key, {"hr": torch.zeros(10, 8, dtype=torch.int16).numpy()}, meta) for key in keys]


@pytest.fixture
def corpus(tmp_path, speech):
    people = {"a1": "ann", "a2": "ann", "a3": "ann", "b1": "bob", "b2": "bob", "b3": "bob"}
    for name in people:
        write(tmp_path / f"{name}.flac", speech[: 10 * HOP], 24_000)
    utterances = [Utterance(name, f"{name}.flac", who, "valid", 0.13, name, 24_000, 12_000.0) for name, who in people.items()]
    run_plan(tmp_path / "store", make_plan([(name, 10) for name in people], 1), Encoded)
    return Manifest(tuple(utterances), tmp_path), Store(tmp_path / "store")


def test_validation_clips_are_spread_over_the_speakers(corpus):
    assert [clip.speaker for clip in validation_clips(*corpus, 2)] == ["ann", "bob"]
    assert len(validation_clips(*corpus, 100)) == 6


def test_an_empty_valid_split_says_which_settings_to_change(corpus):
    manifest, store = corpus
    train = Manifest(tuple(replace(u, split="train") for u in manifest.utterances), manifest.root)
    with pytest.raises(TrainingError, match=r"0 utterances are in the valid split.*corpus\.valid_fraction.*train\.validate_every=0"):
        validation_clips(train, store, 4)

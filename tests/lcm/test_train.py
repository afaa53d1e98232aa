import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from lcm import checkpoint
from lcm.data import CropSource, DataConfig
from lcm.errors import LcmError, TrainingError
from lcm.losses import LossConfig
from lcm.objectives import ObjectiveConfig
from lcm.paths import Run
from lcm.store import Record, Store
from lcm.train import Held, TrainConfig, Trainer, rate_at, resolve_precision, update_ema
from slurm.local import run_plan
from slurm.shards import make_plan


class Encoded:
    """Encodes one speech clip under several names."""

    batch_size = 1

    def __init__(self, codec, speech):
        self.codec, self.speech = codec, speech

    def prepare(self):
        pass

    def produce(self, keys):
        return [self._record(key) for key in keys]

    def _record(self, key):
        wave = np.roll(self.speech, 1000 * int(key[1:]))
        codes = self.codec.encode(torch.from_numpy(wave)[None, None])[0].t().numpy().astype(np.int16)
        meta = {
            "speaker": key,
            "split": "train",
            "samples": len(wave),
            "degradations": [{"cutoff_hz": 6000.0, "family": "resample", "order": 0}],
        }
        return Record(key, {"hr": codes, "lr0": codes}, meta)


@pytest.fixture(scope="module")
def store(tmp_path_factory, codec, speech):
    folder = tmp_path_factory.mktemp("store")
    run_plan(folder, make_plan([(f"u{i}", 150) for i in range(3)], 1), lambda: Encoded(codec, speech))
    return Store(folder)


@pytest.fixture
def trainer(store, codec, speech, make_model, tmp_path):
    def make(objective="ect", losses=None, run="run", kind="consistency", partition=(8,), stages=8, **config):
        losses = losses or LossConfig()
        source = CropSource(
            store, store.keys, DataConfig(crop_frames=32, context_frames=4), waveforms=lambda key: np.roll(speech, 1000 * int(key[1:]))
        )
        settings = TrainConfig(**{"steps": 6, "batch": 2, "warmup": 1, "checkpoint_every": 2, **config})
        logits = losses.token_ce != 0
        model = make_model(kind, partition)
        if logits:
            from dataclasses import replace

            model = make_model(kind, partition)
            model.spec.network = replace(model.spec.network, logits=True)
            model = type(model)(model.spec, codec)
            model.blocks.deviation.fill_(3.0)
        return Trainer(model, codec, source, ObjectiveConfig(objective, stages), losses, settings, Run(tmp_path / run), seed=0)

    return make


def weights(model):
    return torch.cat([p.flatten() for p in model.state_dict().values()])


@pytest.mark.parametrize(
    ("objective", "kind"), [("ect", "consistency"), ("diffusion", "diffusion"), ("regression", "regression"), ("token_ce", "token_ce")]
)
def test_every_objective_lowers_its_loss(trainer, objective, kind):
    t = trainer(objective, kind=kind, steps=120, stages=1, rate=3e-3, decay="constant", checkpoint_every=120)

    def loss():
        with torch.no_grad():  # in ECT's first stage: later targets are the model's own and cannot be compared
            return np.mean([float(t.module(Held(t.source.batch(2, seed=9, step=i)), 0, i)[objective]) for i in range(8)])

    before = loss()
    t.train()
    assert loss() < 0.97 * before


@pytest.mark.parametrize("term", ["waveform_l1", "mr_stft", "hf_log_magnitude", "si_sdr", "token_ce"])
def test_every_loss_term_sends_a_gradient_to_the_student(trainer, term):
    t = trainer(losses=LossConfig(**{term: 1.0}), partition=(2, 6))
    for head in t.model.network.heads:
        torch.nn.init.normal_(head.out.weight, std=0.1)
    batch = t.source.batch(2, seed=0, step=0)
    terms = t.module(Held(batch), 0, 1)
    t.fabric.backward(terms[term])
    gradient = sum(float(p.grad.norm()) for p in t.model.network.layers.parameters() if p.grad is not None)
    assert gradient > 1e-8


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(trainer):
    a, b = trainer(run="a"), trainer(run="b")
    other = trainer(run="c")
    other.seed = 1
    assert torch.equal(weights(a.train()), weights(b.train()))
    assert not torch.equal(weights(other.train()), weights(a.average))


@pytest.mark.parametrize(("objective", "kind"), [("ect", "consistency"), ("token_ce", "token_ce")])
def test_a_resumed_run_ends_with_the_weights_of_an_uninterrupted_one(trainer, objective, kind):
    def start(run):
        t = trainer(objective, run=run, kind=kind)
        t.module.train()  # with dropout, where there is any
        return t

    class Cut(Exception):  # noqa: N818  # it is no error
        pass

    def stop(step):
        if step == 5:  # after the checkpoint of step 4: step 5 is lost and done again, in the middle of a stage
            raise Cut

    whole = start("whole").train()
    with pytest.raises(Cut):
        start("cut").train(stop)
    again = start("cut")
    assert again.first == 4
    assert torch.equal(weights(again.train()), weights(whole))


def test_half_precision_leaves_cutoffs_and_audio_whole(trainer, monkeypatch):
    t, seen = trainer(precision="bf16-mixed", losses=LossConfig(waveform_l1=1.0)), []
    inner = t.module.module.forward
    monkeypatch.setattr(t.module.module, "forward", lambda held, *rest: seen.append(held.batch) or inner(held, *rest))
    t.train()
    assert seen[0].cutoff_hz.tolist() == [6000.0, 6000.0]
    assert seen[0].audio.dtype == torch.float32


def test_a_gradient_that_is_not_finite_stops_before_it_reaches_the_weights(trainer):
    t = trainer()
    before = weights(t.model).clone()
    t.model.network.state_in.weight.register_hook(lambda g: g * float("nan"))
    with pytest.raises(TrainingError, match="gradient_norm is not finite"):
        t.train()
    assert torch.equal(weights(t.model), before)


def test_an_unknown_optimiser_names_the_choices(trainer):
    with pytest.raises(TrainingError, match=r"\['adamw', 'radam'\]"):
        trainer(optimiser="sgd")


def test_a_resumed_run_leaves_each_scalar_once(trainer):
    with pytest.raises(ZeroDivisionError):
        trainer(run="cut").train(lambda step: 1 / (step - 5))
    trainer(run="cut").train()
    steps = [line.split(",")[0] for line in Run(trainer(run="cut").run.folder).scalars.read_text().splitlines() if ",ect," in line]
    assert steps == ["0", "1", "2", "3", "4", "5"]


def test_a_loss_that_is_not_finite_stops_with_the_step_and_the_terms_name(trainer, monkeypatch):
    monkeypatch.setitem(__import__("lcm.losses", fromlist=["AUDIO_TERMS"]).AUDIO_TERMS, "si_sdr", lambda a, b: (a - b).sum() * float("nan"))
    with pytest.raises(TrainingError, match=r"Step 0 .*loss term si_sdr is not finite.*losses"):
        trainer(losses=LossConfig(si_sdr=1.0)).train()


def test_accumulating_micro_batches_keeps_the_global_batch(trainer):
    t = trainer(accumulate=2, batch=4)
    parts = [t.source.batch(4, seed=0, step=3, rank=r, world=2).target_codes for r in range(2)]
    assert torch.equal(torch.cat(parts), t.source.batch(4, seed=0, step=3).target_codes)
    t.train()


def test_a_batch_that_cannot_be_divided_is_refused(trainer):
    with pytest.raises(TrainingError, match=r"train\.batch=3 must be divisible"):
        trainer(batch=3, accumulate=2)


def test_the_rate_warms_up_and_falls_to_zero():
    config = TrainConfig(steps=100, rate=1.0, warmup=10)
    assert rate_at(config, 0) == pytest.approx(0.1)
    assert rate_at(config, 50) == pytest.approx(0.5)
    assert rate_at(config, 99) < 0.01
    assert rate_at(TrainConfig(steps=100, rate=1.0, warmup=0, decay="constant"), 99) == 1.0


def test_ema_follows_its_closed_form(make_model):
    average, model = make_model(seed=0), make_model(seed=1)
    start, there = weights(average.network).clone(), weights(model.network)
    for _ in range(3):
        update_ema(average, model, 0.9, step=10**6)
    assert torch.allclose(weights(average.network), there + 0.9**3 * (start - there), atol=1e-5)


def test_precision_auto_is_fp32_on_cpu():
    assert resolve_precision("16-mixed") == "16-mixed"
    if not torch.cuda.is_available():
        assert resolve_precision("auto") == "32-true"


def test_a_target_of_the_teacher_without_its_overlay_says_what_to_set(store):
    with pytest.raises(TrainingError, match=r"data\.target=teacher needs a teacher overlay"):
        CropSource(store, store.keys, DataConfig(target="teacher"))


def test_an_unknown_objective_names_the_choices(trainer):
    with pytest.raises(LcmError, match="ect"):
        trainer("magic").train()


def test_a_short_clip_is_padded_and_masked(store):
    batch = CropSource(store, store.keys, DataConfig(crop_frames=200)).batch(2, seed=0, step=0)
    assert batch.mask.sum(1).tolist() == [150, 150]
    assert batch.target_codes.shape == (2, 8, 200)


KILLED = Path(__file__).with_name("train_forever.py")


def test_a_killed_training_resumes_to_the_same_weights(tmp_path):
    def start(folder, *extra):
        return subprocess.Popen([sys.executable, str(KILLED), str(folder), *extra], stdout=subprocess.PIPE, text=True)

    reference = start(tmp_path / "whole")
    assert reference.wait(120) == 0
    victim = start(tmp_path / "killed", "--slow")
    last = tmp_path / "killed" / "checkpoints" / "last.safetensors"
    deadline = time.monotonic() + 60
    while not last.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    victim.send_signal(signal.SIGKILL)
    victim.wait()
    step = checkpoint.load(last)[1]["step"]
    assert 0 < step < 12
    resumed = start(tmp_path / "killed")
    assert resumed.wait(120) == 0
    a, b = (checkpoint.load(tmp_path / name / "checkpoints" / "last.safetensors")[0] for name in ("whole", "killed"))
    assert all(torch.equal(a[k], b[k]) for k in a)

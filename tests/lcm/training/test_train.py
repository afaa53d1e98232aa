import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from lcm import checkpoint
from lcm.data import CropSource, DataConfig
from lcm.errors import LcmError, TrainingError
from lcm.losses import AUDIO_TERMS, LossConfig
from lcm.objectives import ObjectiveConfig
from lcm.paths import Run
from lcm.schedule import ScheduleConfig
from lcm.training.draws import Draws
from lcm.training.optim import TrainConfig
from lcm.training.step import Held
from lcm.training.train import Trainer


@pytest.fixture(scope="module")
def store(encode_store):
    return encode_store(3)


@pytest.fixture
def trainer(store, codec, speech, make_model, tmp_path):
    def make(
        objective="ect",
        losses=None,
        run="run",
        kind="consistency",
        partition=(8,),
        validator=None,
        parameters=None,
        spec=None,
        hooks=None,
        **config,
    ):
        losses = losses or LossConfig()
        source = CropSource(
            store, store.keys, DataConfig(crop_frames=32, context_frames=4), waveforms=lambda key: np.roll(speech, 1000 * int(key[1:]))
        )
        settings = TrainConfig(**{"steps": 6, "batch": 2, "warmup": 1, "checkpoint_every": 2, "estimate": False, **config})
        model = make_model(kind, partition, **(spec or {}))
        if "token_ce" in losses.on:
            model.spec.network = replace(model.spec.network, logits=True)
            model = type(model)(model.spec, codec)
            model.blocks.deviation.fill_(3.0)
        wanted = ObjectiveConfig(objective, **(parameters or {}))
        return Trainer(model, codec, source, wanted, losses, settings, Run(tmp_path / run), seed=0, validator=validator, **(hooks or {}))

    return make


def weights(model):
    return torch.cat([p.flatten() for p in model.state_dict().values()])


@pytest.mark.parametrize(
    ("objective", "kind"), [("ect", "consistency"), ("diffusion", "diffusion"), ("regression", "regression"), ("token_ce", "token_ce")]
)
def test_every_objective_lowers_its_loss(trainer, objective, kind):
    noisy = {"schedule": ScheduleConfig(log_mean=1.0, log_std=0.5)}  # at low levels most of the loss is noise that nothing can remove
    t = trainer(objective, kind=kind, spec=noisy, steps=200, parameters={"stages": 1}, rate=3e-3, decay="constant", checkpoint_every=200)

    def loss():
        with torch.no_grad():  # in ECT's first stage: later targets are the model's own and cannot be compared
            return np.mean([float(t.module(Held(t.source.batch(2, seed=9, step=i)), 0, Draws(9, i, 0, 2))[objective]) for i in range(8)])

    before = loss()
    t.train()
    assert loss() < 0.95 * before


@pytest.mark.parametrize("term", ["waveform_l1", "mr_stft", "hf_log_magnitude", "si_sdr", "token_ce"])
def test_every_loss_term_sends_a_gradient_to_the_student(trainer, term):
    t = trainer(losses=LossConfig(**{term: 1.0}), partition=(2, 6))
    for head in t.model.network.heads:
        torch.nn.init.normal_(head.out.weight, std=0.1)
    batch = t.source.batch(2, seed=0, step=0)
    terms = t.module(Held(batch), 0, Draws(0, 0, 0, 2))
    t.fabric.backward(terms[term])
    gradient = sum(float(p.grad.norm()) for p in t.model.network.layers.parameters() if p.grad is not None)
    assert gradient > 1e-8


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(trainer):
    a, b = trainer(run="a"), trainer(run="b")
    other = trainer(run="c")
    other.seed = 1
    assert torch.equal(weights(a.train()), weights(b.train()))
    assert not torch.equal(weights(other.train()), weights(a.average))


class Cut(Exception):  # noqa: N818  # it is no error
    pass


def stop_at(last):
    def on_step(step):
        if step == last:
            raise Cut

    return on_step


EVERY_STATE = pytest.mark.parametrize(
    ("objective", "settings"),
    [
        ("ect", {}),
        ("token_ce", {"kind": "token_ce"}),
        ("ect", {"losses": LossConfig(auto={"mr_stft": 0.3}, auto_every=3)}),
        ("ct", {"parameters": {"target_ema": 0.9, "n": 8, "n_start": 2}}),
        ("ect", {"accumulate": 2, "optimiser": "adamw"}),
    ],
    ids=["ect", "dropout", "auto weights", "target network", "accumulation"],
)


@EVERY_STATE
def test_a_resumed_run_ends_with_the_weights_of_an_uninterrupted_one(trainer, objective, settings):
    whole = trainer(objective, run="whole", **settings)
    with pytest.raises(Cut):  # after the checkpoint of step 4: step 5 is lost and done again, in the middle of a stage
        trainer(objective, run="cut", **settings).train(stop_at(5))
    again = trainer(objective, run="cut", **settings)
    assert again.first == 4
    assert torch.equal(weights(again.train()), weights(whole.train()))
    for name, tensor in checkpoint.load(whole.run.last)[0].items():
        assert torch.equal(tensor, checkpoint.load(again.run.last)[0][name]), name


def from_call(number):
    """Return a hook that says yes from its so manieth call on."""
    calls = iter(range(1, 1000))
    return lambda: next(calls) >= number


@EVERY_STATE
def test_a_run_that_was_told_to_stop_finishes_its_step_and_ends_with_the_weights_of_an_uninterrupted_one(trainer, objective, settings):
    whole, seen = trainer(objective, run="whole", checkpoint_every=100, **settings), []
    cut = trainer(objective, run="cut", checkpoint_every=100, hooks={"stop": from_call(3)}, **settings)
    cut.train(seen.append)
    assert (cut.stopped, seen) == (True, [1, 2, 3])
    again = trainer(objective, run="cut", checkpoint_every=100, **settings)
    assert again.first == 3
    assert torch.equal(weights(again.train()), weights(whole.train()))
    assert (again.stopped, whole.stopped) == (False, False)
    for name, tensor in checkpoint.load(whole.run.last)[0].items():
        assert torch.equal(tensor, checkpoint.load(again.run.last)[0][name]), name
    assert again.run.scalars.read_text() == whole.run.scalars.read_text()


def test_a_request_in_the_last_step_stops_nothing(trainer):
    t = trainer(hooks={"stop": from_call(6)})
    t.train()
    assert not t.stopped
    assert checkpoint.load(t.run.last)[1]["step"] == 6


def test_the_scalars_of_the_last_step_can_be_asked_for_and_a_request_is_none(trainer):
    t = trainer()
    t.train()
    assert t.values["total"] == pytest.approx(curve(t, "total")[-1], rel=1e-5)
    assert "stop" not in t.values


def test_no_checkpoint_is_written_behind_a_fence(trainer):
    class Behind(Exception):  # noqa: N818
        pass

    def fence():
        if trained:
            raise Behind

    trained = []
    t = trainer(hooks={"fence": fence})
    with pytest.raises(Behind):
        t.train(lambda step: trained.append(step) if step == 2 else None)
    assert checkpoint.load(t.run.last)[1]["step"] == 2


def test_a_target_network_follows_the_student_by_its_own_decay(trainer):
    t = trainer("ct", parameters={"target_ema": 0.75}, steps=1)
    before = weights(t.target.network).clone()
    t.train()
    assert torch.allclose(weights(t.target.network), 0.75 * before + 0.25 * weights(t.model.network), atol=1e-6)
    assert not torch.equal(weights(t.target.network), before)


def test_activation_checkpointing_changes_memory_and_not_the_result(trainer):
    plain, light = (trainer(run=str(on), activation_checkpointing=on) for on in (False, True))
    assert (plain.model.network.checkpointing, light.model.network.checkpointing) == (False, True)
    assert torch.allclose(weights(plain.train()), weights(light.train()), atol=1e-6)


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


def test_a_resumed_run_leaves_each_scalar_once(trainer):
    with pytest.raises(ZeroDivisionError):
        trainer(run="cut").train(lambda step: 1 / (step - 5))
    trainer(run="cut").train()
    steps = [line.split(",")[0] for line in Run(trainer(run="cut").run.folder).scalars.read_text().splitlines() if ",ect," in line]
    assert steps == ["0", "1", "2", "3", "4", "5"]


def test_a_loss_that_is_not_finite_stops_with_the_step_and_the_terms_name(trainer, monkeypatch):
    monkeypatch.setitem(AUDIO_TERMS, "si_sdr", lambda a, b, c: (a - b).sum(-1) * float("nan"))
    with pytest.raises(TrainingError, match=r"step 0 .*loss term si_sdr is not finite.*losses"):
        trainer(losses=LossConfig(si_sdr=1.0)).train()


def curve(trainer, name):
    rows = [line.split(",") for line in trainer.run.scalars.read_text().splitlines()[1:]]
    return [float(value) for _, found, value in rows if found == name]


def test_accumulating_micro_batches_gives_the_loss_curve_of_the_whole_batch(trainer):
    losses = LossConfig(mr_stft=0.1, auto={"si_sdr": 0.3}, auto_every=2)
    whole, parts = (trainer(run=str(n), batch=4, accumulate=n, losses=losses, partition=(2, 6)) for n in (1, 4))
    whole.train(), parts.train()
    for name in ("ect", "mr_stft", "si_sdr", "gradient_norm", "weight/si_sdr"):
        assert curve(whole, name) == pytest.approx(curve(parts, name), rel=1e-4), name


def test_a_batch_that_cannot_be_divided_is_refused(trainer):
    with pytest.raises(TrainingError, match=r"train\.batch=6 cannot be shared by train\.devices=2 x train\.accumulate=2"):
        trainer(batch=6, accumulate=2, devices=2)


def test_a_process_that_is_no_rank_is_told_how_to_start_several(trainer):
    with pytest.raises(TrainingError, match=r"train\.devices=2 .*start it by `python -m sweeps\.run`"):
        trainer(devices=2)


def test_fewer_gpus_than_processes_are_refused_unless_each_process_sees_its_own(trainer, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(TrainingError, match=r"train\.devices=2, but this machine shows 1 GPU\(s\)"):
        trainer(devices=2)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "1")
    with pytest.raises(TrainingError, match="needs as many processes"):  # the next check
        trainer(devices=2)


def test_slurms_variables_do_not_turn_a_single_process_into_several(trainer, monkeypatch):
    for name, value in {"SLURM_NTASKS": "2", "SLURM_JOB_ID": "1", "SLURM_PROCID": "1", "SLURM_LOCALID": "1", "SLURM_JOB_NAME": "x"}.items():
        monkeypatch.setenv(name, value)
    t = trainer()
    assert (t.fabric.world_size, t.fabric.global_rank) == (1, 0)


def test_a_target_of_the_teacher_without_its_overlay_says_what_to_set(store):
    with pytest.raises(TrainingError, match=r"data\.target=teacher needs a teacher that generates"):
        CropSource(store, store.keys, DataConfig(target="teacher"))


def test_an_unknown_objective_names_the_choices(trainer):
    with pytest.raises(LcmError, match="ect"):
        trainer("magic").train()


def test_a_short_clip_is_padded_and_masked(store):
    batch = CropSource(store, store.keys, DataConfig(crop_frames=200)).batch(2, seed=0, step=0)
    assert batch.mask.sum(1).tolist() == [150, 150]
    assert batch.target_codes.shape == (2, 8, 200)


def test_an_automatic_weight_gives_its_term_the_stated_share_of_the_objectives_gradient(trainer):
    t = trainer(losses=LossConfig(auto={"mr_stft": 0.25, "waveform_l1": 0.5}), partition=(2, 6), steps=1)
    start = {name: value.clone() for name, value in t.model.state_dict().items()}
    t.train()
    t.model.load_state_dict(start)
    batch = t.source.batch(2, seed=0, step=0)
    terms, norms = t.step(Held(batch), 0, Draws(0, 0, 0, 2)), {}
    for name, term in terms.items():
        t.model.zero_grad()
        term.backward(retain_graph=True)
        norms[name] = float(torch.cat([p.grad.flatten() for p in t.model.network.parameters() if p.grad is not None]).norm())
    assert norms["mr_stft"] / norms["ect"] == pytest.approx(0.25, rel=1e-3)
    assert norms["waveform_l1"] / norms["ect"] == pytest.approx(0.5, rel=1e-3)
    assert curve(t, "weight/mr_stft") == pytest.approx([t.step.weights["mr_stft"]], rel=1e-4)


def test_weights_are_calibrated_at_the_first_step_and_then_every_so_many(trainer):
    t = trainer(losses=LossConfig(auto={"mr_stft": 0.25}, auto_every=2), rate=1e-2, decay="constant")
    t.train()
    rows = [line.split(",") for line in t.run.scalars.read_text().splitlines() if "weight/mr_stft" in line]
    assert [step for step, *_ in rows] == ["0", "2", "4"]
    assert len({value for *_, value in rows}) == 3


def test_in_fp16_weights_are_calibrated_clip_by_clip_to_the_same_values(trainer):
    losses = LossConfig(auto={"hf_log_magnitude": 0.25}, copied=False)  # copied, the sign of rounding is in the gradient
    whole, clipwise = (trainer(run=name, batch=4, losses=losses, partition=(2, 6)) for name in ("a", "b"))
    clipwise._precision = "16-mixed"
    assert clipwise._calibrate(0) == pytest.approx(whole._calibrate(0), rel=1e-4)


def test_a_term_without_a_gradient_cannot_be_calibrated(trainer):
    t = trainer(losses=LossConfig(auto={"mr_stft": 0.25}))
    t.source.waveforms = lambda key: np.zeros(48_000, np.float32)  # a silent target counts as 0
    with pytest.raises(TrainingError, match=r"the gradient of loss term mr_stft has the norm 0, .*Take mr_stft out of losses\.auto"):
        t.train()


KILLED = Path(__file__).with_name("train_process.py")


def test_a_killed_training_resumes_to_the_same_weights(tmp_path):
    def start(folder, *extra):
        return subprocess.Popen([sys.executable, str(KILLED), str(folder), *extra])

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

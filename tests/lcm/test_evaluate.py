import numpy as np
import pytest
import torch

from lcm import degrade
from lcm.errors import LcmError
from lcm.evaluate import EvaluateConfig, evaluate, evaluation_identity, restore
from lcm.paths import Run
from lcm.records import write_records
from lcm.systems import Clip, codec_system, model_system, resampler_systems


@pytest.fixture(scope="module")
def clip(speech):
    degraded = degrade.apply(speech, degrade.Degradation())
    return Clip("u1", "anna", torch.from_numpy(speech), torch.from_numpy(degraded), 6000.0, 11_025.0)


def value(table, system, metric, copied=False, steps=None):
    rows = table[(table.system == system) & (table.metric == metric) & (table.low_band_copy == copied)]
    return float((rows if steps is None else rows[rows.steps == steps]).value.iloc[0])


@pytest.fixture(scope="module")
def table(clip, codec, tmp_path_factory):
    systems = [*resampler_systems(), codec_system(codec, ceiling=True), codec_system(codec, ceiling=False)]
    return evaluate(systems, [clip], EvaluateConfig(samples=1), Run(tmp_path_factory.mktemp("run")))


def test_sinc_keeps_the_low_band_and_adds_nothing_above(table):
    assert value(table, "sinc", "stoi") > 0.99
    assert value(table, "sinc", "si_sdr") > 10
    assert value(table, "sinc", "hf_bias") < -20


def test_the_codec_ceiling_restores_what_degraded_codes_lack(table):
    assert value(table, "codec_ceiling", "lsd_hf") < value(table, "degraded_codes", "lsd_hf")


def test_low_band_copy_raises_si_sdr_and_leaves_the_high_band(table):
    assert value(table, "codec_ceiling", "si_sdr", True) > value(table, "codec_ceiling", "si_sdr") + 3
    raw, copied = (value(table, "codec_ceiling", "lsd_hf_1e6", c) for c in (False, True))
    assert copied == pytest.approx(raw, rel=0.15)


def test_resamplers_are_scored_once_for_they_have_the_inputs_band(table):
    assert set(table[table.system == "sinc"].low_band_copy) == {False}


def test_every_record_carries_the_protocols_version_and_a_unit(table, tmp_path):
    assert set(table.protocol) == {1}
    write_records(tmp_path / "records.parquet", table.assign(signature="x", seed=0))


def test_times_are_split_and_add_up(table):
    parts = sum(value(table, "codec_ceiling", f"time_{s}", True) for s in ("encode", "network", "decode", "copy"))
    assert parts == pytest.approx(value(table, "codec_ceiling", "time_total", True))
    assert value(table, "codec_ceiling", "time_copy", True) > 0
    assert value(table, "codec_ceiling", "time_copy", False) == 0


@pytest.mark.parametrize("kind", ["consistency", "diffusion", "regression", "token_ce"])
def test_every_kind_of_model_restores_a_clip_of_the_same_length(kind, make_model, codec, clip):
    system = model_system(make_model(kind), codec, steps=2, seed=0)
    for estimate, times in restore(system, clip).values():
        assert estimate.shape == clip.target.shape
        assert bool(torch.isfinite(estimate).all())
        assert times["time_network"] > 0


def test_a_students_result_depends_on_the_utterance_and_seed_alone(make_model, codec, clip):
    model = make_model()
    first, again, other = (restore(model_system(model, codec, steps=1, seed=s), clip)[False][0] for s in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_tokens_as_output_are_what_the_codec_can_say(make_model, codec, speech):
    model = make_model(partition=(1,) * 8, output="tokens")
    codes = codec.encode(torch.from_numpy(speech)[None, None])
    latents = model.restore(codec, codes, torch.tensor([6000.0]))
    assert torch.allclose(codec.latents(codec.requantise(latents)).norm(), latents.norm(), rtol=0.3)
    straight = make_model(partition=(1,) * 8).restore(codec, codes, torch.tensor([6000.0]))
    assert not torch.allclose(latents, straight)


def test_evaluation_is_identified_by_settings_test_set_and_protocol():
    base = evaluation_identity(EvaluateConfig(), "store")
    assert base == evaluation_identity(EvaluateConfig(), "store")
    assert base != evaluation_identity(EvaluateConfig(seed=1), "store")
    assert base != evaluation_identity(EvaluateConfig(), "other")


def test_batched_and_single_clips_agree(make_model, codec, speech):
    model = make_model()
    codes = codec.encode(torch.from_numpy(np.stack([speech, speech[::-1].copy()]))[:, None])
    both = model.restore(codec, codes, torch.full((2,), 6000.0), seeds=[5, 6])
    one = model.restore(codec, codes[1:], torch.full((1,), 6000.0), seeds=[6])
    assert torch.allclose(both[1], one[0], atol=1e-4)


@pytest.mark.parametrize("wrong", [{"temperature": -0.1}, {"temperature": float("nan")}, {"gain": "loud"}])
def test_an_impossible_evaluation_is_refused(wrong):
    with pytest.raises(LcmError, match=r"evaluate\.temperature"):
        EvaluateConfig(**wrong)

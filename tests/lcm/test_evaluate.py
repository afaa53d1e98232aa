from dataclasses import replace

import numpy as np
import pytest
import torch

from lcm import degrade
from lcm.audio import read
from lcm.errors import LcmError
from lcm.evaluate import EvaluateConfig, evaluate, evaluation_identity, restore
from lcm.paths import Run
from lcm.records import BAND_METRICS, read_clips, write_records
from lcm.systems import Clip, System, codec_system, model_system, resampler_systems


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


def test_an_estimate_of_an_amplified_input_is_scored_at_the_originals_level(clip, codec):
    loud = replace(clip, degraded=4 * clip.degraded, family="reference", gain=4.0)
    untouched = System("none", 1, lambda c, _: c.degraded)
    for copied, (estimate, _) in restore(untouched, loud).items():
        torch.testing.assert_close(estimate, restore(untouched, clip)[copied][0])
    ceiling = restore(codec_system(codec, ceiling=True), loud)[False][0]
    amplified = replace(clip, target=4 * clip.target)
    torch.testing.assert_close(4 * ceiling, restore(codec_system(codec, ceiling=True), amplified)[False][0])


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


def test_records_hold_the_distance_in_every_narrow_band_up_to_the_recordings_end(table):
    bands = table[(table.system == "sinc") & table.metric.isin(BAND_METRICS)].set_index("metric").value
    assert tuple(bands.index) == BAND_METRICS
    assert tuple(bands.index[bands.isna()]) == BAND_METRICS[-2:]  # it ends at 11,025 Hz


def noisy(steps):
    """A system that is the worse the louder the noise that a clip asks for by its name; the more so in more steps."""

    def estimate(clip, watch):
        noise = torch.randn(len(clip.target), generator=torch.Generator().manual_seed(0))
        return clip.target + float(clip.utterance.split()[1]) * steps * noise

    return System("student", steps, estimate)


@pytest.fixture
def clips(clip):
    short = replace(clip, target=clip.target[:9000], degraded=clip.degraded[:9000])
    return [replace(short, utterance=f"été {gain}") for gain in (0.03, 0.0, 0.0001, 0.02)]


def kept(run):
    return {path.relative_to(run.samples).as_posix() for path in run.samples.rglob("*.flac")}


def test_an_evaluation_says_what_its_clips_are(clips, tmp_path):
    run = Run(tmp_path)
    clips[1] = replace(clips[1], speaker="Ängström, J.", cutoff_hz=4321.5, family="butterworth")
    evaluate([noisy(1)], clips, EvaluateConfig(samples=0), run)
    table = read_clips(run.clips)
    assert list(table.utterance) == [c.utterance for c in clips]
    assert tuple(table.iloc[1]) == ("été 0.0", "Ängström, J.", 9000 / 24_000, 4321.5, 11_025.0, "butterworth")


def test_the_worst_clips_of_the_fewest_steps_can_be_heard_beside_original_and_input(clips, tmp_path):
    run = Run(tmp_path)
    table = evaluate([noisy(2), noisy(1)], clips, EvaluateConfig(samples=1, worst=2), run)
    heard = {f"été {gain}/{name}.flac" for gain in (0.03, 0.02) for name in ("student-1", "ground_truth", "degraded")}
    assert kept(run) == heard | {"été 0.03/student-2.flac"}
    scores = table[(table.metric == "lsd_hf") & (table.steps == 1) & table.low_band_copy].set_index("utterance").value
    assert set(scores.nlargest(2).index) == {"été 0.03", "été 0.02"}


def test_a_sample_is_the_variant_with_low_band_copy_where_the_system_is_learned(clips, tmp_path):
    run = Run(tmp_path)
    evaluate([noisy(1)], clips[:1], EvaluateConfig(samples=0, worst=1), run)
    sample = torch.from_numpy(read(run.sample("été 0.03", "student-1"))[0][0])
    raw, copied = (restore(noisy(1), clips[0])[c][0].clamp(-1, 1) for c in (False, True))
    assert torch.allclose(sample, copied, atol=1e-4)
    assert not torch.allclose(sample, raw, atol=1e-3)


def test_the_worst_are_chosen_by_the_variant_with_low_band_copy(clips, tmp_path):
    def estimate(clip, watch):
        louder = clip.utterance == clips[0].utterance  # only the copied variant's level is matched
        return 4 * clip.target if louder else noisy(1).estimate(clips[2], watch)

    run, config = Run(tmp_path), EvaluateConfig(samples=0, worst=1, gain="full")
    table = evaluate([System("student", 1, estimate)], [clips[0], clips[2]], config, run)
    scores = table[table.metric == "lsd_hf"].set_index(["low_band_copy", "utterance"]).value
    assert (scores[False].idxmax(), scores[True].idxmax()) == (clips[0].utterance, clips[2].utterance)
    assert {name.split("/")[0] for name in kept(run)} == {clips[2].utterance}


def test_a_new_evaluation_leaves_no_sample_of_the_one_before(clips, tmp_path):
    run = Run(tmp_path)
    evaluate([noisy(1)], clips, EvaluateConfig(samples=3, worst=3), run)
    assert len(kept(run)) == 10
    evaluate([noisy(2)], clips[:2], EvaluateConfig(samples=1, worst=0), run)
    assert kept(run) == {"été 0.03/student-2.flac"}
    assert len(read_clips(run.clips)) == 2


@pytest.mark.parametrize("wrong", [{"worst": -1}, {"samples": -1}])
def test_numbers_of_clips_below_none_are_refused(wrong):
    with pytest.raises(LcmError, match=r"evaluate\.samples=.* and evaluate\.worst=.*expected numbers of clips"):
        EvaluateConfig(**wrong)


@pytest.mark.parametrize("wrong", [{"temperature": -0.1}, {"temperature": float("nan")}, {"gain": "loud"}])
def test_an_impossible_evaluation_is_refused(wrong):
    with pytest.raises(LcmError, match=r"evaluate\.temperature"):
        EvaluateConfig(**wrong)

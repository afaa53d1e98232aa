import numpy as np
import pytest

from lcm.audio import resample
from lcm.degrade import FAMILIES, REFERENCE, Degradation, DegradationConfig, apply, draw, gain, levelled

RATE = 24_000


def order(family):
    return 0 if family in {"resample", REFERENCE} else 8


def noise(seconds=1.0, seed=0):
    return np.random.default_rng(seed).normal(0, 0.1, round(seconds * RATE)).astype(np.float32)


def gain_db(degradation, hz):
    tone = np.sin(2 * np.pi * hz * np.arange(RATE) / RATE).astype(np.float32)
    middle = slice(6_000, 18_000)
    return 20 * np.log10(np.std(apply(tone, degradation)[middle]) / np.std(tone[middle]) + 1e-12)


def test_the_default_is_24_to_12_to_24_khz():
    samples = noise()
    expected = resample(resample(samples, RATE, 12_000), 12_000, RATE)
    np.testing.assert_array_equal(apply(samples, Degradation()), expected)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("cutoff_hz", [3_000.0, 6_000.0, 9_000.0])
def test_each_family_keeps_what_is_below_the_cutoff_and_removes_what_is_above(family, cutoff_hz):
    degradation = Degradation(cutoff_hz, family, order(family))
    assert abs(gain_db(degradation, 0.5 * cutoff_hz)) < (3.5 if family == "bessel" else 0.2)  # a Bessel filter sags early
    assert gain_db(degradation, min(1.6 * cutoff_hz, 11_900)) < (-15 if family == "bessel" else -40)


@pytest.mark.parametrize("family", ["butterworth", "bessel"])
def test_the_filters_run_twice_and_lose_6_db_at_the_cutoff(family):
    assert gain_db(Degradation(5_000.0, family, 6), 5_000.0) == pytest.approx(-6.02, abs=0.1)


@pytest.mark.parametrize("family", FAMILIES)
def test_nothing_is_shifted_in_time(family):
    samples = noise()
    degraded = apply(samples, Degradation(6_000.0, family, order(family)))
    correlation = np.fft.irfft(np.fft.rfft(samples).conj() * np.fft.rfft(degraded))
    assert np.argmax(correlation) == 0
    assert np.allclose(correlation[1:200], correlation[-1:-200:-1], rtol=0.02, atol=0.01 * correlation[0])


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("length", [0, 1, 2, 17, 319, 320, 24_001])
def test_the_length_is_kept(family, length):
    degraded = apply(noise()[:length] if length <= RATE else noise(2.0)[:length], Degradation(5_123.0, family, order(family)))
    assert degraded.shape == (length,)
    assert degraded.dtype == np.float32
    assert np.isfinite(degraded).all()


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("cutoff_hz", [50.0, 11_990.0])
def test_extreme_cutoffs_stay_finite(family, cutoff_hz):
    degraded = apply(noise(), Degradation(cutoff_hz, family, order(family)))
    assert degraded.shape == (RATE,)
    assert np.abs(degraded).max() < 1.0


@pytest.mark.parametrize("family", FAMILIES)
def test_silence_stays_silence(family):
    assert not apply(np.zeros(4_000, np.float32), Degradation(6_000.0, family, order(family))).any()


@pytest.mark.parametrize("family", FAMILIES)
def test_the_same_input_gives_the_same_output_and_is_not_changed(family):
    samples, degradation = noise(), Degradation(4_321.0, family, order(family))
    before = samples.copy()
    np.testing.assert_array_equal(apply(samples, degradation), apply(samples, degradation))
    np.testing.assert_array_equal(samples, before)


# The reference's data preparation


def reference(cutoff_hz=6_000.0):
    return Degradation(cutoff_hz, REFERENCE)


def test_the_reference_family_is_its_two_resamplers_after_a_division_by_the_peak():
    import torch
    from scipy.signal import resample as by_spectrum

    from lcm.compat import import_encodec

    convert_audio = import_encodec().utils.convert_audio
    samples = noise()
    low = by_spectrum(samples.astype(np.float64) / np.abs(samples).max(), len(samples) // 2).astype(np.float32)
    expected = convert_audio(torch.from_numpy(low)[None], 12_000, RATE, 1)[0].numpy()
    np.testing.assert_allclose(apply(samples, reference()), expected, atol=1e-6)


def test_the_level_of_the_reference_family_is_known_and_can_be_undone():
    tone = (0.25 * np.sin(2 * np.pi * 1_000 * np.arange(RATE) / RATE)).astype(np.float32)
    assert gain(tone, reference()) == pytest.approx(4.0, rel=1e-4)
    degraded = apply(tone, reference())
    middle = slice(2_000, 22_000)
    np.testing.assert_allclose(degraded[middle] / gain(tone, reference()), tone[middle], atol=1e-3)
    np.testing.assert_allclose(levelled(tone, reference()), 4 * tone, rtol=1e-4)
    np.testing.assert_array_equal(apply(8 * tone, reference()), degraded)  # a power of two rounds nothing


@pytest.mark.parametrize("family", FAMILIES)
def test_no_other_family_changes_the_level(family):
    samples = noise()
    assert gain(samples, Degradation(6_000.0, family, order(family))) == 1.0
    np.testing.assert_array_equal(levelled(samples, Degradation(6_000.0, family, order(family))), samples)


def test_the_reference_family_removes_what_is_above_the_cutoff_and_shifts_nothing():
    samples = noise()
    degraded = apply(samples, reference())
    spectrum = np.abs(np.fft.rfft(degraded))
    assert spectrum[8_000:].max() < 0.03 * spectrum[:5_000].mean()  # its short sinc leaves images just above the cutoff
    assert np.argmax(np.fft.irfft(np.fft.rfft(samples).conj() * np.fft.rfft(degraded))) == 0


@pytest.mark.parametrize("length", [0, 1, 2, 17, 319, 24_001])
def test_the_reference_family_keeps_the_length_and_silence(length):
    degraded = apply(noise(2.0)[:length], reference())
    assert (degraded.shape, degraded.dtype) == ((length,), np.float32)
    assert np.isfinite(degraded).all()
    assert not apply(np.zeros(length, np.float32), reference()).any()


def test_the_reference_family_is_drawn_only_where_it_is_asked_for_and_not_mixed():
    assert REFERENCE not in DegradationConfig().random_families
    assert draw(DegradationConfig(family=REFERENCE), "a", 0) == [reference()]
    for values in ({"family": REFERENCE, "variants": 2}, {"random_families": ("resample", REFERENCE), "variants": 2}):
        with pytest.raises(ValueError, match="stands alone"):
            DegradationConfig(**values)


def test_the_reference_family_takes_the_cutoffs_that_its_resampler_can_reach():
    apply(noise(), reference(5_950.0))
    with pytest.raises(ValueError, match="multiple of 50 Hz"):
        reference(6_001.0)


def test_more_than_one_channel_is_refused():
    with pytest.raises(ValueError, match=r"\[T\]; got shape \(2, 100\)"):
        apply(np.zeros((2, 100)), Degradation())


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"cutoff_hz": 0.0}, "cutoff_hz = 0.0"),
        ({"cutoff_hz": 12_000.0}, "below 12000 Hz"),
        ({"cutoff_hz": float("nan")}, "cutoff_hz = nan"),
        ({"family": "brickwall"}, "Valid families are: resample, butterworth"),
        ({"family": "bessel"}, "order = 0 for family 'bessel'; expected 1 to 16"),
        ({"order": 4}, "'resample', which has none"),
    ],
)
def test_an_impossible_degradation_is_refused_with_what_was_expected(values, message):
    with pytest.raises(ValueError, match=message):
        Degradation(**values)


def test_names_tell_family_order_and_cutoff():
    assert Degradation().name == "resample-6000"
    assert Degradation(5_000.0, "butterworth", 8).name == "butterworth8-5000"
    assert Degradation(11_999.5, "elliptic", 10).name == "elliptic10-11999.5"


def test_a_degradation_survives_a_dictionary():
    degradation = Degradation(5_000.0, "elliptic", 3)
    assert Degradation.from_dict(degradation.to_dict()) == degradation
    with pytest.raises(ValueError, match="Unknown field"):
        Degradation.from_dict({"cutoff": 5_000.0})


def test_variant_0_is_the_fixed_one_and_the_others_lie_in_their_ranges():
    config = DegradationConfig(variants=40, random_cutoff_hz=(4_500.0, 5_500.0), random_orders=(3, 5))
    drawn = draw(config, "an utterance", 0)
    assert len(drawn) == 40
    assert drawn[0] == Degradation()
    assert {d.family for d in drawn[1:]} == set(FAMILIES)
    assert all(4_500 <= d.cutoff_hz <= 5_500 for d in drawn[1:])
    assert {d.order for d in drawn[1:] if d.family != "resample"} == {3, 4, 5}


def test_variants_depend_on_the_utterance_and_the_seed_alone():
    few, many = DegradationConfig(variants=3), DegradationConfig(variants=6)
    assert draw(many, "a", 0)[:3] == draw(few, "a", 0)
    assert draw(few, "a", 0) != draw(few, "b", 0)
    assert draw(few, "a", 0) != draw(few, "a", 1)


def test_draws_are_the_same_in_every_release():
    names = [d.name for d in draw(DegradationConfig(variants=4), "1089_134691_000052_000000", 7)]
    assert names == ["resample-6000", "resample-7913", "chebyshev6-7243", "elliptic10-4400"]

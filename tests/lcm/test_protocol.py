"""The evaluation protocol: one version number, one meaning."""

from __future__ import annotations

import dataclasses

import pytest

from lcm.errors import LcmError
from lcm.protocol import DEFAULT, PROTOCOL, Protocol

FINGERPRINTS = {1: "6751a18bacd2fe90"}  # add a line for a new version; never change one: records exist under it


def test_a_version_number_stands_for_exactly_one_set_of_fields():
    assert FINGERPRINTS[PROTOCOL] == DEFAULT.fingerprint


@pytest.mark.parametrize("field", [f.name for f in dataclasses.fields(Protocol)])
def test_changing_any_field_changes_the_fingerprint(field):
    value = getattr(DEFAULT, field)
    other = {str: "other", bool: not value, tuple: (1,)}.get(type(value)) if not isinstance(value, (int, float)) else value + 1
    assert dataclasses.replace(DEFAULT, **{field: other}).fingerprint != DEFAULT.fingerprint


def test_the_high_band_runs_from_the_cutoff_to_the_top_or_to_where_the_recording_ends():
    assert DEFAULT.hf_band_hz(6000, 12_000) == (6000, 12_000)
    assert DEFAULT.hf_band_hz(6000, 11_025) == (6000, 11_000)
    assert DEFAULT.hf_band_hz(4500, 24_000) == (4500, 12_000)


def test_the_level_band_leaves_out_half_a_kilohertz_at_the_edges():
    assert DEFAULT.level_band_hz(6000, 12_000) == (6500, 11_500)
    assert DEFAULT.level_band_hz(6000, 11_025) == (6500, 11_000)


def test_low_and_high_bands_share_no_bin_and_leave_none_out():
    low, high = DEFAULT.bins((0, 6000)), DEFAULT.bins((6000, 12_000))
    assert DEFAULT.bins((12_000, 12_000)) == DEFAULT.bins((12_500, 11_500)) == slice(0, 0)
    assert (low.start, low.stop, high.start, high.stop) == (0, 512, 512, 1025)


def test_the_narrow_bands_share_no_bin_and_leave_none_out():
    bands_hz = DEFAULT.lsd_bands_hz
    assert (len(bands_hz), bands_hz["lsd_00000hz"], bands_hz["lsd_11500hz"]) == (24, (0, 500), (11_500, 12_000))
    assert [n for b in bands_hz.values() for n in range(1025)[DEFAULT.bins(b)]] == list(range(1025))


def test_the_narrow_bands_follow_the_protocols_step_and_end_at_its_top():
    bands_hz = dataclasses.replace(DEFAULT, bandwidth_step_hz=5000.0).lsd_bands_hz
    assert bands_hz == {"lsd_00000hz": (0, 5000), "lsd_05000hz": (5000, 10_000), "lsd_10000hz": (10_000, 12_000)}


def test_a_bandwidth_that_is_no_frequency_is_refused():
    with pytest.raises(LcmError, match="bandwidth_hz is nan"):
        DEFAULT.hf_band_hz(6000, float("nan"))

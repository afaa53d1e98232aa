"""The record schema."""

from __future__ import annotations

import os

import numpy as np
import pandas as pd
import pytest

from lcm.metrics import METRICS
from lcm.records import (
    BAND_METRICS,
    CLIP_COLUMNS,
    COLUMNS,
    UNITS,
    Keys,
    RecordsError,
    band_hz,
    read_clips,
    read_records,
    rows,
    to_frame,
    write_clips,
    write_records,
)
from lcm.timing import Stopwatch

KEYS = Keys("student", "utt1", "spk1", steps=2, low_band_copy=True, signature="abc", seed=3)


@pytest.fixture
def table():
    return to_frame(rows(KEYS, {"si_sdr": 12.5, "stoi": float("nan")}))


def test_records_come_back_as_they_were_written(table, tmp_path):
    write_records(tmp_path / "run" / "records.parquet", table)
    pd.testing.assert_frame_equal(read_records(tmp_path / "run" / "records.parquet"), table)


def test_a_record_holds_its_keys_its_unit_and_the_protocol(table):
    first = ("abc", 3, "student", "utt1", "spk1", 2, True, "si_sdr", 12.5, "dB", 1)
    assert tuple(table.columns) == COLUMNS
    assert tuple(table.iloc[0]) == first


def test_columns_in_another_order_are_brought_to_the_schema(table, tmp_path):
    shuffled = table.drop(columns=["signature", "seed"]).assign(signature="def", seed=4)
    write_records(tmp_path / "r.parquet", shuffled)
    assert tuple(read_records(tmp_path / "r.parquet").columns) == COLUMNS


def test_no_records_make_an_empty_table_that_can_be_written(tmp_path):
    write_records(tmp_path / "r.parquet", to_frame([]))
    assert read_records(tmp_path / "r.parquet").empty


def test_every_metric_that_is_measured_has_a_unit():
    assert set(METRICS) | set(Stopwatch().scores(1.0)) | {"frechet_hf"} == set(UNITS)


@pytest.mark.parametrize("column", [c for c in COLUMNS if c != "value"])
def test_a_missing_key_is_refused_and_its_column_named(table, tmp_path, column):
    table[column] = table[column].astype(object)
    table.loc[1, column] = None
    with pytest.raises(RecordsError, match=f"column '{column}' holds 1 missing"):
        write_records(tmp_path / "r.parquet", table)


@pytest.mark.parametrize(
    ("column", "value"), [("seed", 1.0), ("steps", "2"), ("low_band_copy", 1), ("value", "12"), ("system", 7), ("protocol", True)]
)
def test_a_column_of_another_type_is_refused_and_named(table, tmp_path, column, value):
    with pytest.raises(RecordsError, match=f"column '{column}' is"):
        write_records(tmp_path / "r.parquet", table.assign(**{column: value}))


def test_missing_and_unknown_columns_are_named(table, tmp_path):
    with pytest.raises(RecordsError, match=r"missing: \['unit'\], unknown: \['units'\]"):
        write_records(tmp_path / "r.parquet", table.rename(columns={"unit": "units"}))


@pytest.mark.parametrize(("column", "value"), [("metric", "lsdhf"), ("system", "studnet")])
def test_an_unknown_metric_or_system_is_refused_with_the_valid_ones(table, tmp_path, column, value):
    with pytest.raises(RecordsError, match=rf"unknown {column}\(s\): {value}. Valid are"):
        write_records(tmp_path / "r.parquet", table.assign(**{column: value}))


def test_a_metric_in_another_unit_is_refused(table, tmp_path):
    with pytest.raises(RecordsError, match="'si_sdr' has unit '1', expected 'dB'"):
        write_records(tmp_path / "r.parquet", table.assign(unit="1"))


def test_a_value_written_twice_is_refused(table, tmp_path):
    with pytest.raises(RecordsError, match=r"2 record\(s\) appear twice"):
        write_records(tmp_path / "r.parquet", pd.concat([table, table]))


def test_an_unknown_metric_is_refused_when_the_record_is_made():
    with pytest.raises(RecordsError, match="pesq"):
        rows(KEYS, {"pesq": 1.0})


def test_a_refused_write_leaves_the_old_records(table, tmp_path):
    write_records(tmp_path / "r.parquet", table)
    with pytest.raises(RecordsError):
        write_records(tmp_path / "r.parquet", table.assign(unit="1"))
    assert os.listdir(tmp_path) == ["r.parquet"]  # noqa: PTH208
    assert len(read_records(tmp_path / "r.parquet")) == 2


def test_a_parquet_file_of_another_schema_is_named(table, tmp_path):
    table.to_parquet(tmp_path / "other.parquet")
    with pytest.raises(RecordsError, match=r"other.parquet: its schema is 'none', expected 'lcm-records-1'"):
        read_records(tmp_path / "other.parquet")


def test_a_missing_and_a_truncated_file_are_named(table, tmp_path):
    with pytest.raises(RecordsError, match=r"none\.parquet: missing"):
        read_records(tmp_path / "none.parquet")
    write_records(tmp_path / "r.parquet", table)
    (tmp_path / "r.parquet").write_bytes((tmp_path / "r.parquet").read_bytes()[:-20])
    with pytest.raises(RecordsError, match=r"r\.parquet: not readable as Parquet"):
        read_records(tmp_path / "r.parquet")


def test_a_value_that_is_not_defined_stays_nan(table, tmp_path):
    write_records(tmp_path / "r.parquet", table)
    assert np.isnan(read_records(tmp_path / "r.parquet").value[1])


def test_narrow_bands_tell_their_edges_and_cover_the_spectrum_in_order():
    edges = [band_hz(name) for name in BAND_METRICS]
    assert edges == [(500.0 * n, 500.0 * n + 500) for n in range(24)]
    assert BAND_METRICS[13] == "lsd_06500hz"
    with pytest.raises(RecordsError, match="'lsd_hf' is not a metric of one band"):
        band_hz("lsd_hf")


@pytest.fixture
def clips():
    facts = [("007", "NA", 2.0, 6000.0, 12_000.0, "resample"), ('é "x", 你好 ', "мария", 1 / 3, 4321.5, 11_025.0, "butterworth")]
    return pd.DataFrame(facts, columns=list(CLIP_COLUMNS))


def test_clips_come_back_as_they_were_written_whatever_their_names(clips, tmp_path):
    write_clips(tmp_path / "a run" / "clips.csv", clips.assign(note="left out"))
    pd.testing.assert_frame_equal(read_clips(tmp_path / "a run" / "clips.csv"), clips, check_exact=True)
    assert os.listdir(tmp_path / "a run") == ["clips.csv"]  # noqa: PTH208


@pytest.mark.parametrize("text", [None, "", "utterance,speaker\na,b\n", ",".join(CLIP_COLUMNS) + "\na,b,long,1,1,f\n"])
def test_clips_that_cannot_be_read_are_named(text, tmp_path):
    path = tmp_path / "clips.csv"
    if text is not None:
        path.write_text(text)
    with pytest.raises(RecordsError, match=r"clips\.csv: cannot be read .*Evaluate the run again"):
        read_clips(path)

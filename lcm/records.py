"""Evaluation records: one tidy Parquet table a run, one row for each value; beside it a CSV of what its utterances are.

A value of NaN means "not defined for this clip". Utterance and speaker "*" mark a metric over the whole test set.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from lcm.errors import LcmError
from lcm.paths import write_text
from lcm.protocol import DEFAULT, PROTOCOL
from lcm.provenance import provenance, write_provenance

__all__ = [
    "BAND_METRICS", "CLIP_COLUMNS", "COLUMNS", "SCHEMA", "SCHEMA_NAME", "SYSTEMS", "UNITS", "WHOLE_SET", "Keys", "RecordsError",
    "band_hz", "provenance", "read_clips", "read_records", "rows", "to_frame", "write_clips", "write_provenance", "write_records",
]  # fmt: skip

SCHEMA_NAME = "lcm-records-1"
WHOLE_SET = "*"
SYSTEMS = (
    *("student", "teacher", "mbd", "flow", "token_ce", "regression", "degraded_codes", "codec_ceiling"),
    *("sinc", "linear", "zero_order_hold"),
)
BAND_METRICS: tuple[str, ...] = tuple(DEFAULT.lsd_bands_hz)
"""The log-spectral distance in each 500 Hz, from low to high: the curve over frequency. NaN above where the recording ends."""
UNITS: dict[str, str] = {
    "si_sdr": "dB", "stoi": "1", "estoi": "1", "mr_stft": "1",
    "lsd": "1", "lsd_hf": "1", "lsd_lf": "1", "lsd_1e6": "1", "lsd_hf_1e6": "1", "lsd_lf_1e6": "1",
    "hf_bias": "dB", "fine_structure": "1", "frechet_hf": "1",
    "time_encode": "s", "time_network": "s", "time_decode": "s", "time_copy": "s", "time_total": "s", "rtf": "1",
    **dict.fromkeys(BAND_METRICS, "1"),
}  # fmt: skip
"""The unit of every metric. LSDs are in log10 of the power, `frechet_hf` in dB^2."""

SCHEMA = pa.schema(
    [
        ("signature", pa.string()), ("seed", pa.int64()), ("system", pa.string()), ("utterance", pa.string()), ("speaker", pa.string()),
        ("steps", pa.int64()), ("low_band_copy", pa.bool_()), ("metric", pa.string()), ("value", pa.float64()), ("unit", pa.string()),
        ("protocol", pa.int64()),
    ],
    metadata={"schema": SCHEMA_NAME},
)  # fmt: skip
COLUMNS: tuple[str, ...] = tuple(SCHEMA.names)
CLIP_COLUMNS: dict[str, type] = {
    "utterance": str, "speaker": str, "seconds": float, "cutoff_hz": float, "bandwidth_hz": float, "family": str,
}  # fmt: skip
_IDENTITY = [name for name in COLUMNS if name not in ("speaker", "value", "unit")]


class RecordsError(LcmError):
    """Records do not follow the schema, or a file holds none."""


@dataclasses.dataclass(frozen=True)
class Keys:
    """What the values of one system on one utterance have in common.

    Attributes:
        system: One of SYSTEMS.
        utterance: Id in the manifest, or "*" for a metric over the whole test set.
        speaker: Speaker in the manifest, or "*".
        steps: Network evaluations of a student, Heun steps of a teacher, calls of each U-Net of `mbd`, 0 for a system without a network.
        low_band_copy: Whether the low band was copied from the degraded input.
        signature: Signature of the run's config.
        seed: Seed of the run.
    """

    system: str
    utterance: str
    speaker: str
    steps: int = 0
    low_band_copy: bool = False
    signature: str = ""
    seed: int = 0


def band_hz(metric: str) -> tuple[float, float]:
    """Return the band (low, high) in Hz of one of `BAND_METRICS`.

    Raises:
        RecordsError: If it is none of them.
    """
    if metric not in BAND_METRICS:
        raise RecordsError(f"{metric!r} is not a metric of one band. Valid are: {', '.join(BAND_METRICS)}.")
    return DEFAULT.lsd_bands_hz[metric]


def rows(keys: Keys, values: Mapping[str, float], *, protocol: int = PROTOCOL) -> list[dict[str, object]]:
    """Return one record for each metric, with its unit.

    Args:
        keys: What the records share.
        values: Metric to value, NaN where it is not defined.
        protocol: Version of the evaluation protocol.

    Raises:
        RecordsError: If a metric is unknown.
    """
    unknown = sorted(set(values) - set(UNITS))
    if unknown:
        raise RecordsError(f"Unknown metric(s): {', '.join(unknown)}. Valid metrics are: {', '.join(UNITS)}.")
    shared = {**dataclasses.asdict(keys), "protocol": protocol}
    return [{**shared, "metric": name, "value": float(value), "unit": UNITS[name]} for name, value in values.items()]


def to_frame(records: Iterable[Mapping[str, object]]) -> pd.DataFrame:
    """Return records as a table with the schema's columns and types; no records give an empty table.

    Raises:
        RecordsError: If a column is missing or a value has another type.
    """
    table = pd.DataFrame(list(records))
    for name in COLUMNS if table.empty else ():
        table[name] = pd.Series(dtype=SCHEMA.field(name).type.to_pandas_dtype())
    return _to_arrow(table, "records").to_pandas()


def write_records(path: Path | str, records: pd.DataFrame) -> None:
    """Write records atomically: a reader sees the whole file or none.

    Args:
        path: Target, `records.parquet` of a run folder, which is made.
        records: The schema's columns in any order.

    Raises:
        RecordsError: If columns or types differ, a key is missing, a metric, unit or system is unknown, or a record appears twice.
    """
    path = Path(path)
    table = _to_arrow(records, str(path))
    _check_values(table.to_pandas(), str(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    with part.open("wb") as file:
        pq.write_table(table, file)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)


def read_records(path: Path | str) -> pd.DataFrame:
    """Read records.

    Args:
        path: A file that `write_records` wrote.

    Returns:
        The table, columns in the schema's order.

    Raises:
        RecordsError: If the file is missing, damaged, or of another schema.
    """
    path = Path(path)
    try:
        table = pq.read_table(path)
    except FileNotFoundError as error:
        raise RecordsError(f"{path}: missing: no such file. Evaluate the run first.") from error
    except PermissionError as error:
        raise RecordsError(f"{path}: may not be read (permission denied). Ask its owner.") from error
    except (OSError, pa.ArrowInvalid) as error:
        raise RecordsError(f"{path}: not readable as Parquet ({error}). Delete it and evaluate the run again.") from error
    found = (table.schema.metadata or {}).get(b"schema", b"none").decode()
    if found != SCHEMA_NAME:
        raise RecordsError(f"{path}: its schema is {found!r}, expected {SCHEMA_NAME!r}. Evaluate the run again with this version.")
    return _to_arrow(table.to_pandas(), str(path)).to_pandas()


def write_clips(path: Path, clips: pd.DataFrame) -> None:
    """Write what the records' utterances are, atomically.

    Args:
        path: Target, `clips.csv` of a run folder, which is made.
        clips: One row a clip, with `CLIP_COLUMNS`: length in s, the degradation's cutoff and family, where the original ends.
    """
    write_text(path, clips[list(CLIP_COLUMNS)].to_csv(index=False, lineterminator="\n"))


def read_clips(path: Path) -> pd.DataFrame:
    """Read what `write_clips` wrote; an utterance called `007` or `NA` stays a word.

    Raises:
        RecordsError: If the file is missing, damaged, or lacks a column.
    """
    try:
        return pd.read_csv(path, dtype=CLIP_COLUMNS, keep_default_na=False, float_precision="round_trip")[list(CLIP_COLUMNS)]
    except (OSError, ValueError, KeyError) as error:
        raise RecordsError(f"{path}: cannot be read ({error}): expected {', '.join(CLIP_COLUMNS)}. Evaluate the run again.") from error


def _to_arrow(records: pd.DataFrame, where: str) -> pa.Table:
    """Bring a table to the schema, or say which column does not follow it."""
    missing = [name for name in COLUMNS if name not in records.columns]
    extra = [str(name) for name in records.columns if name not in COLUMNS]
    if missing or extra:
        raise RecordsError(f"{where}: columns missing: {missing or 'none'}, unknown: {extra or 'none'}. Expected {', '.join(COLUMNS)}.")
    columns = []
    for field in SCHEMA:
        series = records[field.name]
        if field.name != "value" and bool(series.isna().any()):
            raise RecordsError(
                f"{where}: column {field.name!r} holds {int(series.isna().sum())} missing value(s): only 'value' may be NaN."
            )
        try:
            # Inference first: a cast alone would turn 1.0 into 1 and True into 1 without a word.
            columns.append(_exact(pa.array(series, from_pandas=False), field))
        except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
            raise RecordsError(f"{where}: column {field.name!r} is {series.dtype}, expected {field.type} ({error}).") from error
    return pa.Table.from_arrays(columns, schema=SCHEMA)


def _exact(array: pa.Array, field: pa.Field) -> pa.Array:
    """Widen an array of the field's kind to its type; raise ArrowTypeError for another kind."""
    kinds = {"string": (pa.types.is_string, pa.types.is_large_string), "int64": (pa.types.is_integer,), "bool": (pa.types.is_boolean,)}
    accepted = kinds.get(str(field.type), (pa.types.is_floating,))
    if len(array) and not any(test(array.type) for test in accepted):
        raise pa.ArrowTypeError(f"found {array.type}")
    return array.cast(field.type)


def _check_values(table: pd.DataFrame, where: str) -> None:
    """Refuse records that no reader could place."""
    for name, valid in (("metric", tuple(UNITS)), ("system", SYSTEMS)):
        unknown = sorted(set(table[name]) - set(valid))
        if unknown:
            raise RecordsError(f"{where}: unknown {name}(s): {', '.join(unknown)}. Valid are: {', '.join(valid)}.")
    wrong = table[np.asarray(table["unit"] != table["metric"].map(UNITS), dtype=bool)]
    if len(wrong):
        first = wrong.iloc[0]
        raise RecordsError(f"{where}: metric {first['metric']!r} has unit {first['unit']!r}, expected {UNITS[first['metric']]!r}.")
    twice = table[table.duplicated(_IDENTITY)]
    if len(twice):
        raise RecordsError(f"{where}: {len(twice)} record(s) appear twice, first {dict(twice.iloc[0][_IDENTITY])}. Write each value once.")

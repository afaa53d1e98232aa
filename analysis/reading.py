"""Thousands of Parquet files of records into one table: scanned and reduced by polars, handed over to pandas at the edge."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from analysis.runs import RECORDS, Finding, Run
from lcm.records import COLUMNS, SCHEMA, SCHEMA_NAME, WHOLE_SET, RecordsError, read_records

TEXT = ("signature", "system", "utterance", "speaker", "metric", "unit")
GROUP = ("run", "signature", "seed", "system", "steps", "low_band_copy", "metric", "protocol")
"""What the values of one system in one run and metric have in common."""


def scan(files: Mapping[str, Path]) -> pl.LazyFrame:
    """Scan records without reading them; what is asked of the frame decides what is read.

    Args:
        files: run name -> records.parquet.

    Returns:
        The columns of the records and `run`, lazily.
    """
    names = {str(path): name for name, path in files.items()}
    frame = pl.scan_parquet(list(files.values()), include_file_paths="run", glob=False)
    kept = frame.select([*COLUMNS, "run"]).cast({"seed": pl.Int64, "steps": pl.Int64, "protocol": pl.Int64})
    return kept.with_columns(pl.col("run").replace_strict(names, return_dtype=pl.Enum(list(names.values()))))


def readable(runs: Iterable[Run], findings: list[Finding]) -> dict[str, Path]:
    """List the records that may be analysed.

    Args:
        runs: run folders.
        findings: receives why a run is left out.

    Returns:
        Run name -> records.parquet, of finished runs whose file is whole and follows the schema.
    """
    files = {}
    for run in runs:
        path = run.folder / RECORDS
        if run.usable and _speakable(run, findings) and _fits(run, path, findings):
            files[run.name] = path
    return files


def _speakable(run: Run, findings: list[Finding]) -> bool:
    """Tell whether a folder's name is text; polars reads no other."""
    try:
        str(run.folder).encode()
    except UnicodeEncodeError:
        name = str(run.folder).encode(errors="replace").decode()
        findings.append(Finding("error", f"Run {name} is left out: its folder's name is not UTF-8. Rename it."))
        return False
    return True


def _fits(run: Run, path: Path, findings: list[Finding]) -> bool:
    """Look at the footer alone; a file that is not as expected is read by the reader that can say what is wrong with it."""
    try:
        found = pq.read_schema(path)
        if found.equals(SCHEMA) and (found.metadata or {}).get(b"schema") == SCHEMA_NAME.encode():
            return True
        read_records(path)
        reason = f"{RECORDS}: its columns are not of the types that lcm.records.write_records gives them. Evaluate the run again."
    except (OSError, pa.ArrowInvalid, RecordsError) as error:
        reason = _reason(error, run, path)
    findings.append(Finding("error", f"Run {run.name} is left out: {reason}"))
    return False


def _reason(error: Exception, run: Run, path: Path) -> str:
    if not isinstance(error, RecordsError):
        try:
            read_records(path)
        except RecordsError as told:
            error = told
    return str(error).replace(f"{run.folder}/", "")


def collect(files: dict[str, Path], runs: Iterable[Run], metrics: Iterable[str] | None, findings: list[Finding]) -> pl.DataFrame:
    """Read the records of many runs.

    Args:
        files: run name -> records.parquet; those that turn out to be damaged are taken out.
        runs: their run folders.
        metrics: metrics to read; all where None.
        findings: receives why a run is left out.

    Returns:
        The records, texts as categories, rows in the order of the runs.
    """
    try:
        return _collect(files, metrics)
    except (pl.exceptions.PolarsError, OSError):  # some page of some file: find it, keep the rest
        by_name = {run.name: run for run in runs}
        for name, path in list(files.items()):
            try:
                _collect({name: path}, None)
            except (pl.exceptions.PolarsError, OSError) as error:
                del files[name]
                findings.append(Finding("error", f"Run {name} is left out: {_reason(error, by_name[name], path)}"))
        return _collect(files, metrics)


def _collect(files: dict[str, Path], metrics: Iterable[str] | None) -> pl.DataFrame:
    if not files:
        return pl.DataFrame(schema={"run": pl.String})
    frame = scan(files)
    if metrics is not None:
        frame = frame.filter(pl.col("metric").is_in(list(metrics)))
    return frame.with_columns(pl.col(name).cast(pl.Categorical) for name in TEXT).collect()


def coverage(records: pl.DataFrame) -> pd.DataFrame:
    """Count what there is of every system in every run: one pass over all records, from which all checks are made.

    Args:
        records: what `collect` returns.

    Returns:
        One row per run, signature, seed, system, steps, low_band_copy, metric and protocol: `rows`, `utterances` (different ones),
        `undefined` (values that are not finite), and `set`, a number that is equal for equal sets of utterances.
    """
    clip = pl.col("utterance").to_physical().cast(pl.UInt64)
    counted = records.group_by(GROUP).agg(
        rows=pl.len(), utterances=clip.n_unique(), undefined=(~pl.col("value").is_finite()).sum(), set=clip.unique().hash(seed=0).sum(),
    )  # fmt: skip
    return to_pandas(counted.sort(pl.col(name).cast(pl.String) if name in TEXT else name for name in GROUP))


def clips_of(records: pl.DataFrame, run: str) -> frozenset[str]:
    """Return the utterances that a run has records of.

    Args:
        records: what `collect` returns.
        run: its name.
    """
    own = records.filter(pl.col("run") == run)["utterance"].unique().cast(pl.String)
    return frozenset(own.to_list()) - {WHOLE_SET}


def to_pandas(frame: pl.DataFrame) -> pd.DataFrame:
    """Hand a table over to pandas: texts as categories that hold the values present, in order, and nothing else.

    Args:
        frame: a table whose text columns are Categorical or Enum.

    Returns:
        The same table.
    """
    return pd.DataFrame({name: _column(frame[name]) for name in frame.columns}, copy=False)


def _column(column: pl.Series) -> np.ndarray | pd.Categorical:
    if not isinstance(column.dtype, (pl.Categorical, pl.Enum)):
        return np.asarray(column.to_numpy())
    if isinstance(column.dtype, pl.Enum):
        used = set(column.unique().cast(pl.String).to_list())
        levels = [level for level in column.dtype.categories if level in used]
    else:
        levels = sorted(column.unique().drop_nulls().cast(pl.String).to_list())
    codes = column.cast(pl.Enum(levels)).to_physical().to_numpy()
    return pd.Categorical.from_codes(codes.astype(np.min_scalar_type(-max(len(levels), 1))), categories=pd.Index(levels))


"""From run folders to one tidy table: read, check, join the configuration, and say what is missing."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl

from analysis.completeness import COLUMNS as MISSING
from analysis.completeness import missing
from analysis.faults import RECORD_KEY, check, some
from analysis.reading import clips_of, collect, coverage, readable, scan, to_pandas
from analysis.runs import RECORDS, Finding, Run, find
from analysis.settings import config_axes, setting
from lcm.errors import LcmError

WORDS = "report.json"
NAMED = "student"
"""Where a table's attrs hold the signature of the student's point, "" where the sweep's author named none."""


class ResultsError(LcmError):
    """The results folder cannot be analysed at all."""


@dataclass
class Results:
    """Everything the figures and the report are made from.

    Attributes:
        table: one row per record, with `run` and the joined "config.<dotted key>" columns.
        runs: one row per run folder: run, folder, signature, seed, state, error, config columns.
        warnings: findings, worst first.
        provenance: run name -> parsed provenance.json.
        configs: run name -> configuration, flattened to dotted keys.
        root: the results root.
        missing: what is missing, columns kind, run, what, do (`completeness.missing`).
    """

    table: pd.DataFrame
    runs: pd.DataFrame
    warnings: list[Finding] = field(default_factory=list)
    provenance: dict[str, dict[str, Any]] = field(default_factory=dict)
    configs: dict[str, dict[str, Any]] = field(default_factory=dict)
    root: Path = Path()
    missing: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=list(MISSING)))

    @property
    def axes(self) -> list[str]:
        """Return the configuration columns that take more than one value among the runs."""
        return [c for c in self.table.columns if c.startswith("config.") and self.table[c].nunique(dropna=False) > 1]


def load(root: str | Path, *, metrics: Sequence[str] | None = None) -> Results:
    """Read every run folder below a root into one tidy table.

    Args:
        root: results folder, e.g. runs/demo; records.parquet files are found at any depth.
        metrics: metrics to read; all where None. Of a very large sweep a few are read in a fraction of the time and memory.

    Returns:
        The results. Runs that failed, are unfinished or cannot be read are named in `.warnings` and not in `.table`; what a whole sweep
        would have and this one has not is listed in `.missing`.

    Raises:
        ResultsError: the folder does not exist or holds no usable record.
    """
    folder = Path(root)
    runs, findings, files = _found(folder)
    records = collect(files, runs, metrics, findings)
    if records.is_empty():
        raise ResultsError(_nothing(folder, findings) if metrics is None or not files else _no_metric(folder, files, metrics))
    findings += [Finding("warning", f"Run {name} has an empty {RECORDS}; evaluate it again.") for name in _empty(files, records, metrics)]
    counted = coverage(records)
    lacking = missing(folder, runs, counted, partial(clips_of, records))
    findings += check(counted, lacking)
    frame = _join_config(to_pandas(_once(records, counted)), runs)
    frame.attrs[NAMED] = _named(folder, frame, findings)
    findings.sort(key=lambda f: ("error", "warning", "note").index(f.level))
    provenance, configs = {r.name: r.provenance for r in runs if r.provenance}, {r.name: r.config for r in runs}
    return Results(frame, _run_table(counted, runs), findings, provenance, configs, folder, lacking)


def _named(folder: Path, frame: pd.DataFrame, findings: list[Finding]) -> str:
    try:
        named = read_words(folder).get(NAMED, "")
        problem = unknown_student(frame, named)
    except ResultsError as error:
        named, problem = "", str(error)
    if problem:
        findings.append(Finding("warning", f"{problem}. The student's point is chosen by rule."))
    return "" if problem else named


def unknown_student(table: pd.DataFrame, named: str) -> str:
    """Say that report.json names a student whom nobody scored, and which there are; "" where all is well.

    Args:
        table: tidy table; the newest protocol counts.
        named: the signature given, "" where none is.
    """
    current = current_protocol(table)
    known = sorted(current["signature"][current["system"] == "student"].astype(str).unique())
    if not named or named in known:
        return ""
    return f"{WORDS} names the student {named!r}, which has no records. Signatures: {some(known, 12) or 'none, no student was evaluated'}"


def lazy(root: str | Path) -> pl.LazyFrame:
    """Scan the usable records below a root without reading them, for questions of your own on sweeps of any size.

    Args:
        root: results folder.

    Returns:
        The columns of the records and `run`. Nothing is checked beyond each file's schema: see `load` for what to beware of.

    Raises:
        ResultsError: the folder does not exist or holds no usable record.
    """
    _, findings, files = _found(Path(root))
    if not files:
        raise ResultsError(_nothing(Path(root), findings))
    return scan(files)


def _found(folder: Path) -> tuple[list[Run], list[Finding], dict[str, Path]]:
    if not folder.is_dir():
        raise ResultsError(f"No results folder at {folder}: give the folder that holds points/ and baselines/ (e.g. runs/demo)")
    runs = find(folder)
    findings = [f for run in runs for f in run.findings]
    return runs, findings, readable(runs, findings)


def _nothing(folder: Path, findings: list[Finding]) -> str:
    reasons = "; ".join(f.text for f in findings[:5]) or "no run folder was found"
    return f"No usable {RECORDS} below {folder}: {reasons}. Run an evaluation first, then this command again"


def _no_metric(folder: Path, files: dict[str, Path], metrics: Sequence[str]) -> str:
    known = scan(files).select(pl.col("metric").unique().sort()).collect()["metric"].to_list()
    return f"No record of {', '.join(metrics)} below {folder}: metrics there are {', '.join(known) or 'none'}"


def _empty(files: dict[str, Path], records: pl.DataFrame, metrics: Sequence[str] | None) -> list[str]:
    return [] if metrics is not None else sorted(set(files) - set(records["run"].unique().cast(pl.String)))


def _once(records: pl.DataFrame, counted: pd.DataFrame) -> pl.DataFrame:
    """Keep the first of the runs that scored the same, and each of its values once; looked for only where the counts tell of twins."""
    if counted.drop_duplicates([*RECORD_KEY, "run"]).duplicated(RECORD_KEY).any():
        run = pl.col("run").to_physical()  # in the order of the runs
        records = records.filter(run == run.min().over(RECORD_KEY))
    if (counted["rows"] == counted["utterances"]).all():
        return records
    return records.unique([*RECORD_KEY, "metric", "utterance"], keep="first", maintain_order=True)


def read_words(root: Path) -> dict[str, str]:
    """Read what the sweep's author says about it: title, note, question, student (a signature).

    Args:
        root: results folder.

    Returns:
        The words of its report.json; {} where there is none. What is null is not said.

    Raises:
        ResultsError: the file is not JSON.
    """
    path = root / WORDS
    if not path.is_file():
        return {}
    try:
        given = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ResultsError(f"{path} is not JSON ({error}): expected an object with title, note, question; correct or remove it") from error
    return {str(k): str(v) for k, v in given.items() if v is not None} if isinstance(given, dict) else {}


def current_protocol(table: pd.DataFrame) -> pd.DataFrame:
    """Keep the rows of the newest protocol version; versions are never averaged together.

    Args:
        table: a tidy table.

    Returns:
        The rows whose protocol is the highest one present.
    """
    own = (table["protocol"] == table["protocol"].max()).to_numpy()
    return table if own.all() else table[own]  # millions of rows are not copied for nothing


def _join_config(frame: pd.DataFrame, runs: list[Run]) -> pd.DataFrame:
    names = set(frame["run"].cat.categories)
    used = [run for run in runs if run.name in names]
    for key in config_axes(run.config for run in used):
        values = {run.name: setting(run.config, key) for run in used}
        frame[f"config.{key}"] = pd.Categorical.from_codes(*_factor(frame["run"], values))
    return frame


def _factor(column: pd.Series, values: dict[str, Any]) -> tuple[np.ndarray, pd.Index]:
    of_run = pd.Series([values.get(name) for name in column.cat.categories], dtype=object)
    codes, levels = pd.factorize(of_run, sort=False)
    return codes[column.cat.codes.to_numpy()], pd.Index(levels)


def _run_table(counted: pd.DataFrame, runs: list[Run]) -> pd.DataFrame:
    keys = config_axes(run.config for run in runs)
    first = counted.drop_duplicates("run").set_index("run")[["signature", "seed"]].to_dict("index")
    rows = [
        {
            "run": run.name, "folder": run.folder, "state": run.state, "step": run.status.get("step"), "error": run.status.get("error"),
            "signature": first.get(run.name, run.status).get("signature"), "seed": first.get(run.name, run.config).get("seed"),
            **{f"config.{key}": setting(run.config, key) for key in keys},
        }
        for run in runs
    ]  # fmt: skip
    return pd.DataFrame(rows)

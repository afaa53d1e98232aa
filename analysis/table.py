"""From run folders to one tidy table: read, check, join the configuration, and say what is missing."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis.runs import RECORDS, Finding, Run, find
from analysis.settings import loss_terms, setting
from lcm.errors import LcmError
from lcm.records import RecordsError, read_records

TEXT = ("signature", "system", "utterance", "speaker", "metric", "unit", "run")
FIXED_AXES = ("objective.name", "blocks.partition", "train.steps")
NOT_AXES = ("seed", "train.seed", "root", "shards", "jobs", "debug", "train.checkpoint_every")
"""Settings that change no result."""
WORDS = "report.json"


RECORD_KEY = ["signature", "seed", "system", "steps", "low_band_copy"]


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
    """

    table: pd.DataFrame
    runs: pd.DataFrame
    warnings: list[Finding] = field(default_factory=list)
    provenance: dict[str, dict[str, Any]] = field(default_factory=dict)
    configs: dict[str, dict[str, Any]] = field(default_factory=dict)
    root: Path = Path()

    @property
    def axes(self) -> list[str]:
        """Return the configuration columns that take more than one value among the runs."""
        return [c for c in self.table.columns if c.startswith("config.") and self.table[c].nunique(dropna=False) > 1]


def load(root: str | Path) -> Results:
    """Read every run folder below a root into one tidy table.

    Args:
        root: results folder, e.g. runs/demo; records.parquet files are found at any depth.

    Returns:
        The results. Runs that failed, are unfinished or cannot be read are named in `.warnings` and not in `.table`.

    Raises:
        ResultsError: the folder does not exist or holds no usable record.
    """
    folder = Path(root)
    if not folder.is_dir():
        raise ResultsError(f"No results folder at {folder}: give the folder that holds points/ and baselines/ (e.g. runs/demo)")
    runs = find(folder)
    findings = [f for run in runs for f in run.findings]
    parts = [part for run in runs if run.usable and (part := _read_records(run, findings)) is not None]
    if not parts:
        reasons = "; ".join(f.text for f in findings[:5]) or "no run folder was found"
        raise ResultsError(f"No usable {RECORDS} below {folder}: {reasons}. Run an evaluation first, then this command again")
    frame = _join_config(_concat(parts), runs)
    findings += _check(frame)
    frame = frame.drop_duplicates([*RECORD_KEY, "utterance", "metric", "protocol"], ignore_index=True)
    order = {"error": 0, "warning": 1, "note": 2}
    findings.sort(key=lambda f: order[f.level])
    provenance, configs = {r.name: r.provenance for r in runs if r.provenance}, {r.name: r.config for r in runs}
    return Results(frame, _run_table(frame, runs), findings, provenance, configs, folder)


def read_words(root: Path) -> dict[str, str]:
    """Read what the sweep's author says about it: title, note, question, student (a signature).

    Args:
        root: results folder.

    Returns:
        The words of its report.json; {} where there is none.

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
    return {str(k): str(v) for k, v in given.items()} if isinstance(given, dict) else {}


def current_protocol(table: pd.DataFrame) -> pd.DataFrame:
    """Keep the rows of the newest protocol version; versions are never averaged together.

    Args:
        table: a tidy table.

    Returns:
        The rows whose protocol is the highest one present.
    """
    kept: pd.DataFrame = table[table["protocol"] == table["protocol"].max()]
    return kept


def _read_records(run: Run, findings: list[Finding]) -> pd.DataFrame | None:
    try:
        frame = read_records(run.folder / RECORDS)
    except RecordsError as error:
        findings.append(Finding("error", f"Run {run.name} is left out: {str(error).replace(f'{run.folder}/', '')}"))
        return None
    if frame.empty:
        findings.append(Finding("warning", f"Run {run.name} has an empty {RECORDS}; evaluate it again."))
        return None
    frame["run"] = run.name
    return frame.astype(dict.fromkeys(TEXT, "category"))


def _concat(parts: list[pd.DataFrame]) -> pd.DataFrame:
    columns = [name for name in parts[0].columns if isinstance(parts[0][name].dtype, pd.CategoricalDtype)]
    for name in columns:
        every = sorted({value for part in parts for value in part[name].cat.categories})
        for part in parts:
            part[name] = part[name].cat.set_categories(every)
    return pd.concat(parts, ignore_index=True)


def _join_config(frame: pd.DataFrame, runs: list[Run]) -> pd.DataFrame:
    used = [run for run in runs if run.name in set(frame["run"].cat.categories)]
    for key in config_axes(used):
        values = {run.name: setting(run.config, key) for run in used}
        frame[f"config.{key}"] = pd.Categorical.from_codes(*_factor(frame["run"], values))
    return frame


def _factor(column: pd.Series, values: dict[str, Any]) -> tuple[np.ndarray, pd.Index]:
    of_run = pd.Series([values.get(name) for name in column.cat.categories], dtype=object)
    codes, levels = pd.factorize(of_run, sort=False)
    return codes[column.cat.codes.to_numpy()], pd.Index(levels)


def config_axes(runs: list[Run]) -> list[str]:
    """List the dotted keys worth a column: those that vary between the runs, and a few fixed ones.

    Args:
        runs: runs with flattened configurations.

    Returns:
        Keys in the order they first appear; seeds are left out, they have a column of their own. Losses that are on stay.
    """
    configured = [run.config for run in runs if run.config]
    keys = dict.fromkeys(key for config in configured for key in config if key not in NOT_AXES)
    return [k for k in keys if k in FIXED_AXES or any(loss_terms(c, [k]) for c in configured) or _varies(k, configured)]


def _varies(key: str, configured: list[dict[str, Any]]) -> bool:
    return len({str(setting(config, key)) for config in configured}) > 1


def _run_table(frame: pd.DataFrame, runs: list[Run]) -> pd.DataFrame:
    keys = config_axes(runs)
    first = frame.drop_duplicates("run").set_index("run")[["signature", "seed"]]
    rows = [
        {
            "run": run.name, "folder": run.folder, "state": run.state, "step": run.status.get("step"), "error": run.status.get("error"),
            "signature": first["signature"].get(run.name, run.status.get("signature")),
            "seed": first["seed"].get(run.name, run.config.get("seed")),
            **{f"config.{key}": setting(run.config, key) for key in keys},
        }
        for run in runs
    ]  # fmt: skip
    return pd.DataFrame(rows)


def _check(frame: pd.DataFrame) -> list[Finding]:
    return [*_check_protocols(frame), *_check_values(frame), *_check_duplicates(frame), *_check_test_sets(frame)]


def _check_protocols(frame: pd.DataFrame) -> list[Finding]:
    versions = sorted(frame["protocol"].unique())
    if len(versions) < 2:
        return []
    old = frame[frame["protocol"] < versions[-1]]["run"].unique()
    text = f"Mixed protocol versions {', '.join(map(str, versions))}: never averaged together; figures show version {versions[-1]} alone."
    return [Finding("error", f"{text} Evaluate again: {_some(old)}.")]


def _check_values(frame: pd.DataFrame) -> list[Finding]:
    bad = pd.Series(~np.isfinite(frame["value"].to_numpy()), index=frame.index)
    counts = bad.groupby([frame["system"], frame["metric"]], observed=True).agg(["sum", "size"]).reset_index()
    return [
        Finding(
            "warning" if row["sum"] > 0.1 * row["size"] else "note",
            f"{row['sum']} of {row['size']} values of {row['metric']} for {row['system']} are not defined; they are left out of its mean.",
        )
        for row in counts[counts["sum"] > 0].to_dict("records")
    ]


def _check_duplicates(frame: pd.DataFrame) -> list[Finding]:
    runs_of = frame.drop_duplicates([*RECORD_KEY, "run"]).groupby(RECORD_KEY, observed=True)["run"]
    pairs = sorted({tuple(sorted(runs)) for _, runs in runs_of if len(runs) > 1})
    return [Finding("warning", f"Duplicate signature and seed in {_some(runs)}: the first is used; remove the others.") for runs in pairs]


def _check_test_sets(frame: pd.DataFrame) -> list[Finding]:
    clips = frame.loc[frame["utterance"] != "*", ["run", "utterance"]].drop_duplicates()
    counts, every = clips.groupby("run", observed=True).size(), clips["utterance"].nunique()
    short = [f"{run} ({every - count} of {every} missing)" for run, count in counts.items() if count < every]
    if not short:
        return []
    return [Finding("warning", f"Runs were evaluated on different test sets: {_some(short)}. Differences use the utterances in common.")]


def _some(names: Any, most: int = 5) -> str:
    listed = [str(name) for name in names]
    return ", ".join(listed[:most]) + (f" and {len(listed) - most} more" if len(listed) > most else "")

"""The tables of the page as header and rows: text to read, and whether a column is sorted by number."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pandas as pd

from analysis.choose import headline_steps, prefer_copy, select
from analysis.names import REFERENCES, UNTRAINED, system_label
from analysis.names import metric as describe
from analysis.points import headline_points, readable
from analysis.table import Results
from analysis.tables import number, wide
from analysis.verdict import Comparison

SCORES = ("lsd_hf", "si_sdr")
"""Metrics of the run table."""
MISSING_ROWS = 50
"""Most rows of what is missing on the page; all are in missing.csv."""


def comparison_table(comparisons: Sequence[Comparison]) -> dict[str, Any]:
    """Arrange the comparisons of the student: a row per system, a column per metric.

    Args:
        comparisons: from `verdict.compare`.

    Returns:
        metrics (header texts), rows (label, cells; a cell has verdict, text and p) and corrected, whether any p is known.
    """
    metrics = list(dict.fromkeys(c.metric for c in comparisons))
    by_label: dict[str, list[dict[str, str]]] = {}
    for c in comparisons:
        by_label.setdefault(c.label, []).append({"verdict": c.verdict, "text": c.text, "p": p_text(c.p_holm)})
    headers = [f"{describe(m).label} ({describe(m).unit})" if describe(m).unit else describe(m).label for m in metrics]
    rows = [{"label": label, "cells": cells} for label, cells in by_label.items()]
    return {"metrics": headers, "rows": rows, "corrected": any(math.isfinite(c.p_holm) for c in comparisons)}


def p_text(p: float) -> str:
    """Write a p value: "= 0.012", "< 0.001", "" where there is none."""
    if not math.isfinite(p):
        return ""
    return "< 0.001" if p < 0.001 else f"= {p:.3f}" if p < 0.1 else f"= {p:.2f}"


def results_table(cells: pd.DataFrame) -> dict[str, Any]:
    """Arrange the results table.

    Args:
        cells: the long table, from `tables.results`.

    Returns:
        metrics (label and hint) and rows (system, copy, values, reference); each value is a mean and an interval.
    """
    texts = wide(cells)
    first, second, *metrics = texts.columns
    bounds = tuple(system_label(name, 0) for name in REFERENCES)
    rows = [
        {
            "system": row[first], "copy": row[second], "values": [_split(str(row[m])) for m in metrics],
            "reference": row[first].startswith(bounds),  # a number of clips may follow
        }
        for row in texts.to_dict("records")
    ]  # fmt: skip
    hints = {describe(m).label: describe(m).axis for m in cells["metric"].unique()}
    return {"metrics": [(m, hints.get(str(m), m)) for m in metrics], "rows": rows}


def points_table(table: pd.DataFrame) -> dict[str, Any]:
    """Arrange every trained point at its headline step count.

    Args:
        table: tidy table.

    Returns:
        metrics (labels) and rows (name, steps, seeds, values).
    """
    texts = readable(headline_points(table))
    first, steps, seeds, *metrics = texts.columns
    rows = [
        {"name": row[first], "steps": row[steps], "seeds": row[seeds], "values": [_split(str(row[m])) for m in metrics]}
        for row in texts.to_dict("records")
    ]
    return {"metrics": metrics, "rows": rows}


def _split(text: str) -> dict[str, str]:
    mean, _, ends = text.partition(" ")
    return {"mean": mean, "interval": ends}


def runs_table(results: Results) -> dict[str, Any]:
    """Arrange every run with its state, its settings and its scores.

    Args:
        results: loaded results.

    Returns:
        axes (name and kind of each setting that varies), scores (label and unit) and rows (run, state, seed, error, axes, scores).
    """
    axes = [c for c in results.runs.columns if c.startswith("config.") and results.runs[c].nunique(dropna=True) > 1]
    scores = _run_scores(results)
    rows = [
        {
            "run": run["run"], "state": run["state"], "seed": plain(run["seed"]), "error": plain(run["error"]).partition("\n")[0],
            "axes": [plain(run[a]) for a in axes], "scores": [scores.get((run["run"], m), "") for m in SCORES],
        }
        for run in results.runs.astype(object).to_dict("records")
    ]  # fmt: skip
    kinds = [(axis.removeprefix("config."), _kind(row["axes"][i] for row in rows)) for i, axis in enumerate(axes)]
    return {"axes": kinds, "scores": [(describe(m).label, describe(m).unit) for m in SCORES], "rows": rows}


def _run_scores(results: Results) -> dict[tuple[str, str], str]:
    scored = headline_steps(select(results.table, metric=SCORES))
    own = prefer_copy(scored[~scored["system"].isin(UNTRAINED)])
    means = own.groupby(["run", "metric"], observed=True)["value"].mean().dropna().reset_index()
    return {(row["run"], row["metric"]): number(row["value"], row["metric"]) for row in means.to_dict("records")}


def _kind(texts: Any) -> str:
    """Return "number" for a column whose texts are all numbers or empty, else "text"."""
    try:
        return "number" if [float(text) for text in texts if text] else "text"
    except ValueError:
        return "text"


def plain(value: Any) -> str:
    """Write a setting's value: no spaces in lists, no trailing zeros, "" for none."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    return f"{value:g}" if isinstance(value, float) else str(value).replace(" ", "") if str(value).startswith("[") else str(value)


def missing_table(missing: pd.DataFrame) -> dict[str, Any]:
    """Arrange what is missing from a sweep.

    Args:
        missing: columns kind, run, what, do, from `completeness.missing`.

    Returns:
        rows (at most `MISSING_ROWS`), count (of all) and rest (how many are left out).
    """
    rows = missing.astype(str).to_dict("records")
    return {"rows": rows[:MISSING_ROWS], "count": len(rows), "rest": max(0, len(rows) - MISSING_ROWS)}

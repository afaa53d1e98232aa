"""The results table: systems x metrics, mean with 95 % interval, in four formats."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping
from typing import Any

import pandas as pd

from analysis.choose import headline_rows
from analysis.gaps import clips_mark, clips_of_rows, usual_clips
from analysis.names import METRICS, system_label, system_order
from analysis.names import metric as describe
from analysis.robust import interquartile_mean
from analysis.stats import summary
from analysis.table import ResultsError
from lcm.records import BAND_METRICS

FORMATS = {"html": "html", "csv": "csv", "md": "md", "latex": "tex"}
"""Format -> file suffix."""
TABLE_METRICS = (
    "lsd_hf", "si_sdr", "lsd", "lsd_lf", "mr_stft", "stoi", "estoi", "frechet_hf", "hf_bias", "fine_structure", "time_total", "rtf",
)  # fmt: skip
ENDS = ("mean", "low", "high")
COPY = {True: "on", False: "off"}


def results(table: pd.DataFrame, named: str | None = None) -> pd.DataFrame:
    """Summarise the rows that stand for each system, long: one row per system, steps, low-band copy and metric.

    Args:
        table: tidy table.
        named: signature of the student's point, if its author named one.

    Returns:
        Columns system, steps, low_band_copy, metric, signature, mean, low, high, speakers, seeds, ...: those of `summary`; then iqm,
        iqm_low and iqm_high, the interquartile mean with its interval, and usual_clips: where `fewest` is below it, the mean is of other
        clips than most.
    """
    rows, _ = headline_rows(table, named)
    rows = rows[~rows["metric"].isin(BAND_METRICS)]  # they make a curve, not columns
    keys = ["system", "steps", "low_band_copy", "metric", "signature"]
    middle = interquartile_mean(rows, keys)[[*keys, "mean", "low", "high"]]
    cells = summary(rows, keys).merge(middle.rename(columns={"mean": "iqm", "low": "iqm_low", "high": "iqm_high"}), on=keys, how="left")
    known = list(METRICS)
    order = pd.DataFrame({
        "a": cells["system"].astype(str).map(system_order), "b": cells["steps"], "c": ~cells["low_band_copy"].astype(bool),
        "d": [known.index(m) if m in known else len(known) for m in cells["metric"]],
    }).sort_values(["a", "b", "c", "d"]).index  # fmt: skip
    return cells.assign(usual_clips=usual_clips(cells)).loc[order].reset_index(drop=True)


def wide(cells: pd.DataFrame, metrics: tuple[str, ...] = TABLE_METRICS) -> pd.DataFrame:
    """Arrange `results` for reading: a row per system, a column per metric, cells "mean [low, high]".

    Args:
        cells: what `results` returns.
        metrics: metrics to show, in this order; those without records are left out.

    Returns:
        Text columns: system (with its number of clips where that is below the usual one), low-band copy, then one per metric.
    """
    return _arranged(cells, metrics, lambda cell, metric: {describe(metric).label: cell_text(cell, metric)}, lambda name: [name])


def apart(cells: pd.DataFrame, metrics: tuple[str, ...] = TABLE_METRICS) -> pd.DataFrame:
    """Arrange `results` as `wide` does, for a program: every number in a cell of its own.

    Args:
        cells: what `results` returns.
        metrics: metrics to show, in this order; those without records are left out.

    Returns:
        Text columns: system, low-band copy, then "LSD-HF mean", "LSD-HF low", "LSD-HF high" and so on; "" where there is no number.
    """
    return _arranged(cells, metrics, _three, lambda name: [f"{name} {part}" for part in ENDS])


def _three(cell: Mapping[Hashable, Any], metric: str) -> dict[str, str]:
    known = {part: float(cell[part]) for part in ENDS}
    return {f"{describe(metric).label} {part}": number(value, metric) for part, value in known.items() if math.isfinite(value)}


def _arranged(
    cells: pd.DataFrame, metrics: tuple[str, ...], write: Callable[[Mapping[Hashable, Any], str], dict[str, str]],
    headers: Callable[[str], list[str]],
) -> pd.DataFrame:  # fmt: skip
    shown = [m for m in metrics if (cells["metric"] == m).any()]
    keys, rows = ["system", "steps", "low_band_copy"], []
    clips = clips_of_rows(cells, keys)
    for key, part in cells.groupby(keys, observed=True, sort=False):
        system, steps, copy = part[keys].iloc[0]
        texts = {k: v for cell in part.to_dict("records") for k, v in write(cell, cell["metric"]).items()}
        name = f"{system_label(str(system), int(steps))}{clips_mark(*clips.loc[key])}"
        rows.append({"system": name, "low-band copy": COPY[bool(copy)], **texts})
    columns = ["system", "low-band copy", *(header for m in shown for header in headers(describe(m).label))]
    return pd.DataFrame(rows, columns=columns).fillna("")


def cell_text(cell: Mapping[Hashable, Any], metric: str) -> str:
    """Format one cell: "1.10 [1.02, 1.18]", or the mean alone where there is no interval."""
    mean, low, high = (number(float(cell[name]), metric) for name in ("mean", "low", "high"))
    return f"{mean} [{low}, {high}]" if math.isfinite(cell["low"]) else mean


def number(value: float, metric: str) -> str:
    """Format a value with the digits of its metric, times below its last digit with two significant ones."""
    digits = describe(metric).digits
    if digits > 3 and 0 < abs(value) < 10 ** (1 - digits):
        return f"{value:.2g}".replace("-", "−")
    return f"{round(value, digits) + 0.0:.{digits}f}".replace("-", "−")  # + 0.0 turns -0.0 into 0.0


def render(frame: pd.DataFrame, form: str) -> str:
    """Write a table of text as html, csv, md or latex.

    Args:
        frame: text cells.
        form: a key of `FORMATS`.

    Returns:
        The document part.

    Raises:
        ResultsError: the format is not known.
    """
    if form not in FORMATS:
        raise ResultsError(f"Unknown table format {form!r}. Formats: {', '.join(FORMATS)}")
    if form == "md":
        lines = [list(frame.columns), ["---"] * len(frame.columns), *frame.astype(str).to_numpy().tolist()]
        return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines) + "\n"
    if form == "latex":
        layout = "ll" + "r" * (len(frame.columns) - 2)
        return str(frame.to_latex(index=False, escape=True, column_format=layout)).replace("−", "$-$")
    if form == "csv":  # a typographic minus is no number to a program
        return str(frame.to_csv(index=False)).replace("−", "-")
    return str(frame.to_html(index=False, border=0))

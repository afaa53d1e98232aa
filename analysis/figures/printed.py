"""The results table as a figure, for print."""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.axes import Axes

from analysis.choose import prefer_copy
from analysis.figures.spec import Pair, plot
from analysis.figures.style import INK, PAGE_IN, NotDrawn, footnote, panels, paper
from analysis.names import UNTRAINED, system_label
from analysis.names import metric as describe
from analysis.tables import number, results

METRICS = ("lsd_hf", "lsd", "mr_stft", "si_sdr", "stoi", "hf_bias", "frechet_hf", "time_total")
"""What fits across a page, in this order."""
NOTE = "Mean with 95 % interval; with low-band copy where a system has it. Bold: the best mean of the trained systems."
FEWER = " *: over fewer clips than most, and never bold."
ARROWS = {"lower": "↓", "higher": "↑"}
HEAD_IN, ROW_IN, SYSTEM_IN = 0.4, 0.29, 1.15


@plot("Results table")
def results_table(table: pd.DataFrame) -> Pair:
    """Draw the results as a table: a row per system and step count, mean with its 95 % interval below, the best trained system bold.

    Args:
        table: tidy table.

    Returns:
        The figure; its data has one row per system, step count and metric: the columns of `analysis.tables.results`, and `best`.

    Raises:
        NotDrawn: none of the table's metrics was recorded.
    """
    cells = prefer_copy(results(table))
    cells = cells[cells["metric"].isin(METRICS)].reset_index(drop=True)
    if cells.empty:
        raise NotDrawn(f"no record of {', '.join(METRICS)}")
    cells["best"] = _best(cells)
    rows = cells[["system", "steps"]].drop_duplicates().to_dict("records")
    rows.sort(key=lambda row: row["system"] in UNTRAINED)  # what was not trained stands apart, below
    with paper():
        figure, axes = panels(1, height=HEAD_IN + ROW_IN * len(rows) + 0.45)
        _draw(axes[0], cells, rows)
        footnote(figure, f"{NOTE}{FEWER if _lacking(cells).any() else ''}")
    return figure, cells


def _lacking(cells: pd.DataFrame) -> pd.Series:
    return cells["fewest"] < cells["usual_clips"]


def _best(cells: pd.DataFrame) -> pd.Series:
    trained = cells[~cells["system"].isin(UNTRAINED) & ~_lacking(cells)].dropna(subset="mean")
    cost = pd.Series([describe(m).cost(v) for m, v in zip(trained["metric"], trained["mean"], strict=True)], trained.index, dtype=float)
    least = trained.loc[cost.groupby(trained["metric"].astype(str)).idxmin()]
    best = {str(m): _brief(float(v), str(m)) for m, v in zip(least["metric"], least["mean"], strict=True)}
    printed = [_brief(float(v), str(m)) == best[str(m)] for m, v in zip(trained["metric"], trained["mean"], strict=True)]
    return pd.Series(printed, trained.index, dtype=bool).reindex(cells.index, fill_value=False)  # equal as printed is equal


def _brief(value: float, name: str) -> str:
    """Format a value as the tables do, but large ones and times with no more than three significant digits."""
    size = abs(value)
    if describe(name).digits > 3 and 0 < size < 1e-3:
        return f"{value:.1g}".replace("-", "−")
    if size >= 100 or (describe(name).digits > 3 and size >= 0.1):
        digits = 0 if size >= 100 else 1 if size >= 10 else 2 if size >= 1 else 3
        return f"{value:.{digits}f}".replace("-", "−")
    return number(value, name)


def _draw(axis: Axes, cells: pd.DataFrame, rows: list[dict[Any, Any]]) -> None:
    shown = [m for m in METRICS if (cells["metric"] == m).any()]
    width = (PAGE_IN - SYSTEM_IN) / len(shown)
    right = [SYSTEM_IN + width * (i + 1) - 0.05 for i in range(len(shown))]
    height = HEAD_IN + ROW_IN * len(rows)
    axis.set_axis_off()
    axis.set_xlim(0, PAGE_IN)
    axis.set_ylim(height, 0)
    for place, name in zip(right, shown, strict=True):
        _head(axis, place, name)
    values = {(str(c["system"]), c["steps"], c["metric"]): c for c in cells.to_dict("records")}
    for index, row in enumerate(rows):
        middle = HEAD_IN + ROW_IN * (index + 0.5)
        axis.text(0.03, middle, system_label(str(row["system"]), int(row["steps"])), va="center", fontsize=7.5)
        for place, name in zip(right, shown, strict=True):
            _cell(axis, place, middle, values.get((str(row["system"]), row["steps"], name)), name)
    trained = sum(row["system"] not in UNTRAINED for row in rows)
    inner = [HEAD_IN + ROW_IN * trained] if 0 < trained < len(rows) else []
    for place, thick in ((0.0, 1.1), (HEAD_IN, 0.7), *((y, 0.4) for y in inner), (height, 1.1)):
        axis.plot([0, PAGE_IN], [place, place], color=INK, linewidth=thick, clip_on=False)


def _head(axis: Axes, right: float, name: str) -> None:
    known = describe(name)
    hint = ARROWS.get(known.better, f"→ {known.target:g}")
    axis.text(right, HEAD_IN - 0.21, known.label, ha="right", va="bottom", fontsize=7.2)
    axis.text(right, HEAD_IN - 0.06, f"{known.unit} {hint}".strip(), ha="right", va="bottom", fontsize=6.4, color="#5b606a")


def _cell(axis: Axes, right: float, middle: float, cell: dict[Any, Any] | None, name: str) -> None:
    if cell is None or pd.isna(cell["mean"]):
        axis.text(right, middle, "–", ha="right", va="center", fontsize=7.5, color="#5b606a")
        return
    known = pd.notna(cell["low"])
    fewer, weight = "*" * (cell["fewest"] < cell["usual_clips"]), "bold" if cell["best"] else "normal"
    mean = f"{_brief(float(cell['mean']), name)}{fewer}"
    axis.text(right, middle - (0.05 if known else 0), mean, ha="right", va="center", fontsize=7.5, fontweight=weight)
    if known:
        ends = f"[{_brief(float(cell['low']), name)}, {_brief(float(cell['high']), name)}]"
        axis.text(right, middle + 0.075, ends, ha="right", va="center", fontsize=5.4, color="#5b606a")

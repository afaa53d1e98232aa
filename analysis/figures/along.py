"""A metric along one axis of a sweep: which points show it fairly, and the panels they are drawn in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from analysis.choose import STUDENT_STEPS, choose_student, point_axes, point_rows, prefer_copy, select
from analysis.effects import flat_region
from analysis.figures.quality import QUALITY, means, need
from analysis.figures.spec import Pair
from analysis.figures.style import COLOURS, MARKERS, NotDrawn, footnote, panels, paper, reference_lines
from analysis.gaps import on_shared_clips
from analysis.names import REFERENCES
from analysis.names import metric as describe
from analysis.settings import as_text, text
from analysis.stats import summary
from analysis.table import ResultsError

RECORD = ["signature", "seed", "system", "utterance", "speaker", "steps", "low_band_copy", "metric", "value", "protocol"]
"""What a summary reads of a record."""
MOST_PARTS = 4
"""Longest list of equal parts that is written out."""
BARS = "Bars: 95 % intervals of each mean; points share clips, so differences are known better."


def left_out(lacking: int) -> str:
    """Say in a footnote how many clips a comparison leaves out; "" where none."""
    return f" Clips left out that some run lacks: {lacking}." if lacking else ""


def by_axis(
    table: pd.DataFrame, axis: str, label: str | None = None, *, only: set[str] | None = None, within: Sequence[str] = (),
    order: Sequence[Any] = (), sweep: str = "", flat: bool = False,
) -> Pair:  # fmt: skip
    """Draw `metric_by_axis` with its data.

    Args:
        table: tidy table.
        axis: column.
        label: axis title.
        only: signatures to draw; all where None.
        within: settings that the axis stands for, which may vary along it.
        order: levels in the order shown; numbers first and simple texts first where none is given.
        sweep: what to sweep to have this figure, for the reason there is none.
        flat: whether to mark the levels that are not clearly worse than the best.

    Returns:
        The figure and one row per metric and level, with mean and 95 % interval over the clips that all its runs have.

    Raises:
        NotDrawn: the axis does not vary between the student's points, or their runs have no clip in common.
    """
    need(table, "lsd_hf")
    name = axis.removeprefix("config.")
    rows = prefer_copy(select(table, system=["student"], steps=[STUDENT_STEPS], metric=QUALITY))
    if axis not in rows or point_rows(rows)[axis].nunique(dropna=False) < 2:
        raise NotDrawn(f"{name} does not vary between the student's points" + (f": sweep it, e.g. {sweep}" if sweep else ""))
    points = point_rows(rows)
    points = points if only is None else points[points["signature"].astype(str).isin(only)]
    kept, how = along(points, axis, choose_student(table).signature, within)
    own, lacking = on_shared_clips(select(rows, signature=kept))
    if own.empty:
        raise NotDrawn(f"no clip has {describe(QUALITY[0]).label} in all runs of the points along {name}")
    data = _in_order(summary(own[[*RECORD, axis]], [axis, "metric"]), axis, order)
    data = _with_flat(data, own, axis) if flat else data
    lines = means(table, QUALITY)
    shown = [m for m in QUALITY if (data["metric"] == m).any()]
    with paper():
        figure, axes = panels(len(shown))
        for panel, metric in zip(axes, shown, strict=True):
            _axis_panel(panel, data[data["metric"] == metric], axis, metric)
            panel.set_xlabel(label or name)
            reference_lines(panel, levels(lines, metric))
        shade = " Shaded: not clearly worse than the best level (paired, Holm)." if "flat" in data else ""
        footnote(figure, f"One-step student; {how}.{left_out(lacking)} {BARS}{shade}")
    return figure, data


def _with_flat(data: pd.DataFrame, rows: pd.DataFrame, axis: str) -> pd.DataFrame:
    """Add to each level how much worse than the best it is, and whether it lies in the flat region; what cannot be compared is left."""
    parts = []
    for metric, part in data.groupby("metric", observed=True, sort=False):
        try:
            found = flat_region(rows, str(metric), axis).set_index("level")[["worse", "worse_low", "worse_high", "p_holm", "best", "flat"]]
        except ResultsError:
            found = pd.DataFrame(columns=["worse", "worse_low", "worse_high", "p_holm", "best", "flat"])
        parts.append(part.assign(level=[text(v) for v in part[axis]]).join(found, on="level").drop(columns="level"))
    return pd.concat(parts)


def along(points: pd.DataFrame, axis: str, centre: str, within: Sequence[str] = ()) -> tuple[list[str], str]:
    """Choose the points that show one axis fairly: all of them in a balanced grid, else a line through the centre.

    Args:
        points: one row per point of the student.
        axis: the column shown.
        centre: signature of the point the line goes through.
        within: settings that the axis stands for.

    Returns:
        The signatures to average, and how they were chosen.
    """
    every = points["signature"].astype(str)
    others = [c for c in point_axes(points) if c != axis and c not in within]
    if not others:
        return list(every), "nothing else varies"
    mix = as_text(points[others]).agg("|".join, axis=1)
    sets = mix.groupby(points[axis], observed=True, dropna=False).agg(frozenset)
    names = ", ".join(c.removeprefix("config.") for c in others)
    if len(set(sets)) == 1:
        return list(every), f"mean over the grid of {names}"
    line = mix.isin(mix[every == centre].unique())
    if points[axis][line].nunique(dropna=False) > 1:
        return list(every[line]), f"{names} held at the chosen point"
    return list(every), f"caution: {names} vary along this axis too"


def levels(lines: pd.DataFrame, name: str) -> dict[str, float]:
    """Return the reference lines of one metric: sinc, codec ceiling, and the teacher at its most steps.

    Args:
        lines: one row per system and steps, from `means`.
        name: metric.

    Returns:
        System -> value.
    """
    shown = lines[lines["system"].isin([*REFERENCES, "teacher"])].sort_values("steps")
    if name not in shown:
        return {}
    return {str(s): float(v) for s, v in zip(shown["system"], shown[name], strict=True) if np.isfinite(v)}


def _in_order(data: pd.DataFrame, axis: str, order: Sequence[Any]) -> pd.DataFrame:
    rank = {level: place for place, level in enumerate(order)}
    metrics = [QUALITY.index(m) for m in data["metric"]]
    keys = [(m, rank.get(v, 0), rank_of(v)) for m, v in zip(metrics, data[axis], strict=True)]
    return data.iloc[sorted(range(len(data)), key=keys.__getitem__)].reset_index(drop=True)


def _axis_panel(panel: Axes, data: pd.DataFrame, axis: str, name: str) -> None:
    numeric = rank_of(data[axis].iloc[0])[0] == 0
    x = np.arange(len(data))
    for place in np.flatnonzero(data["flat"].fillna(value=False).astype(bool)) if "flat" in data else ():  # NA where it is not known
        panel.axvspan(place - 0.5, place + 0.5, color=COLOURS["student"], alpha=0.09, linewidth=0, zorder=0)
    panel.errorbar(x, data["mean"], yerr=reach(data), color=COLOURS["student"], marker=MARKERS["student"], markersize=5,
                   linewidth=1.1 if numeric else 0, elinewidth=1.0, capsize=2.5, zorder=3)  # fmt: skip
    texts = [level_text(v) for v in data[axis]]
    crowded = sum(map(len, texts)) > 32
    panel.set_xticks(x, texts, rotation=30 if crowded else 0, ha="right" if crowded else "center")
    panel.margins(x=0.12, y=0.2)
    panel.grid(visible=False, axis="x")
    panel.set_ylabel(describe(name).axis)


def reach(data: pd.DataFrame) -> Any:
    """Return the lengths of the error bars [2, rows], 0 where there is no interval."""
    return np.nan_to_num([data["mean"] - data["low"], data["high"] - data["mean"]])


def rank_of(value: Any) -> tuple[int, float, str]:
    """Return the order of levels: numbers by size, then texts, those with fewer parts first."""
    number = isinstance(value, (int, float, np.number)) and not isinstance(value, bool)
    return (0, float(value), "") if number else (1, str(value).count(","), str(value))


def level_text(value: Any) -> str:
    """Write one level for a tick or a legend."""
    if value is None or isinstance(value, float):
        return text(value)
    written = str(value).strip('"')
    parts = written[1:-1].replace(" ", "").split(",") if written.startswith("[") else []
    if parts == [""]:
        return "one block"
    if len(parts) > MOST_PARTS and len(set(parts)) == 1:
        return f"[{parts[0]}]*{len(parts)}"
    return f"[{','.join(parts)}]" if parts else written

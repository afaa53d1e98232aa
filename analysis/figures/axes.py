"""A metric along one axis of the sweep: codebook blocks, loss weight, sampling steps."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.choose import STUDENT_STEPS, choose_student, headline_rows, point_axes, prefer_copy
from analysis.figures.quality import QUALITY, means, need
from analysis.figures.style import COLOURS, MARKERS, SERIES, NotDrawn, footnote, panels, paper, reference_lines
from analysis.names import REFERENCES
from analysis.names import metric as describe
from analysis.settings import loss_term
from analysis.stats import summary
from analysis.table import current_protocol

BLOCKS = "config.blocks.partition"
STEP_LINES = {"config.objective.name": "Objective", BLOCKS: "Codebook blocks"}
"""What tells the lines of a figure over step counts apart, the first that varies."""
BARS = "Bars: 95 % intervals of each mean; points share clips, so differences are known better."


def metric_by_blocks(table: pd.DataFrame) -> tuple[Figure, pd.DataFrame]:
    """Draw the one-step student's quality for each partition of the codebooks."""
    return metric_by_axis(table, BLOCKS, label="Codebook blocks")


def metric_by_loss_weight(table: pd.DataFrame) -> tuple[Figure, pd.DataFrame]:
    """Draw the one-step student's quality for each weight of the loss term that varies (of several, the one with most levels)."""
    current = current_protocol(table)
    varying = [c for c in point_axes(current) if loss_term(c)]
    if not varying:
        raise NotDrawn("no loss weight varies between the student's points")
    student = current[current["system"] == "student"]
    axis = max(varying, key=lambda c: student[c].nunique())
    return metric_by_axis(table, axis, label=f"{'Calibrated share' if '.auto.' in axis else 'Weight'} of the {loss_term(axis)} term")


def metric_by_axis(table: pd.DataFrame, axis: str, *, label: str | None = None) -> tuple[Figure, pd.DataFrame]:
    """Draw the one-step student's quality along any configuration column.

    Args:
        table: tidy table.
        axis: column, "config.<dotted key>".
        label: axis title; the dotted key where none is given.

    Returns:
        The figure and one row per metric and level, with mean and 95 % interval.

    Raises:
        NotDrawn: the axis does not vary between the student's points.
    """
    need(table, "lsd_hf")
    current = current_protocol(table)
    if axis not in point_axes(current):
        raise NotDrawn(f"{axis.removeprefix('config.')} does not vary between the student's points")
    student = current[(current["system"] == "student") & (current["steps"] == STUDENT_STEPS) & current["metric"].isin(QUALITY)]
    rows, how = along(prefer_copy(student), axis, choose_student(current).signature)
    data = summary(rows, [axis, "metric"])
    lines = means(table, QUALITY)
    shown = [m for m in QUALITY if (data["metric"] == m).any()]
    with paper():
        figure, axes = panels(len(shown))
        for panel, name in zip(axes, shown, strict=True):
            _axis_panel(panel, data[data["metric"] == name], axis, name)
            panel.set_xlabel(label or axis.removeprefix("config."))
            reference_lines(panel, levels(lines, name))
        footnote(figure, f"One-step student; {how}. {BARS}")
    return figure, data


def along(rows: pd.DataFrame, axis: str, centre: str) -> tuple[pd.DataFrame, str]:
    """Choose the points that show one axis fairly: all of them in a balanced grid, else a line through the centre.

    Args:
        rows: the student's rows.
        axis: the column shown.
        centre: signature of the point the line goes through.

    Returns:
        The rows to average, and how they were chosen.
    """
    others = [c for c in point_axes(rows) if c != axis]
    if not others:
        return rows, "nothing else varies"
    mix = rows[others].astype(str).agg("|".join, axis=1)
    sets = mix.groupby(rows[axis], observed=True, dropna=False).agg(frozenset)
    names = ", ".join(c.removeprefix("config.") for c in others)
    if len(set(sets)) == 1:
        return rows, f"mean over the grid of {names}"
    line = rows[mix.isin(mix[rows["signature"] == centre].unique())]
    if line[axis].nunique(dropna=False) > 1:
        return line, f"{names} held at the chosen point"
    return rows, f"caution: {names} vary along this axis too"


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


def _axis_panel(panel: Axes, data: pd.DataFrame, axis: str, name: str) -> None:
    ordered = data.iloc[sorted(range(len(data)), key=lambda row: _rank(data[axis].iloc[row]))]
    numeric = pd.api.types.is_number(ordered[axis].iloc[0]) and not isinstance(ordered[axis].iloc[0], bool)
    x = np.arange(len(ordered))
    reach = np.nan_to_num([ordered["mean"] - ordered["low"], ordered["high"] - ordered["mean"]])
    panel.errorbar(x, ordered["mean"], yerr=reach, color=COLOURS["student"], marker=MARKERS["student"], markersize=5,
                   linewidth=1.1 if numeric else 0, elinewidth=1.0, capsize=2.5, zorder=3)  # fmt: skip
    texts = [_level(v) for v in ordered[axis]]
    crowded = sum(map(len, texts)) > 44
    panel.set_xticks(x, texts, rotation=30 if crowded else 0, ha="right" if crowded else "center")
    panel.margins(x=0.12, y=0.2)
    panel.grid(visible=False, axis="x")
    panel.set_ylabel(describe(name).axis)


def _rank(value: Any) -> tuple[int, float, str]:
    number = isinstance(value, (int, float))
    return (0, float(value), "") if number else (1, str(value).count(","), str(value))


def _level(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    return "one block" if value == "[]" else str(value).replace(" ", "").strip('"')


def metric_by_steps(table: pd.DataFrame) -> tuple[Figure, pd.DataFrame]:
    """Draw the student's quality for each number of network evaluations, one line per objective or else per codebook partition.

    Args:
        table: tidy table with a student scored at two or more step counts.

    Returns:
        The figure and one row per metric, line and step count.
    """
    need(table, "lsd_hf")
    current = current_protocol(table)
    student = prefer_copy(current[(current["system"] == "student") & current["metric"].isin(QUALITY)])
    if student["steps"].nunique() < 2:
        raise NotDrawn("the student was evaluated at one step count only")
    groups = next(([axis] for axis in STEP_LINES if axis in point_axes(current) and student[axis].nunique() <= len(SERIES)), [])
    data = summary(student, [*groups, "steps", "metric"])
    lines, shown = means(headline_rows(table)[0], QUALITY), [m for m in QUALITY if (data["metric"] == m).any()]
    with paper():
        figure, axes = panels(len(shown))
        for panel, name in zip(axes, shown, strict=True):
            _steps_panel(panel, data[data["metric"] == name], groups, name)
            reference_lines(panel, levels(lines, name))
        if groups:
            handles, labels = axes[0].get_legend_handles_labels()
            figure.legend(handles, labels, loc="outside upper center", ncols=4, title=STEP_LINES[groups[0]], title_fontsize=7.5)
        footnote(figure, f"Student, mean over the sweep's points{' of a line' if groups else ''}. {BARS}")
    return figure, data


def _steps_panel(panel: Axes, data: pd.DataFrame, groups: list[str], name: str) -> None:
    parts = sorted(data.groupby(groups, observed=True), key=lambda item: _rank(item[0][0])) if groups else [(("student",), data)]
    for index, (key, part) in enumerate(parts):
        ordered = part.sort_values("steps")
        x = ordered["steps"].to_numpy(float) * 2 ** (0.06 * (index - (len(parts) - 1) / 2))
        reach = np.nan_to_num([ordered["mean"] - ordered["low"], ordered["high"] - ordered["mean"]])
        panel.errorbar(x, ordered["mean"], yerr=reach, color=SERIES[index % len(SERIES)], marker="osD^vPX*"[index % 8], markersize=4.5,
                       linewidth=1.1, elinewidth=0.8, capsize=2, label=_level(key[0]), zorder=3)  # fmt: skip
    steps = sorted(data["steps"].unique())
    panel.set_xscale("log", base=2)
    panel.set_xticks(steps, [str(s) for s in steps])
    panel.minorticks_off()
    panel.margins(x=0.12, y=0.15)
    panel.set_xlabel("Network evaluations (steps)")
    panel.set_ylabel(describe(name).axis)

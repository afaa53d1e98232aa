"""Quality against speed, and what several figures of quality share."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from analysis.choose import headline_rows, prefer_copy
from analysis.figures.spec import Pair, plot
from analysis.figures.style import COLOURS, FAINT, INK, MARKERS, NotDrawn, footnote, label_points, panels, paper, plain_log
from analysis.names import REFERENCES, system_label, system_order
from analysis.names import metric as describe
from analysis.stats import summary

QUALITY = ("lsd_hf", "si_sdr")


def means(table: pd.DataFrame, metrics: tuple[str, ...]) -> pd.DataFrame:
    """Return one row per system and step count: "<metric>", "<metric>_low", "<metric>_high" of the rows that stand for it.

    Args:
        table: tidy table.
        metrics: metric names; those without a finite value are NaN.

    Returns:
        Columns system, steps, label and three per metric.
    """
    rows, _ = headline_rows(table)
    cells = summary(prefer_copy(rows[rows["metric"].isin(metrics)]), ["system", "steps", "metric"])
    wide = cells.pivot_table(index=["system", "steps"], columns="metric", values=["mean", "low", "high"], observed=True)
    wide.columns = [key[1] if key[0] == "mean" else f"{key[1]}_{key[0]}" for key in wide.columns.to_list()]
    frame = wide.reset_index()
    for name in metrics:
        absent = [column for column in (name, f"{name}_low", f"{name}_high") if column not in frame]  # as with a single clip
        frame = frame.assign(**dict.fromkeys(absent, np.nan))
    frame["label"] = [system_label(s, k) for s, k in zip(frame["system"], frame["steps"], strict=True)]
    order = frame["system"].astype(str).map(system_order)
    return frame.assign(order=order).sort_values(["order", "steps"], ignore_index=True).drop(columns="order")


def need(table: pd.DataFrame, *metrics: str) -> None:
    """Refuse a figure whose metrics have no finite value.

    Raises:
        NotDrawn: one of the metrics is missing; its name is in the message.
    """
    scored = set(table["metric"][np.isfinite(table["value"].to_numpy())].unique())
    absent = sorted(set(metrics) - scored)
    if absent:
        raise NotDrawn(f"no record of {', '.join(absent)}")


@plot("Quality against speed")
def quality_vs_speed(table: pd.DataFrame) -> Pair:
    """Draw quality against the time a clip takes, with the Pareto front.

    Args:
        table: tidy table with time_total and LSD-HF or SI-SDR.

    Returns:
        The figure; its data has one row per system with its means, intervals and a column "<metric>_pareto".

    Raises:
        NotDrawn: fewer than two systems have both a quality and a time.
    """
    need(table, "time_total")
    data = means(table, (*QUALITY, "time_total")).dropna(subset=["time_total"])
    shown = [m for m in QUALITY if data[m].notna().sum() > 1]
    if not shown:
        raise NotDrawn("fewer than two systems have both a quality and a time")
    for name in shown:
        data[f"{name}_pareto"] = pareto(data, "time_total", name)
    placed = _placed(data)
    with paper():
        figure, axes = panels(len(shown), height=3.1)
        for axis, name in zip(axes, shown, strict=True):
            _speed_panel(axis, placed, name)
        footnote(figure, "Grey line: Pareto front. The codec ceiling is given the original's codes: a bound. Bars: 95 % intervals.")
        for axis, name in zip(axes, shown, strict=True):
            _label(axis, placed, "place", name)
    return figure, data


def _placed(data: pd.DataFrame) -> pd.DataFrame:
    """Add the place on the log axis: what takes no time, as the degraded input itself, stands left of all others and is labelled."""
    none = data["time_total"] <= 0
    place = data["time_total"].where(~none, data["time_total"][~none].min() / 4)
    return data.assign(place=place, label=data["label"].where(~none, data["label"] + " (0 s)"))


def pareto(data: pd.DataFrame, x: str, y: str) -> pd.Series:
    """Mark the systems that no other one beats in both columns; the codec ceiling does not take part.

    Args:
        data: one row per system.
        x: a metric to keep low, by its direction.
        y: another metric.

    Returns:
        Boolean column.
    """
    cost = np.stack([[describe(name).cost(v) for v in data[name]] for name in (x, y)], axis=1)
    real = (data["system"] != "codec_ceiling").to_numpy() & np.isfinite(cost).all(1)
    place, first = np.unique(cost[real, 0], return_inverse=True)
    least = np.full(len(place) + 1, np.inf)  # of y at each x; before the smallest x there is none
    np.minimum.at(least[1:], first, cost[real, 1])
    before = np.minimum.accumulate(least)[:-1]
    front = np.zeros(len(data), bool)
    front[real] = (cost[real, 1] == least[1:][first]) & (cost[real, 1] < before[first])
    return pd.Series(front, index=data.index)


def _scatter(axis: Axes, data: pd.DataFrame, x: str, y: str) -> None:
    for system, own in data.groupby("system", observed=True, sort=False):
        axis.plot(own[x], own[y], color=COLOURS.get(str(system), INK), linewidth=0.6, zorder=2)
    for row in data.to_dict("records"):
        colour = COLOURS.get(row["system"], INK)
        whole = row["steps"] <= 1 or row["system"] != "student"
        reach = np.nan_to_num([[row[y] - row[f"{y}_low"]], [row[f"{y}_high"] - row[y]]])
        axis.errorbar(row[x], row[y], yerr=reach, color=colour, linewidth=0.8, zorder=3)
        axis.plot(row[x], row[y], MARKERS.get(row["system"], "o"), color=colour, markerfacecolor=colour if whole else "white",
                  markersize=8 if row["system"] == "codec_ceiling" else 5.5, zorder=5 if row["system"] == "student" else 4)  # fmt: skip


def _speed_panel(axis: Axes, data: pd.DataFrame, name: str) -> None:
    _scatter(axis, data, "place", name)
    front = data[data[f"{name}_pareto"]].sort_values("place")
    axis.plot(front["place"], front[name], color=FAINT, linewidth=1.0, drawstyle="steps-post", zorder=2)
    axis.set_xscale("log")
    axis.margins(x=0.18, y=0.16)
    plain_log(axis.xaxis)
    axis.set_xlabel("Time per clip (s)")
    axis.set_ylabel(describe(name).axis)
    for system, value in data[data["system"].isin(REFERENCES)].set_index("system")[name].items():
        axis.axhline(value, color=COLOURS[str(system)], linewidth=0.7, linestyle=":", zorder=1)


def _label(axis: Axes, data: pd.DataFrame, x: str, y: str) -> None:
    known = data.dropna(subset=[x, y])
    repeated = known.duplicated("system")  # the steps of one system are joined by a line: its name is needed once
    texts = np.where(repeated, known["steps"].astype(str), known["label"])
    colours = [COLOURS.get(system, INK) for system in known["system"]]
    label_points(axis, list(zip(known[x].astype(float), known[y].astype(float), texts.tolist(), colours, strict=True)))

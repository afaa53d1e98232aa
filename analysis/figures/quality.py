"""Quality against speed, and quality clip by clip."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.choose import headline_rows, prefer_copy
from analysis.figures.style import COLOURS, FAINT, INK, MARKERS, NotDrawn, footnote, label_points, panels, paper
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
    finite = table[np.isfinite(table["value"].to_numpy())]
    absent = sorted(set(metrics) - set(finite["metric"].unique()))
    if absent:
        raise NotDrawn(f"no record of {', '.join(absent)}")


def quality_vs_speed(table: pd.DataFrame) -> tuple[Figure, pd.DataFrame]:
    """Draw quality against the time a clip takes, with the Pareto front.

    Args:
        table: tidy table with time_total and LSD-HF or SI-SDR.

    Returns:
        The figure and one row per system with its means, intervals and a column "<metric>_pareto".
    """
    need(table, "time_total")
    data = means(table, (*QUALITY, "time_total")).dropna(subset=["time_total"])
    shown = [m for m in QUALITY if data[m].notna().sum() > 1]
    if not shown:
        raise NotDrawn("fewer than two systems have both a quality and a time")
    for name in shown:
        data[f"{name}_pareto"] = pareto(data, "time_total", name)
    with paper():
        figure, axes = panels(len(shown), height=3.1)
        for axis, name in zip(axes, shown, strict=True):
            _speed_panel(axis, data, name)
        footnote(figure, "Grey line: Pareto front. The codec ceiling is given the original's codes: a bound. Bars: 95 % intervals.")
        for axis, name in zip(axes, shown, strict=True):
            _label(axis, data, "time_total", name)
    return figure, data


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
    beaten = [bool(((cost[real] <= own).all(1) & (cost[real] < own).any(1)).any()) for own in cost]
    return pd.Series(real & ~np.array(beaten), index=data.index)


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
    _scatter(axis, data, "time_total", name)
    front = data[data[f"{name}_pareto"]].sort_values("time_total")
    axis.plot(front["time_total"], front[name], color=FAINT, linewidth=1.0, drawstyle="steps-post", zorder=2)
    axis.set_xscale("log")
    axis.margins(x=0.18, y=0.16)
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


def per_sample(table: pd.DataFrame) -> tuple[Figure, pd.DataFrame]:
    """Draw SI-SDR and STOI clip by clip, clips sorted by the codec's ceiling (or by the student).

    Args:
        table: tidy table with si_sdr or stoi.

    Returns:
        The figure and one row per metric, system, steps and utterance.
    """
    shown = [m for m in ("si_sdr", "stoi") if (table["metric"] == m).any()]
    if not shown:
        raise NotDrawn("no record of si_sdr or stoi")
    rows, _ = headline_rows(table)
    data = _clip_values(prefer_copy(rows[rows["metric"].isin(shown)]))
    if data["utterance"].nunique() < 2:
        raise NotDrawn("fewer than two utterances")
    with paper():
        figure, axes = panels(len(shown), height=3.0)
        for axis, name in zip(axes, shown, strict=True):
            _sample_panel(axis, data[data["metric"] == name], name)
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=len(labels), handlelength=1, columnspacing=1.2)
    return figure, data


def _clip_values(rows: pd.DataFrame) -> pd.DataFrame:
    systems = ["student", "teacher", "token_ce", "regression", *REFERENCES]
    kept = rows[rows["system"].isin(systems)]
    kept = kept[(kept["system"] != "student") | (kept["steps"] == 1)]
    last = kept.groupby("system", observed=True)["steps"].transform("max")
    grouped = kept[kept["steps"] == last].groupby(["metric", "system", "steps", "utterance"], observed=True)["value"].mean()
    return pd.DataFrame(grouped[np.isfinite(grouped)].reset_index())


def _sample_panel(axis: Axes, data: pd.DataFrame, name: str) -> None:
    wide = data.pivot_table(index="utterance", columns=["system", "steps"], values="value", observed=True)
    ordered = sorted(wide.columns, key=lambda key: (system_order(str(key[0])), key[1]))
    by = next((k for k in ordered if k[0] == "codec_ceiling"), ordered[0])
    wide = wide.sort_values(by=by)
    for key in ordered:
        faint = key[0] in REFERENCES
        colour, marker = COLOURS.get(str(key[0]), INK), MARKERS.get(str(key[0]), "o")
        axis.plot(np.arange(1, len(wide) + 1), wide[key], marker, color=colour, markersize=3.4, alpha=0.75 if faint else 0.9,
                  markeredgewidth=0, linestyle="-", linewidth=0.5, label=system_label(*key))  # fmt: skip
    axis.set_xlabel(f"Test clip, sorted by {system_label(str(by[0]), int(by[1]))}")
    axis.set_ylabel(describe(name).axis)

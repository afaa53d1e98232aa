"""What the axes of a sweep do, singly and in pairs: main effects, and heat maps of the pair that interacts most."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.anova import axis_table
from analysis.choose import STUDENT_STEPS, select
from analysis.design import rank
from analysis.effects import interactions, main_effects
from analysis.figures.along import level_text
from analysis.figures.spec import Pair, plot
from analysis.figures.style import COLOURS, FAINT, PAGE_IN, NotDrawn, footnote, panels, paper
from analysis.multiple import ALPHA
from analysis.names import metric as describe
from analysis.tables import number

EXPLAINED = ("lsd_hf", "si_sdr")
WRITTEN = 12
"""Most columns of a heat map whose cells hold their numbers; more have a colour bar, and some of their levels are named."""
MOST_LEVELS = 40
"""Most rows of the figure of main effects; of more levels those of the axes that explain most are shown."""


def _student(table: pd.DataFrame) -> pd.DataFrame:
    rows = select(table, system=["student"], steps=[STUDENT_STEPS], metric=EXPLAINED)
    return rows[np.isfinite(rows["value"].to_numpy())]  # a metric that is NaN everywhere is no record of it


@plot(
    "What each axis does",
    caption=(
        "How far the mean of each level lies from the mean of its axis, over settings of the other axes that were run with every level; "
        "bars are 95 % intervals over seeds and speakers. Filled marks differ from the axis's mean after Holm's correction over all "
        "levels; η² is the share of the variation between points that the axis explains."
    ),
)
def axis_effects(table: pd.DataFrame) -> Pair:
    """Draw the main effect of every level of every axis on the one-step student.

    Args:
        table: tidy table.

    Returns:
        The figure; its data is that of `main_effects` for each metric, with the axis's eta2.

    Raises:
        NotDrawn: no axis has levels that can be compared.
    """
    rows = _student(table)
    parts = [_effects(rows, m) for m in EXPLAINED if (rows["metric"] == m).any()]
    data = _most(pd.concat(parts, ignore_index=True)) if parts else pd.DataFrame()
    if data.empty:
        raise NotDrawn("no axis has two levels that were run with the same other settings: sweep one, e.g. +ablation=codebook_blocks")
    shown = list(dict.fromkeys(data["metric"]))
    places = _places(data)
    with paper():
        figure, axes = panels(len(shown), height=0.7 + 0.17 * len(places))
        for axis, name in zip(axes, shown, strict=True):
            _effects_panel(axis, data[data["metric"] == name], name, places)
        for axis in axes[1:]:
            axis.tick_params(labelleft=False)
    return figure, data


def _effects(rows: pd.DataFrame, metric: str) -> pd.DataFrame:
    found = main_effects(rows, metric)
    return found.assign(metric=metric, eta2=found["axis"].map(axis_table(rows, metric).set_index("axis")["eta2"]))


def _most(data: pd.DataFrame) -> pd.DataFrame:
    """Sort the axes by what they explain of any metric; of very many levels keep the axes that explain most."""
    levels = data.groupby("axis")["level"].nunique()
    order = data.groupby("axis")["eta2"].max().sort_values(ascending=False, kind="stable").index
    kept = [axis for axis, size in zip(order, levels[order].cumsum(), strict=True) if size <= max(MOST_LEVELS, levels[order[0]])]
    place = {axis: number for number, axis in enumerate(kept)}
    chosen = data[data["axis"].isin(kept)]
    return chosen.assign(place=chosen["axis"].map(place)).sort_values(["metric", "place"], kind="stable", key=_given).drop(columns="place")


def _given(column: pd.Series) -> pd.Series:
    return column.map(EXPLAINED.index) if column.name == "metric" else column


def _places(data: pd.DataFrame) -> dict[tuple[str, str], int]:
    """Give each axis a line for its name, and each of its levels one below; levels of all metrics have the same lines."""
    lines: dict[tuple[str, str], int] = {}
    for axis, part in data.groupby("axis", sort=False):
        for level in ("", *sorted(set(part["level"]), key=rank)):
            lines[str(axis), level] = -len(lines)
    return lines


def _effects_panel(axis: Axes, data: pd.DataFrame, name: str, places: dict[tuple[str, str], int]) -> None:
    for row in data.to_dict("records"):
        place, filled = places[row["axis"], row["level"]], row["p_holm"] < ALPHA
        ends = np.nan_to_num([[row["effect"] - row["effect_low"]], [row["effect_high"] - row["effect"]]])
        axis.errorbar(row["effect"], place, xerr=ends, fmt="o", markersize=4, linewidth=0.9, color=COLOURS["student"],
                      markerfacecolor=COLOURS["student"] if filled else "white")  # fmt: skip
    axis.axvline(0, color=FAINT, linewidth=0.8, zorder=0)
    axis.set_yticks(list(places.values()), [level_text(level) if level else heading for heading, level in places])
    for label, (_, level) in zip(axis.get_yticklabels(), places, strict=True):
        label.set_fontweight("normal" if level else "bold")
    axis.tick_params(axis="y", length=0)
    axis.grid(visible=False, axis="y")
    axis.set_ylim(min(places.values()) - 0.7, 0.7)
    axis.set_xlabel(f"Effect on {describe(name).axis}")
    where: Any = {"transform": axis.get_yaxis_transform(), "fontsize": 6.8, "va": "center", "ha": "right", "color": "#5b606a"}
    for heading, eta2 in data.groupby("axis", sort=False)["eta2"].first().items():
        axis.axhline(places[str(heading), ""] + 0.5, color="#e3e5e9", linewidth=0.6, zorder=0)
        axis.text(1.0, places[str(heading), ""], f"η² {eta2:.2f}", **where)


@plot(
    "Interaction of two axes",
    caption=(
        "The pair of axes that interacts most. Left: the one-step student's mean at each pair of levels, over settings of the other axes "
        "that were run with all pairs. Right: what is left when the two main effects are taken away, coloured on the scale of the means: "
        "pale is small; * marks cells that differ from zero after Holm's correction, where the pair as a whole does. Without stars the "
        "axes can be tuned one by one; with one seed a point nothing can be tested."
    ),
)
def interaction_heatmap(table: pd.DataFrame) -> Pair:
    """Draw the means of the pair of axes that interacts most as a heat map, and their interaction beside it.

    Args:
        table: tidy table.

    Returns:
        The figure; its data is that of `interactions`, with the names of the axes, the metric, and the pair's eta2, p and p_holm.

    Raises:
        NotDrawn: no two axes form a grid.
    """
    rows = _student(table)
    name = next((m for m in EXPLAINED if (rows["metric"] == m).any()), "")
    pair = _strongest_pair(rows, name) if name else None
    if pair is None:
        raise NotDrawn("no two axes were swept as a grid: sweep two together, e.g. +ablation=[codebook_blocks,loss_weights]")
    first, second = (f"config.{part}" for part in str(pair["axis"]).split(" x "))
    found = interactions(rows, name, first, second)
    data = found.assign(axis_first=first, axis_second=second, metric=name, **{f"pair_{k}": pair[k] for k in ("eta2", "p", "p_holm")})
    with paper():
        figure = _heatmaps(data, name)
        words = f"Interaction: η² {pair['eta2']:.3f}, p (Holm over axes and pairs) {_p_text(pair['p_holm'])}."
        footnote(figure, f"One-step student, {describe(name).label}. {words}")
    return figure, data


def _strongest_pair(rows: pd.DataFrame, metric: str) -> dict[str, Any] | None:
    table = axis_table(rows, metric)
    pairs = table[table["axis"].str.contains(" x ", regex=False)]
    pairs = pairs.sort_values(["p_holm", "eta2"], ascending=[True, False], na_position="last")
    return None if pairs.empty else {str(k): v for k, v in pairs.iloc[0].items()}


def _heatmaps(data: pd.DataFrame, name: str) -> Figure:
    levels = [sorted(set(data[side]), key=rank) for side in ("first", "second")]
    height = 1.35 + 0.3 * len(levels[0])
    figure, axes = panels(2, width=PAGE_IN, height=height)
    wide = {k: data.pivot(index="first", columns="second", values=k).loc[levels[0], levels[1]] for k in ("mean", "effect", "p_holm")}
    better = describe(name).better == "higher"
    texts = {"mean": wide["mean"].map(lambda v: number(float(v), name)), "effect": wide["effect"].map(_small(wide["effect"], name))}
    together = float(data["pair_p_holm"].iloc[0]) < ALPHA
    stars = np.where((wide["p_holm"] < ALPHA) & together, "*", "")
    size = 7 if len(levels[1]) <= 6 else 5.8
    wordy = len(levels[1]) <= WRITTEN
    shared: dict[str, Any] = {"fmt": "", "annot_kws": {"fontsize": size}, "linewidths": 0.6 if wordy else 0, "cbar": not wordy}
    sns.heatmap(wide["mean"], ax=axes[0], annot=texts["mean"] if wordy else False, cmap="viridis" if better else "viridis_r", **shared)
    reach_of = max(float(wide["effect"].abs().max().max()), float(np.ptp(wide["mean"].to_numpy())) / 2, 1e-9)
    sns.heatmap(wide["effect"], ax=axes[1], annot=texts["effect"] + stars if wordy else False, cmap="PuOr", vmin=-reach_of,
                vmax=reach_of, **shared)  # fmt: skip
    for axis, title in zip(axes, (f"{describe(name).label}, mean", "Interaction"), strict=True):
        _heatmap_axis(axis, data, levels, title)
    axes[1].set_ylabel("")
    return figure


def _small(values: pd.DataFrame, name: str) -> Callable[[float], str]:
    """Return how to write effects: with as many digits as the largest needs for two that say something."""
    largest = float(values.abs().max().max())
    digits = max(describe(name).digits, min(5, 1 - math.floor(math.log10(largest)))) if largest > 0 else describe(name).digits
    return lambda value: f"{round(value, digits) + 0.0:.{digits}f}".replace("-", "−")


def _heatmap_axis(axis: Axes, data: pd.DataFrame, levels: list[list[str]], title: str) -> None:
    first, second = (str(data[f"axis_{side}"].iloc[0]).removeprefix("config.") for side in ("first", "second"))
    axis.set_title(title)
    axis.set_xlabel(second)
    axis.set_ylabel(first)
    texts = [[level_text(v) for v in side] for side in levels]
    crowded = max(map(len, texts[1])) * len(texts[1]) > 40
    axis.set_yticks(np.arange(len(texts[0])) + 0.5, texts[0], rotation=0)
    every = -(-len(texts[1]) // WRITTEN)
    places = np.arange(0, len(texts[1]), every)
    axis.set_xticks(places + 0.5, texts[1][::every], rotation=30 if crowded else 0, ha="right" if crowded else "center")
    axis.tick_params(length=0)


def _p_text(p: float) -> str:
    return "unknown" if not np.isfinite(p) else "< 0.001" if p < 0.001 else f"{p:.3f}"

"""Quality clip by clip, and the clips that the student does worst."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from analysis.choose import headline_rows, prefer_copy, select
from analysis.figures.quality import need
from analysis.figures.spec import Pair, plot
from analysis.figures.style import COLOURS, FAINT, INK, MARKERS, NotDrawn, footnote, panels, paper, shortened
from analysis.names import REFERENCES, system_label, system_order
from analysis.names import metric as describe

WORST = 10
LEAST_SPAN = {"stoi": 0.02}
"""Shortest range of an axis, by metric."""
SYSTEMS = ("student", "teacher", "token_ce", "regression", *REFERENCES)


@plot("Clip by clip")
def per_sample(table: pd.DataFrame) -> Pair:
    """Draw SI-SDR and STOI clip by clip, clips sorted by the codec's ceiling (or by the student).

    Args:
        table: tidy table with si_sdr or stoi.

    Returns:
        The figure; its data has one row per metric, system, steps and utterance.

    Raises:
        NotDrawn: neither metric was recorded, or there are fewer than two clips.
    """
    shown = [m for m in ("si_sdr", "stoi") if (table["metric"] == m).any()]
    if not shown:
        raise NotDrawn("no record of si_sdr or stoi")
    data = clip_values(table, shown)
    if data["utterance"].nunique() < 2:
        raise NotDrawn("fewer than two utterances")
    with paper():
        figure, axes = panels(len(shown), height=3.0)
        for axis, name in zip(axes, shown, strict=True):
            _sample_panel(axis, data[data["metric"] == name], name)
        handles, labels = axes[0].get_legend_handles_labels()
        look = {"handlelength": 1, "columnspacing": 1.2, "markerscale": 3.6 / _mark_size(data["utterance"].nunique())}
        figure.legend(handles, labels, loc="outside upper center", ncols=len(labels), **look)
    return figure, data


def clip_values(table: pd.DataFrame, metrics: list[str]) -> pd.DataFrame:
    """Return each clip's mean over seeds: the student at one step, other systems at their most, low-band copy where there is one.

    Args:
        table: tidy table.
        metrics: metrics of single clips.

    Returns:
        Columns metric, system, steps, utterance, speaker, value; values that are not finite are left out.
    """
    kept = prefer_copy(select(headline_rows(table)[0], system=SYSTEMS, metric=metrics))
    kept = kept[(kept["system"] != "student") | (kept["steps"] == 1)]
    last = kept.groupby("system", observed=True)["steps"].transform("max")
    kept = kept[(kept["steps"] == last) & np.isfinite(kept["value"])]
    keys = ["metric", "system", "steps", "utterance", "speaker"]
    return kept.groupby(keys, observed=True)["value"].mean().reset_index().astype(dict.fromkeys(keys[:2], str))


def _mark_size(clips: int) -> float:
    """Return a diameter in points at which the marks of many clips do not hide each other."""
    return float(np.clip(200 / clips, 1.2, 3.4))


def _sample_panel(axis: Axes, data: pd.DataFrame, name: str) -> None:
    wide = data.pivot_table(index="utterance", columns=["system", "steps"], values="value", observed=True)
    ordered = sorted(wide.columns, key=lambda key: (system_order(str(key[0])), key[1]))
    by = next((k for k in ordered if k[0] == "codec_ceiling"), ordered[0])
    wide = wide.sort_values(by=by)
    size = _mark_size(len(wide))
    for key in ordered:
        faint = key[0] in REFERENCES
        colour, marker = COLOURS.get(str(key[0]), INK), MARKERS.get(str(key[0]), "o")
        axis.plot(np.arange(1, len(wide) + 1), wide[key], marker, color=colour, markersize=size, alpha=0.75 if faint else 0.9,
                  markeredgewidth=0, linestyle="-", linewidth=0.5 if size > 2 else 0.2, label=system_label(*key))  # fmt: skip
    axis.set_xlabel(f"Test clip, sorted by {system_label(str(by[0]), int(by[1]))}")
    axis.set_ylabel(describe(name).axis)
    _span(axis, LEAST_SPAN.get(name, 0.0))


def _span(axis: Axes, least: float) -> None:
    """Show a range of at least so much: with low-band copy STOI is 1.000 for all, and its millionths say nothing."""
    low, high = axis.get_ylim()
    if high - low < least:
        middle = (low + high) / 2
        axis.set_ylim(middle - least / 2, middle + least / 2)
    axis.ticklabel_format(axis="y", useOffset=False)


@plot("Worst clips")
def worst_clips(table: pd.DataFrame) -> Pair:
    """Draw the student's LSD-HF on every clip, and the ten worst by name beside what other systems make of them.

    Args:
        table: tidy table with lsd_hf.

    Returns:
        The figure; its data has one row per clip, worst first: rank, utterance, speaker, student and the other systems' LSD-HF.

    Raises:
        NotDrawn: the student was not scored on two clips.
    """
    need(table, "lsd_hf")
    values = clip_values(table, ["lsd_hf"])
    wide = values.pivot_table(index=["utterance", "speaker"], columns="system", values="value", observed=True)
    if "student" not in wide or wide["student"].notna().sum() < 2:
        raise NotDrawn("the student has LSD-HF on fewer than two clips: evaluate it at one step")
    data = wide.dropna(subset="student").reset_index()
    data = data.sort_values(["student", "utterance"], ascending=[False, True], ignore_index=True)  # of equals the first by id comes first
    data.insert(0, "rank", np.arange(1, len(data) + 1))
    with paper():
        figure, axes = panels(2, height=3.0)
        grid = axes[0].get_gridspec()
        if grid is not None:
            grid.set_width_ratios([1, 1.5])  # clips' names are long
        _all_clips(axes[0], data)
        _worst_panel(axes[1], data.head(WORST))
        handles, labels = axes[1].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper right", ncols=len(labels), handletextpad=0.2, columnspacing=1.0)
        footnote(figure, "Student at one step, mean over seeds. A clip that is hard for the codec ceiling too is lost in the codec.")
    return figure, data


def _all_clips(axis: Axes, data: pd.DataFrame) -> None:
    worst = data["rank"] <= WORST
    for own, colour in ((~worst, FAINT), (worst, COLOURS["student"])):
        axis.plot(data["rank"][own], data["student"][own], "o", color=colour, markersize=3, markeredgewidth=0)
    middle = float(data["student"].median())
    axis.axhline(middle, color=FAINT, linewidth=0.8, linestyle=":")
    axis.annotate(f"median {middle:.2f}", (1.0, middle), xycoords=("axes fraction", "data"), xytext=(0, 2), textcoords="offset points",
                  ha="right", va="bottom", fontsize=6.8, color="#5b606a")  # fmt: skip
    axis.set_xlabel("Test clip, worst first")
    axis.set_ylabel(describe("lsd_hf").axis)


def _worst_panel(axis: Axes, worst: pd.DataFrame) -> None:
    for name in sorted((c for c in worst.columns if c in SYSTEMS and c != "sinc"), key=system_order):  # sinc is equally bad on all
        axis.plot(worst[name], worst["rank"], MARKERS[name], color=COLOURS[name], markersize=5 if name == "student" else 3.8,
                  markeredgewidth=0, label=system_label(name, 0), zorder=4 if name == "student" else 3)  # fmt: skip
    axis.set_yticks(worst["rank"], [shortened(str(u), 34) for u in worst["utterance"]], fontsize=6.5)
    axis.set_ylim(len(worst) + 0.6, 0.4)
    axis.set_xlabel(describe("lsd_hf").axis)

"""Log-spectral distance over frequency: where in the spectrum each system fails."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from analysis.choose import STUDENT_STEPS, headline_rows, prefer_copy, select
from analysis.clip_facts import with_clip_facts
from analysis.figures.spec import Pair, plot
from analysis.figures.style import COLOURS, FAINT, INK, PAGE_IN, NotDrawn, end_labels, footnote, panels, paper
from analysis.names import system_label, system_order
from analysis.stats import summary
from lcm.records import BAND_METRICS, band_hz

SYSTEMS = ("student", "teacher", "regression", "token_ce", "codec_ceiling", "sinc", "degraded_codes")
MAIN = ("student", "teacher")
"""Systems whose intervals are drawn: more shades would hide each other."""
DULL = ("sinc", "degraded_codes")
STRETCH = 1.8
"""How far the dull systems may lengthen the axis before they are cut off."""
LINES = {"codec_ceiling": (0, (5, 1.6)), "degraded_codes": (0, (4, 1.4, 1, 1.4)), "sinc": (0, (1.2, 1.6)), "token_ce": (0, (3, 1))}


@plot("LSD over frequency", source=with_clip_facts)
def lsd_over_frequency(table: pd.DataFrame) -> Pair:
    """Draw the log-spectral distance in bands of 500 Hz, one line a system.

    Args:
        table: tidy table with the metrics lsd_00000hz to lsd_11500hz, named by their band's lower edge; from `with_clip_facts` it has
            cutoff_hz, which is marked.

    Returns:
        The figure; its data has one row per system, steps and band: low_hz, high_hz, mean, 95 % interval, utterances.

    Raises:
        NotDrawn: no band was recorded.
    """
    there = set(table["metric"].unique())
    bands = {m: band_hz(m) for m in BAND_METRICS if m in there}
    if not bands:
        raise NotDrawn("no record of the LSD in bands (lsd_00000hz and so on): evaluate again with this version")
    rows = prefer_copy(select(headline_rows(table)[0], metric=list(bands), system=SYSTEMS))
    last = rows.groupby("system", observed=True)["steps"].transform("max")
    rows = rows[rows["steps"] == last.where(rows["system"] != "student", STUDENT_STEPS)]
    data = summary(rows, ["system", "steps", "metric"])
    edges = data["metric"].astype(object).map(bands)
    data = data.assign(low_hz=edges.str[0], high_hz=edges.str[1], place=data["system"].astype(str).map(system_order))
    data = data.sort_values(["place", "low_hz"], ignore_index=True)
    with paper():
        figure, axes = panels(1, width=PAGE_IN, height=3.2)
        _lines(axes[0], data)
        _cutoffs(axes[0], table)
        footnote(figure, f"{_note(data)} Shades: 95 % intervals of student and teacher.")
        figure.canvas.draw()  # the panel's height is final only after the layout has run
        _names(axes[0], data)
    return figure, data.drop(columns="place")


def _lines(axis: Axes, data: pd.DataFrame) -> None:
    for system, own in data.groupby("system", observed=True, sort=False):
        name, known = str(system), own.dropna(subset="mean")
        colour, edges = COLOURS.get(name, INK), [*known["low_hz"] / 1000, known["high_hz"].iloc[-1] / 1000]
        mean, low, high = ([*known[c], known[c].iloc[-1]] for c in ("mean", "low", "high"))  # a step ends where its band does
        if name in MAIN:
            axis.fill_between(edges, low, high, step="post", color=colour, alpha=0.16, linewidth=0, zorder=2)
        axis.plot(edges, mean, color=colour, drawstyle="steps-post", linestyle=LINES.get(name, "-"),
                  linewidth=1.7 if name == "student" else 1.1, zorder=3)  # fmt: skip
    axis.set_xlim(0, 12)
    axis.set_xticks(range(0, 13, 2))
    axis.set_ylim(0, _top(data))
    axis.set_xlabel("Frequency (kHz)")
    axis.set_ylabel("LSD in bands of 500 Hz (↓ better)")


def _top(data: pd.DataFrame) -> float:
    """Return the top of the axis: what adds nothing above the cutoff may not flatten the rest."""
    most = data.groupby(data["system"].astype(str))["mean"].max()
    own = most.drop([s for s in DULL if s in most])
    top = float(own.max() if len(own) else most.max())
    return 1.12 * float(most[most <= STRETCH * top].max())


def _cutoffs(axis: Axes, table: pd.DataFrame) -> None:
    cutoffs = table["cutoff_hz"].dropna() / 1000 if "cutoff_hz" in table else pd.Series(dtype=float)
    if cutoffs.empty:
        return
    low, high = float(cutoffs.min()), float(cutoffs.max())
    if high > low:
        axis.axvspan(low, high, color=FAINT, alpha=0.12, linewidth=0, zorder=0)
    else:
        axis.axvline(low, color=FAINT, linewidth=0.9, linestyle="--", zorder=1)
    text = f"cutoffs {low:.3g} to {high:.3g} kHz" if high > low else f"cutoff {low:g} kHz"
    axis.annotate(text, (low, 1.0), xycoords=("data", "axes fraction"), xytext=(-3, -2), textcoords="offset points", ha="right", va="top",
                  fontsize=6.8, color="#5b606a")  # fmt: skip


def _names(axis: Axes, data: pd.DataFrame) -> None:
    last = data[np.isfinite(data["mean"])].groupby(["system", "steps"], observed=True, sort=False).tail(1)
    top, texts = axis.get_ylim()[1], []
    for row in last.to_dict("records"):
        name, value = system_label(str(row["system"]), int(row["steps"])), float(row["mean"])
        texts.append((min(value, top), name if value <= top else f"{name} {value:.1f} ↑", COLOURS.get(str(row["system"]), INK)))
    end_labels(axis, texts)


def _note(data: pd.DataFrame) -> str:
    least, most = int(data["utterances"].min()), int(data["utterances"].max())
    if least == most:
        return f"{most} clips in every band."
    top = data["high_hz"][data["utterances"] == most].max()
    return f"{most} clips up to {top / 1000:g} kHz; above it only recordings that reach there, at least {least}."

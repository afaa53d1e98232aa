"""How many clips a system gets how well: performance profiles, which a mean hides."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from analysis.choose import STUDENT_STEPS, headline_rows, prefer_copy, select
from analysis.figures.quality import QUALITY
from analysis.figures.spec import Pair, plot
from analysis.figures.style import COLOURS, INK, NotDrawn, panels, paper
from analysis.improvement import PROFILE_POINTS, performance_profile
from analysis.names import UNTRAINED, system_label, system_order
from analysis.names import metric as describe

SYSTEMS = ("student", "teacher", "regression", "token_ce", "codec_ceiling", "sinc")
SHADED = ("student", "teacher")
DASHES = {"codec_ceiling": (0, (5, 1.6)), "sinc": (0, (1.2, 1.6)), "token_ce": (0, (3, 1))}


@plot(
    "Performance profiles",
    caption=(
        "For each value of the metric, the share of clips (and seeds) on which a system is at least so good: the curve nearer to the "
        "better end is better, and curves that cross say that neither system is better on all clips. Shades are pointwise 95 % "
        "intervals over speakers and seeds, of the student and its teacher."
    ),
)
def performance_profiles(table: pd.DataFrame) -> Pair:
    """Draw the performance profile of each system.

    Args:
        table: tidy table.

    Returns:
        The figure; its data has one row per metric, system, steps and threshold: share, low, high.

    Raises:
        NotDrawn: fewer than two clips were scored.
    """
    rows = prefer_copy(select(headline_rows(table)[0], metric=QUALITY, system=SYSTEMS))
    rows = rows[np.isfinite(rows["value"].to_numpy())]
    last = rows.groupby("system", observed=True)["steps"].transform("max")
    rows = rows[rows["steps"] == last.where(rows["system"] != "student", STUDENT_STEPS)]
    if rows["utterance"].nunique() < 2:
        raise NotDrawn("fewer than two clips were scored in LSD-HF or SI-SDR: evaluate more")
    shown = [m for m in QUALITY if (rows["metric"] == m).any()]
    parts = [_profile(rows[rows["metric"] == m]).assign(metric=m) for m in shown]
    with paper():
        figure, axes = panels(len(shown), height=2.9)
        for axis, part, name in zip(axes, parts, shown, strict=True):
            _panel(axis, part, name)
        axes[0].set_ylabel("Share of clips at least so good")
        handles, labels = max((axis.get_legend_handles_labels() for axis in axes), key=lambda found: len(found[0]))
        figure.legend(handles, labels, loc="outside upper center", ncols=len(labels), handlelength=1.6, columnspacing=1.2)
    return figure, pd.concat(parts, ignore_index=True)


def _profile(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the profiles over the range of the learned systems: one that is far off everywhere would squeeze them together."""
    learned = rows[~rows["system"].isin(UNTRAINED)]
    low, high = np.nanquantile((learned if len(learned) else rows)["value"], [0.005, 0.995])
    margin = 0.1 * max(high - low, 1e-6)
    return performance_profile(rows, ("system", "steps"), np.linspace(low - margin, high + margin, PROFILE_POINTS).tolist())


def _panel(axis: Axes, data: pd.DataFrame, name: str) -> None:
    parts = sorted(data.groupby(["system", "steps"], observed=True), key=lambda item: system_order(str(item[0][0])))
    for (system, steps), part in parts:
        colour = COLOURS.get(str(system), INK)
        own = part.sort_values("threshold")
        if system in SHADED:
            inside = (own["share"] > 0) & (own["share"] < 1)  # beyond, the shade would say how few the speakers are and no more
            axis.fill_between(own["threshold"], own["low"], own["high"], where=inside, color=colour, alpha=0.13, linewidth=0)
        axis.plot(own["threshold"], own["share"], color=colour, linestyle=DASHES.get(str(system), "-"),
                  linewidth=1.7 if system == "student" else 1.1, label=system_label(str(system), int(steps)))  # fmt: skip
    axis.set_ylim(0, 1.02)
    axis.set_xlabel(describe(name).axis)
    if describe(name).better == "higher":
        axis.invert_xaxis()  # rightwards is easier to reach in every panel

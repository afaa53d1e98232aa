"""Quality by the cutoff of the degraded input."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from analysis.choose import STUDENT_STEPS, prefer_copy, select
from analysis.clip_facts import with_clip_facts
from analysis.figures.along import reach
from analysis.figures.quality import QUALITY, need
from analysis.figures.spec import Pair, plot
from analysis.figures.style import COLOURS, INK, MARKERS, NotDrawn, footnote, panels, paper
from analysis.names import metric as describe
from analysis.names import system_label, system_order
from analysis.stats import MIN_SPEAKERS, summary

SYSTEMS = ("student", "teacher", "sinc", "codec_ceiling")
LEVELS = 9
"""Most single cutoffs shown as they are; more are binned."""
BINS, CLIPS = 8, 6
"""Most bins, and clips that each of them holds at least."""
FAR = 1.5
"""How far above the others, in their range, sinc is named instead of drawn: it would flatten them."""


@plot("By cutoff", source=with_clip_facts)
def metric_by_cutoff(table: pd.DataFrame) -> Pair:
    """Draw LSD-HF and SI-SDR against the cutoff of each clip, for the student, its teacher, sinc and the codec ceiling.

    Args:
        table: tidy table with the column cutoff_hz, from `with_clip_facts`.

    Returns:
        The figure; its data has one row per metric, system and cutoff (or bin of as many clips): mean cutoff_hz, mean and 95 % interval.

    Raises:
        NotDrawn: the cutoffs are not known, or there is one only.
    """
    need(table, "lsd_hf")
    rows = _rows(table)
    data = summary(rows, ["metric", "system", "steps", "level"])
    centre = rows.groupby("level")["cutoff_hz"].mean()  # of a bin the mean of its clips, not its middle
    data = data.assign(cutoff_hz=data["level"].map(centre), place=data["system"].astype(str).map(system_order))
    data = data.sort_values(["metric", "place", "cutoff_hz"], ignore_index=True).drop(columns=["level", "place"])
    shown = [m for m in QUALITY if (data["metric"] == m).any()]
    with paper():
        figure, axes = panels(len(shown), height=2.9)
        for axis, name in zip(axes, shown, strict=True):
            _panel(axis, data[data["metric"] == name], name)
        handles, labels = axes[-1].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=len(labels))
        binned = "a mark for as many clips each" if rows["cutoff_hz"].nunique() > LEVELS else "a mark for each cutoff"
        bars = f"Bars: 95 % intervals, speakers as clusters, of {MIN_SPEAKERS} speakers or more."
        footnote(figure, f"{rows['utterance'].nunique()} clips, {binned}. {bars}")
    return figure, data


def _rows(table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows to summarise, with the level of each clip's cutoff: itself, or the number of its bin."""
    if "cutoff_hz" not in table or table["cutoff_hz"].isna().all():
        raise NotDrawn("no run has a clips.csv, which says each clip's cutoff: evaluate again with this version")
    rows = prefer_copy(select(table, metric=QUALITY, system=SYSTEMS)).dropna(subset="cutoff_hz")
    last = rows.groupby("system", observed=True)["steps"].transform("max")
    rows = rows[rows["steps"] == last.where(rows["system"] != "student", STUDENT_STEPS)]
    cutoffs = rows["cutoff_hz"].unique()
    if len(cutoffs) < 2:
        one = f"{cutoffs[0]:g} Hz" if len(cutoffs) else "unknown"
        raise NotDrawn(f"every test clip has the same cutoff ({one}): evaluate with evaluate.variant=1 for cutoffs of each clip's own")
    if len(cutoffs) <= LEVELS:
        return rows.assign(level=rows["cutoff_hz"])
    clips = rows.drop_duplicates("utterance")["cutoff_hz"]
    count = int(np.clip(len(clips) // CLIPS, 2, BINS))
    edges = np.quantile(clips, np.linspace(0, 1, count + 1)[1:-1])
    return rows.assign(level=np.searchsorted(edges, rows["cutoff_hz"], side="right"))


def _panel(axis: Axes, data: pd.DataFrame, name: str) -> None:
    parts = list(data.groupby(["system", "steps"], observed=True, sort=False))
    kept, sinc = data.loc[data["system"] != "sinc", "mean"], data.loc[data["system"] == "sinc", "mean"]
    if len(sinc) and len(kept) and sinc.min() > kept.max() + FAR * (kept.max() - kept.min()):
        parts = [part for part in parts if part[0][0] != "sinc"]
        note = f"off scale: sinc {sinc.min():.2f} to {sinc.max():.2f} ↑"
        axis.set_title(note, fontsize=6.8, fontweight="normal", color="#5b606a", loc="right")
    for index, ((system, steps), own) in enumerate(parts):
        label = system_label(str(system), int(steps))
        x = own["cutoff_hz"] / 1000 + 0.03 * (index - (len(parts) - 1) / 2)
        colour, marker, above = COLOURS.get(str(system), INK), MARKERS.get(str(system), "o"), 4 if system == "student" else 3
        known = np.where(own["speakers"] >= MIN_SPEAKERS, reach(own), 0.0)  # a t interval of two speakers would fill the page
        axis.errorbar(x, own["mean"], yerr=known, color=colour, marker=marker, markersize=4.5, linewidth=1.1, elinewidth=0.8,
                      capsize=2, label=label, zorder=above)  # fmt: skip
    axis.set_xlabel("Cutoff of the degraded input (kHz)")
    axis.set_ylabel(describe(name).axis)

"""What a sweep cost: device-hours of training, point by point and in total."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.patches import Patch

from analysis.costs import load_costs
from analysis.figures.spec import Pair, plot
from analysis.figures.style import FAINT, SERIES, NotDrawn, footnote, panels, paper, shortened

BARS = 40
"""Most points with a bar of their own."""
COLOURS = {"GPU": SERIES[0], "CPU": SERIES[4], "device": SERIES[2]}
WORDS = {
    "GPU": "training time × GPUs", "CPU": "training time × processes; a process may have several cores",
    "device": "training time × devices; no provenance.json says which",
}  # fmt: skip


@plot("GPU-hours", source=load_costs)
def gpu_hours(costs: pd.DataFrame) -> Pair:
    """Draw the device-hours that training took: the dearest points as bars, and the sum over all points.

    Args:
        costs: columns signature, label, state, kind, hours, from `load_costs`.

    Returns:
        The figure; its data has one row per point and kind of device, dearest first: hours, of which in runs that did not end, runs,
        cumulative hours.

    Raises:
        NotDrawn: no run says how long it trained.
    """
    data = _by_point(costs)
    if data.empty:
        raise NotDrawn("no run's status.json says how long it trained (train_seconds): train with this version")
    shown = data.head(BARS)
    with paper():
        figure, axes = panels(2, height=max(2.7, 0.9 + 0.125 * len(shown)))
        grid = axes[0].get_gridspec()
        if grid is not None:
            grid.set_width_ratios([1.9, 1])  # the bars' names are long
        _bars(axes[0], shown)
        axes[0].set_title(f"{_amount(data['hours'].sum())} {_unit(data)} in {len(data):,} point{'s' * (len(data) > 1)}")
        _sum(axes[1], data)
        footnote(figure, " ".join(_notes(data, len(shown))))
    return figure, data


def _by_point(costs: pd.DataFrame) -> pd.DataFrame:
    lost = costs["hours"].where(~costs["state"].isin(["done", "trained"]), 0.0)
    grouped = costs.assign(lost=lost).groupby(["signature", "label", "kind"], sort=False)
    data = grouped.agg(hours=("hours", "sum"), unfinished=("lost", "sum"), runs=("hours", "size")).reset_index()
    data = data.sort_values(["hours", "label"], ascending=[False, True], kind="stable", ignore_index=True)
    return data.assign(cumulative=data["hours"].cumsum())


def _bars(axis: Axes, shown: pd.DataFrame) -> None:
    place = np.arange(len(shown))
    axis.barh(place, shown["hours"], color=[COLOURS[k] for k in shown["kind"]], height=0.72, linewidth=0)
    if (shown["unfinished"] > 0).any():
        axis.barh(place, shown["unfinished"], color="white", alpha=0.65, hatch="////", edgecolor="#5b606a", height=0.72, linewidth=0)
    axis.set_yticks(place, [shortened(str(label), 46) for label in shown["label"]], fontsize=6.5 if len(shown) > 12 else 7.5)
    axis.set_ylim(len(shown) - 0.4, -0.6)
    axis.grid(visible=False, axis="y")
    axis.set_xlabel(_unit(shown).replace("device", "Device"))
    kinds = [k for k in COLOURS if (shown["kind"] == k).any()]
    if len(kinds) > 1:
        axis.legend([Patch(color=COLOURS[k]) for k in kinds], kinds, loc="lower right", handlelength=1)


def _sum(axis: Axes, data: pd.DataFrame) -> None:
    number = np.arange(1, len(data) + 1)
    axis.plot([0, *number], [0.0, *data["cumulative"]], color=FAINT, linewidth=1.2, marker="o" if len(data) <= BARS else "", markersize=3)
    axis.set_ylim(0, None)
    axis.set_xlim(0, None)
    axis.set_xlabel("Points, dearest first")
    axis.set_ylabel(f"Sum of {_unit(data)}")


def _unit(data: pd.DataFrame) -> str:
    kinds = sorted(set(data["kind"]))
    return f"{kinds[0]}-hours" if len(kinds) == 1 else "device-hours"


def _amount(hours: float) -> str:
    return f"{hours:,.0f}" if hours >= 100 else f"{hours:.3g}"


def _notes(data: pd.DataFrame, shown: int) -> list[str]:
    kinds = [k for k in COLOURS if (data["kind"] == k).any()]
    notes = [f"{k}-hours ({_amount(data['hours'][data['kind'] == k].sum())}): {WORDS[k]}." for k in kinds]
    if len(data) > shown:
        notes.append(f"Bars: the {shown} dearest of {len(data):,} points.")
    if data["unfinished"].sum() > 0:
        notes.append(f"Hatched: {_amount(data['unfinished'].sum())} hours in runs that failed or have not ended.")
    return [*notes, "Each point with all its seeds; evaluation is not counted."]

"""Quality by test speaker: for whom the student works, and for whom a rival would have been better."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from analysis.choose import STUDENT_STEPS, headline_rows, prefer_copy, select
from analysis.figures.by_clip import clip_values
from analysis.figures.quality import QUALITY, need
from analysis.figures.spec import Pair, plot
from analysis.figures.style import COLOURS, FAINT, NotDrawn, footnote, label_points, panels, paper, shortened
from analysis.names import metric as describe
from analysis.names import system_label
from analysis.pairs import paired_difference
from analysis.stats import Interval
from analysis.tables import number

RIVALS = ("regression", "token_ce", "teacher")
LABELLED = 32
"""Most speakers whose names fit below a panel; of more, those where the student is furthest behind are named."""
NAMED = 3


@dataclass(frozen=True)
class Rival:
    """What the student is compared with.

    Attributes:
        system: name in the records.
        steps: its step count.
        gains: metric -> how much better the student is over all clips; positive is better.
    """

    system: str
    steps: int
    gains: dict[str, Interval]


@plot("By speaker")
def metric_by_speaker(table: pd.DataFrame) -> Pair:
    """Draw the one-step student by test speaker, and its difference to the best trained rival (or to sinc) on the same clips.

    Args:
        table: tidy table.

    Returns:
        The figure; its data has one row per metric and speaker: clips, the student's mean, rival, the rival's mean on the same clips,
        and gain (positive: the student is better).

    Raises:
        NotDrawn: there are fewer than two test speakers, or no system to compare with.
    """
    need(table, "lsd_hf")
    metrics = [m for m in QUALITY if (table["metric"] == m).any()]
    values = clip_values(table, metrics)
    student = values[values["system"] == "student"]
    if student["speaker"].nunique() < 2:
        raise NotDrawn("the student was evaluated on fewer than two test speakers")
    rival = _rival(table, values)
    clips = _paired(values, rival)
    data = _by_speaker(clips, rival)
    shown = [m for m in metrics if (data["metric"] == m).any()]
    with paper():
        figure, axes = panels(2 * len(shown), rows=2, height=2.3)
        lower: list[tuple[Axes, pd.DataFrame]] = []
        for column, name in enumerate(shown):
            own, dots = data[data["metric"] == name], clips[clips["metric"] == name]
            _levels(axes[column], own, dots, name)
            _gains(axes[len(shown) + column], own, dots, name, rival)
            lower.append((axes[len(shown) + column], own))
        footnote(figure, f"Student at one step, mean over seeds; large: a speaker's mean, faint: its clips. Sorted by the mean. "
                         f"Rival: {system_label(rival.system, rival.steps)}. Shade: 95 % interval over speakers.")  # fmt: skip
        for axis, own in lower:
            _name_speakers(axis, own)
    return figure, data


def _rival(table: pd.DataFrame, values: pd.DataFrame) -> Rival:
    means = values[values["metric"] == "lsd_hf"].groupby("system")["value"].mean()
    scored = means[means.index.isin(RIVALS)]
    system = str(scored.idxmin()) if len(scored) else "sinc"
    if system not in means:
        raise NotDrawn("no system to compare the student with: evaluate sinc, the teacher or another objective too")
    rows = prefer_copy(select(headline_rows(table)[0], system=["student", system], metric=QUALITY))
    own = rows[(rows["system"] == "student") & (rows["steps"] == STUDENT_STEPS)]
    other = rows[rows["system"] == system]
    other = other[other["steps"] == other["steps"].max()]
    gains = {str(m): _gain(own[own["metric"] == m], other[other["metric"] == m], str(m)) for m in own["metric"].unique()}
    return Rival(system, int(other["steps"].iloc[0]), gains)


def _sign(metric: str) -> int:
    return 1 if describe(metric).better == "higher" else -1


def _gain(own: pd.DataFrame, other: pd.DataFrame, metric: str) -> Interval:
    by = paired_difference(own, other)
    low, high = sorted((_sign(metric) * by.low, _sign(metric) * by.high))
    return Interval(_sign(metric) * by.mean, low, high, by.speakers, by.seeds, by.method, by.warning)


def _paired(values: pd.DataFrame, rival: Rival) -> pd.DataFrame:
    """Return one row per metric and clip that both have: speaker, student, rival, gain."""
    keys = ["metric", "speaker", "utterance"]
    sides = [values[values["system"] == s].set_index(keys)["value"] for s in ("student", rival.system)]
    clips = pd.concat(sides, axis=1, keys=["student", "rival"], join="inner").reset_index()
    return clips.assign(gain=(clips["student"] - clips["rival"]) * clips["metric"].map(_sign))


def _by_speaker(clips: pd.DataFrame, rival: Rival) -> pd.DataFrame:
    grouped = clips.groupby(["metric", "speaker"], observed=True)
    data = grouped.agg(clips=("student", "size"), student=("student", "mean"), rival_mean=("rival", "mean"), gain=("gain", "mean"))
    data = data.reset_index().assign(rival=rival.system)
    cost = data["student"] * -data["metric"].map(_sign)
    return data.assign(cost=cost).sort_values(["metric", "cost"], ignore_index=True).drop(columns="cost")


def _places(own: pd.DataFrame, dots: pd.DataFrame) -> pd.Series:
    order = {speaker: place for place, speaker in enumerate(own["speaker"], start=1)}
    return dots["speaker"].astype(object).map(order).astype(float)


def _size(count: int) -> float:
    return float(np.clip(90 / count, 2.2, 4.5))


def _levels(axis: Axes, own: pd.DataFrame, dots: pd.DataFrame, name: str) -> None:
    axis.plot(_places(own, dots), dots["student"], "o", color=COLOURS["student"], alpha=0.25, markersize=2.2, markeredgewidth=0)
    axis.plot(np.arange(1, len(own) + 1), own["student"], "o", color=COLOURS["student"], markersize=_size(len(own)))
    axis.set_xlim(0.3, len(own) + 0.7)
    axis.tick_params(labelbottom=False)
    axis.grid(visible=False, axis="x")
    axis.set_ylabel(describe(name).axis)


def _gains(axis: Axes, own: pd.DataFrame, dots: pd.DataFrame, name: str, rival: Rival) -> None:
    place, worse = np.arange(1, len(own) + 1), (own["gain"] < 0).to_numpy()
    axis.plot(_places(own, dots), dots["gain"], "o", color=FAINT, alpha=0.35, markersize=2.2, markeredgewidth=0)
    for mask, colour, marker in ((~worse, COLOURS["student"], "o"), (worse, COLOURS["token_ce"], "v")):
        axis.plot(place[mask], own["gain"][mask], marker, color=colour, markersize=_size(len(own)))
    total = rival.gains[name]
    axis.axhline(0, color="#5b606a", linewidth=0.8)
    axis.axhline(total.mean, color=COLOURS["student"], linewidth=0.8, linestyle="--", zorder=1)
    if np.isfinite(total.low):
        axis.axhspan(total.low, total.high, color=COLOURS["student"], alpha=0.1, linewidth=0, zorder=0)
    title = f"student better for {int((~worse).sum())} of {len(own)} speakers; mean gain {number(total.mean, name)}"
    axis.set_title(title, fontweight="normal", fontsize=7.5)
    axis.set_xlim(0.3, len(own) + 0.7)
    axis.set_ylabel(f"Gain over {system_label(rival.system, 0)}" + (f" ({describe(name).unit})" if describe(name).unit else ""))
    axis.grid(visible=False, axis="x")
    axis.set_xlabel("Test speaker, best first" + ("" if len(own) <= LABELLED else f"; named: the {NAMED} furthest behind"))
    names = [shortened(str(s), 12) for s in own["speaker"]] if len(own) <= LABELLED else []
    axis.set_xticks(place[: len(names)], names, rotation=90, fontsize=6.2 if len(names) <= 20 else 5.4)


def _name_speakers(axis: Axes, own: pd.DataFrame) -> None:
    """Name the speakers that the student fails most, where there are too many to name them all."""
    if len(own) > LABELLED:
        behind = own["gain"].reset_index(drop=True)
        worst = behind.nsmallest(NAMED).index
        points = [(float(i + 1), float(behind[i]), shortened(str(own["speaker"].iloc[i]), 12), COLOURS["token_ce"]) for i in worst]
        label_points(axis, points, [(float(i + 1), float(v)) for i, v in behind.drop(worst).items()])

"""Distortion against distribution over all points of a sweep: the map of what an objective or a loss buys, and what it costs."""

from __future__ import annotations

import textwrap
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis.cells import WHOLE_SET
from analysis.choose import headline_steps, prefer_copy, select
from analysis.figures.quality import need, pareto
from analysis.figures.spec import Pair, plot
from analysis.figures.style import COLOURS, FAINT, INK, MARKERS, OBJECTIVES, NotDrawn, label_points, panels, paper, plain_log
from analysis.gaps import on_shared_clips
from analysis.names import UNTRAINED, system_order
from analysis.names import metric as describe
from analysis.points import points
from analysis.stats import MIN_SEEDS
from analysis.tables import number

DISTORTION, DISTRIBUTION = ("lsd_hf", "si_sdr"), ("frechet_hf", "hf_bias")
BESIDE = ("codec_ceiling", "degraded_codes", "sinc")
"""Systems that nothing was trained for, drawn to give the scale."""
STRETCH = 1.0
"""Largest share by which a reference may lengthen an axis on either side; one farther off is named instead."""
OFF_CHARACTERS = 62
"""Characters of a line above a panel."""
KEY_CHARACTERS = 120
"""Characters of the key in a line across the page."""
NUMBERED = 18
"""Most points that are all named; of a larger sweep the best of each objective are, and as many of those on a front as that leaves."""
BARRED = 60
"""Most points that all have bars and full colour; of a larger sweep those that are named have them."""
CAPTION = (
    "One mark is one point of the sweep: the mean over its seeds and the clips that all have, the student at one step, flow and the "
    "diffusion teacher at their most, with low-band copy. Farther left is nearer to each original (distortion), farther down is "
    "more like the originals as a set (distribution): the lower left corner is best, and the grey line is the Pareto front, the "
    "points that no other one beats on both. Colour and shape tell the objective; filled marks were trained with auxiliary losses, "
    "open ones by the objective alone. The key names what differs from the sweep's most frequent settings. Bars, of points with 3 "
    "seeds or more, are 95 % t intervals over seeds on these clips: what speakers differ by is common to all points and left out "
    f"(it is in points.csv). Of more than {NUMBERED} points some are numbered, of more than {BARRED} the others are faint and "
    "without bars. Codec ceiling, degraded codes and sinc are references, not points, and take no part in the front."
)


@plot("Distortion against distribution", caption=CAPTION)
def tradeoff(table: pd.DataFrame) -> Pair:
    """Draw distortion (LSD-HF, SI-SDR) against distribution (Frechet distance, HF bias), one mark a point of the sweep.

    Args:
        table: tidy table with lsd_hf and frechet_hf.

    Returns:
        The figure; its data has one row per point and reference, with means, intervals, and for each panel a column "front_<x>_<y>".

    Raises:
        NotDrawn: fewer than two points have both.
    """
    need(table, "lsd_hf", "frechet_hf")
    data = marks(table)
    xs, ys = ([m for m in names if data[m].notna().any()] for names in (DISTORTION, DISTRIBUTION))
    key = -(-int(data["number"].max()) // _key_columns(data))
    with paper():
        figure, axes = panels(len(xs) * len(ys), rows=len(ys), height=2.9 + 0.15 * key / len(ys))
        grid = [(axis, x, y) for axis, (y, x) in zip(axes, [(y, x) for y in ys for x in xs], strict=True)]
        for axis, x, y in grid:
            _panel(axis, data, x, y)
        _legends(figure, data)
        for axis, x, y in grid:
            _number(axis, data, x, y)
    return figure, data


def marks(table: pd.DataFrame) -> pd.DataFrame:
    """Summarise the points and the references of the figure.

    Args:
        table: tidy table.

    Returns:
        The columns of `points` for the four metrics, `reference`, and for each panel whether a point is on its front.

    Raises:
        NotDrawn: fewer than two points have LSD-HF, on clips that all have, and the Frechet distance.
    """
    systems = [s for s in table["system"].unique() if s not in UNTRAINED or s in BESIDE]
    shown = prefer_copy(headline_steps(select(table, metric=(*DISTORTION, *DISTRIBUTION), system=systems)))
    data = points(_by_run(on_shared_clips(shown)[0]), (*DISTORTION, *DISTRIBUTION)).dropna(subset=["lsd_hf", "frechet_hf"])
    data = data.assign(reference=data["system"].isin(BESIDE))
    order = [(reference, list(OBJECTIVES).index(o) if o in OBJECTIVES else len(OBJECTIVES) + system_order(s))
             for reference, o, s in zip(data["reference"], data["objective"], data["system"], strict=True)]  # fmt: skip
    data = data.assign(order=order).sort_values(["order", "lsd_hf"], ignore_index=True).drop(columns="order")
    if (~data["reference"]).sum() < 2:
        raise NotDrawn("fewer than two points have both LSD-HF and the Fréchet distance")
    for x in DISTORTION:
        for y in DISTRIBUTION:
            front = pareto(data[~data["reference"]], x, y)
            data[f"front_{x}_{y}"] = front.reindex(data.index, fill_value=False).astype(bool)
    return data.assign(number=_numbers(data))


def _by_run(rows: pd.DataFrame) -> pd.DataFrame:
    """Reduce every run to its mean over clips: intervals are then over seeds alone, as that of the Frechet distance is anyway."""
    rows = rows[np.isfinite(rows["value"])]
    keys = ["system", "signature", "seed", "steps", "low_band_copy", "metric", "protocol"]
    first = rows.drop_duplicates(keys).set_index(keys)
    mean = rows.groupby(keys, observed=True)["value"].mean()
    return first.assign(value=mean, utterance=WHOLE_SET, speaker=WHOLE_SET).reset_index()


def _key_columns(data: pd.DataFrame) -> int:
    longest = data["label"][data["number"] > 0].str.len().max()
    return int(min(4, max(1, KEY_CHARACTERS // (longest + 6))))


def _numbers(data: pd.DataFrame) -> pd.Series:
    """Number the points that are named; the rest get 0."""
    known = data[~data["reference"]]
    scored = [m for m in (*DISTORTION, *DISTRIBUTION) if known[m].notna().any()]
    best = [known[m].map(describe(m).cost).groupby(known["objective"]).idxmin().dropna() for m in scored]
    named = pd.Series(known.index.isin(pd.concat(best)) | (len(known) <= NUMBERED), index=known.index)
    front = known.index[known.filter(like="front_").any(axis=1) & ~named]
    places = np.linspace(0, len(front) - 1, min(len(front), max(0, NUMBERED - int(named.sum())))).astype(int)
    named[front[np.unique(places)]] = True
    return named.cumsum().where(named, 0).reindex(data.index, fill_value=0).astype(int)


def _panel(axis: Axes, data: pd.DataFrame, x: str, y: str) -> None:
    known = data.dropna(subset=[x, y])
    _marks(axis, known, x, y)
    front = known[known[f"front_{x}_{y}"]].sort_values(x, ascending=describe(x).better != "higher")
    axis.plot(front[x], _shown(front, y), color=FAINT, linewidth=1.0, drawstyle="steps-post", zorder=1)
    if y == "frechet_hf":
        axis.set_yscale("log")
    axis.set_title(" \n ", fontsize=6.2)  # room for what is off the scale
    _limits(axis, known, x, y)
    if y == "frechet_hf":
        plain_log(axis.yaxis)
    if describe(x).better == "higher":
        axis.invert_xaxis()  # left is better in every panel
    axis.set_xlabel(describe(x).axis)
    axis.set_ylabel("|HF bias| (dB, ↓ better)" if y == "hf_bias" else describe(y).axis)


def _shown(data: pd.DataFrame, name: str) -> pd.Series:
    """Return what is drawn of a metric: a bias without its sign."""
    return data[name].abs() if name == "hf_bias" else data[name]


def _look(row: dict[Any, Any]) -> tuple[str, str]:
    system = str(row["system"])
    return OBJECTIVES.get(row["objective"], (COLOURS.get(system, INK), MARKERS.get(system, "o")))


def _marks(axis: Axes, data: pd.DataFrame, x: str, y: str) -> None:
    """Draw the points of one look at a time; of very many points the named ones stand out and have bars."""
    faint = (~data["reference"] & (data["number"] == 0)) & ((~data["reference"]).sum() > BARRED)
    rows = data.assign(shown=_shown(data, y), filled=data["losses"].astype(bool) | data["reference"], faint=faint)
    for (objective, filled, pale), own in rows.groupby(["objective", "filled", "faint"], sort=False):
        colour, marker = _look({"objective": objective, "system": own["system"].iloc[0]})
        size = 7.0 if objective == "codec ceiling" else 3.5 if pale else 5.5
        axis.plot(own[x], own["shown"], marker, color=colour, markerfacecolor=colour if filled else "white", markeredgewidth=1.1,
                  markersize=size, alpha=0.45 if pale else 1.0, zorder=2.5 if pale else 3)  # fmt: skip
        barred = own[(own["seeds"] >= MIN_SEEDS) & ~own["reference"] & ~own["faint"]]
        if len(barred):
            wide, high = (np.concatenate([_reach(row, name) for row in barred.to_dict("records")], axis=1) for name in (x, y))
            axis.errorbar(barred[x], barred["shown"], yerr=high, xerr=wide, color=colour, linewidth=0, elinewidth=0.7, alpha=0.7, zorder=2)


def _reach(row: dict[Any, Any], name: str) -> Any:
    low, mean, high = row[f"{name}_low"], row[name], row[f"{name}_high"]
    if name == "hf_bias" and np.isfinite(low):
        ends = sorted((abs(low), abs(high)))
        low, mean, high = (0.0 if low <= 0 <= high else ends[0]), abs(mean), ends[1]
    if name == "frechet_hf":
        low = max(low, mean / 4)  # an end at or below zero has no place on a log axis
    return np.nan_to_num([[mean - low], [high - mean]])


def _limits(axis: Axes, data: pd.DataFrame, x: str, y: str) -> None:
    """Frame the points, and the references that are not far off; the others are named above the panel."""
    far = pd.Series(False, index=data.index)
    for name, put, log in ((x, axis.set_xlim, False), (y, axis.set_ylim, y == "frechet_hf")):
        values = np.log(_shown(data, name)) if log else _shown(data, name)
        own = values[~data["reference"]]
        reach = STRETCH * max(own.max() - own.min(), 1e-3)
        far |= (values < own.min() - reach) | (values > own.max() + reach)
        near = values[~far]
        margin = 0.12 * max(near.max() - near.min(), 1e-3)
        low, high = near.min() - margin, near.max() + margin
        put((np.exp(low), np.exp(high)) if log else (low, high))
    names = [f"{row['label']} ({number(row[x], x)}, {number(abs(row[y]), y)})" for row in data[far].to_dict("records")]
    if names:
        place: Any = {"transform": axis.transAxes, "ha": "right", "va": "bottom", "fontsize": 6.2, "color": "#5b606a"}
        lines = textwrap.wrap(f"off scale: {', '.join(name.replace(' ', chr(0xA0)) for name in names)}", OFF_CHARACTERS)
        axis.text(1.0, 1.01, "\n".join(lines[:2]) + (" ..." if len(lines) > 2 else ""), in_layout=False, linespacing=1.05, **place)


def _number(axis: Axes, data: pd.DataFrame, x: str, y: str) -> None:
    known = data.dropna(subset=[x, y])
    places = pd.DataFrame({"x": known[x], "y": _shown(known, y)}).astype(float)
    named = known["number"] > 0
    colours = [_look(row)[0] for row in known[named].to_dict("records")]
    texts = known["number"][named].astype(str)
    points = zip(places["x"][named], places["y"][named], texts, colours, strict=True)
    label_points(axis, list(points), list(places[~named].itertuples(index=False, name=None)))


def _legends(figure: Figure, data: pd.DataFrame) -> None:
    """Put what colours and fillings mean above the panels, and the key of the numbers below."""
    kinds = data.drop_duplicates("objective").to_dict("records")
    look = {str(row["objective"]): Line2D([], [], marker=_look(row)[1], color=_look(row)[0], linestyle="none") for row in kinds}
    for text, fill in (("with auxiliary losses", FAINT), ("objective alone", "white")):
        look[text] = Line2D([], [], marker="o", color=FAINT, markerfacecolor=fill, linestyle="none")
    close: Any = {"handletextpad": 0.3, "columnspacing": 1.4}
    figure.legend(look.values(), look.keys(), loc="outside upper center", ncols=min(6, len(look)), markerscale=0.9, **close)
    named = data[data["number"] > 0].sort_values("number").to_dict("records")
    blank = [Line2D([], [], linestyle="none") for _ in named]
    texts = [f"{row['number']}  {row['label']}" for row in named]
    key = figure.legend(blank, texts, loc="outside lower left", ncols=_key_columns(data), handlelength=0, fontsize=6.8, **close)
    for entry, row in zip(key.get_texts(), named, strict=True):
        entry.set_color(_look(row)[0])

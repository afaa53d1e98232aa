"""Distortion against distribution over all points of a sweep: the map of what an objective or a loss buys, and what it costs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis.choose import headline_steps, prefer_copy
from analysis.figures.quality import need, pareto
from analysis.figures.style import COLOURS, FAINT, INK, MARKERS, OBJECTIVES, NotDrawn, label_points, panels, paper, plain_log
from analysis.names import UNTRAINED, system_order
from analysis.names import metric as describe
from analysis.points import points
from analysis.stats import MIN_SEEDS, WHOLE_SET
from analysis.table import current_protocol
from analysis.tables import number

DISTORTION, DISTRIBUTION = ("lsd_hf", "si_sdr"), ("frechet_hf", "hf_bias")
BESIDE = ("codec_ceiling", "degraded_codes", "sinc")
"""Systems that nothing was trained for, drawn to give the scale."""
STRETCH = 1.0
"""Largest share by which a reference may lengthen an axis on either side; one farther off is named instead."""
KEY_CHARACTERS = 120
"""Characters of the key in a line across the page."""
NUMBERED = 18
"""Most points that are all named; of a larger sweep those on a front and the best of each objective are."""
CAPTION = (
    "One mark is one point of the sweep: the mean over its seeds, the student at one step, flow and the diffusion teacher at their most, "
    "with low-band copy. Farther left is nearer to each original (distortion), farther down is more like the originals as a set "
    "(distribution): the lower left corner is best, and the grey line is the Pareto front, the points that no other one beats on both. "
    "Colour and shape tell the objective; filled marks were trained with auxiliary losses, open ones by the objective alone. The "
    "key names what differs from the sweep's most frequent settings. Bars, of points with 3 seeds or more, are 95 % t intervals over "
    "seeds on these clips: what speakers differ by is common to all points and left out (it is in points.csv). Codec ceiling, degraded "
    "codes and sinc are references, not points, and take no part in the front."
)


def tradeoff(table: pd.DataFrame) -> tuple[Figure, pd.DataFrame]:
    """Draw distortion (LSD-HF, SI-SDR) against distribution (Frechet distance, HF bias), one mark a point of the sweep.

    Args:
        table: tidy table with lsd_hf and frechet_hf.

    Returns:
        The figure and one row per point and reference, with means, intervals, and for each panel a column "front_<x>_<y>".

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
        NotDrawn: fewer than two points have LSD-HF and the Frechet distance.
    """
    rows = prefer_copy(headline_steps(current_protocol(table)))
    shown = rows[~rows["system"].isin(UNTRAINED) | rows["system"].isin(BESIDE)]
    data = points(_by_run(shown), (*DISTORTION, *DISTRIBUTION)).dropna(subset=["lsd_hf", "frechet_hf"])
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
    rows = rows[rows["metric"].isin((*DISTORTION, *DISTRIBUTION)) & np.isfinite(rows["value"])]
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
    named = known.filter(like="front_").any(axis=1) | known.index.isin(pd.concat(best)) | (len(known) <= NUMBERED)
    return named.cumsum().where(named, 0).reindex(data.index, fill_value=0).astype(int)


def _panel(axis: Axes, data: pd.DataFrame, x: str, y: str) -> None:
    known = data.dropna(subset=[x, y])
    for row in known.to_dict("records"):
        _mark(axis, row, x, y)
    front = known[known[f"front_{x}_{y}"]].sort_values(x, ascending=describe(x).better != "higher")
    axis.plot(front[x], _shown(front, y), color=FAINT, linewidth=1.0, drawstyle="steps-post", zorder=1)
    if y == "frechet_hf":
        axis.set_yscale("log")
        plain_log(axis.yaxis)
    axis.set_title(" ", fontsize=6.2)  # room for what is off the scale
    _limits(axis, known, x, y)
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


def _mark(axis: Axes, row: dict[Any, Any], x: str, y: str) -> None:
    colour, marker = _look(row)
    place = (row[x], abs(row[y]) if y == "hf_bias" else row[y])
    if row["seeds"] >= MIN_SEEDS and not row["reference"]:
        axis.errorbar(*place, xerr=_reach(row, x), yerr=_reach(row, y), color=colour, linewidth=0.7, alpha=0.7, zorder=2)
    filled = bool(row["losses"]) or row["reference"]
    axis.plot(*place, marker, color=colour, markerfacecolor=colour if filled else "white", markeredgewidth=1.1, zorder=3,
              markersize=7 if row["system"] == "codec_ceiling" else 5.5)  # fmt: skip


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
        axis.text(1.0, 1.01, f"off scale: {', '.join(names)}", in_layout=False, **place)


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

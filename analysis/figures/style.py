"""One look for every figure: a colour-blind safe palette, print sizes, reference lines, labels that keep apart."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.axis import XAxis, YAxis
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from analysis.names import SYSTEMS

COLUMN_IN, PAGE_IN = 3.5, 7.2
"""Widths of one column and of the text block, inches."""

NOTE_CHARACTERS = 19
"""Characters of a note in an inch."""
NARROW, WIDE = 4.0, 500.0
"""Ratios of its ends below which a log axis gets evenly spaced numbers, above which it gets powers of ten alone."""
INK, FAINT = "#1f2430", "#8a8f98"
# Okabe and Ito's palette: told apart under the three common kinds of colour blindness; markers tell systems apart in grey.
COLOURS = {
    "student": "#0072B2", "teacher": "#009E73", "flow": "#882255", "token_ce": "#D55E00", "regression": "#CC79A7",
    "degraded_codes": "#56B4E9", "codec_ceiling": "#1f2430", "sinc": "#7a7f87", "linear": "#E69F00", "zero_order_hold": "#b8a200",
}  # fmt: skip
MARKERS = {
    "student": "o", "teacher": "s", "flow": "p", "token_ce": "^", "regression": "v", "degraded_codes": "P",
    "codec_ceiling": "*", "sinc": "X", "linear": "D", "zero_order_hold": "d",
}  # fmt: skip
# Objectives that all make a student; the rest have the look of their system.
OBJECTIVES = {
    "ect": ("#0072B2", "o"), "ct": ("#E69F00", "D"), "cd": ("#332288", "<"), "rose": ("#b8a200", ">"), "pairs": ("#7a4b2a", "h"),
}  # fmt: skip
DASHES = {"codec_ceiling": (0, (5, 1.6)), "sinc": (0, (1.2, 1.6)), "teacher": (0, (4, 1.4, 1, 1.4))}
SERIES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#1f2430", "#b8a200")


class NotDrawn(ValueError):  # noqa: N818  # a reason to skip, not a failure
    """A figure has nothing to show; the message is the reason a reader is given."""


@contextmanager
def paper() -> Iterator[None]:
    """Draw with the project's style: small sans type, thin axes, no interactive window."""
    rc: Any = {
        "font.family": "sans-serif", "font.sans-serif": ["DejaVu Sans"], "font.size": 8, "axes.titlesize": 8.5, "axes.labelsize": 8,
        "xtick.labelsize": 7.5, "ytick.labelsize": 7.5, "legend.fontsize": 7.5, "axes.titleweight": "bold", "axes.titlelocation": "left",
        "axes.edgecolor": "#5b606a", "axes.linewidth": 0.7, "text.color": INK, "axes.labelcolor": INK, "xtick.color": INK,
        "ytick.color": INK,
        "grid.color": "#e3e5e9", "grid.linewidth": 0.6, "legend.frameon": False, "pdf.fonttype": 42, "figure.dpi": 100, "savefig.dpi": 200,
        "xtick.major.size": 3, "ytick.major.size": 3, "figure.constrained_layout.use": True, "figure.facecolor": "white",
    }  # fmt: skip
    with mpl.rc_context(), sns.axes_style("whitegrid"):
        mpl.rcParams.update(rc)
        yield


def panels(count: int, *, rows: int = 1, width: float = PAGE_IN, height: float = 2.7) -> tuple[Figure, list[Axes]]:
    """Make a figure with panels side by side, without pyplot's global state.

    Args:
        count: number of panels.
        rows: rows that they are set in.
        width: figure width, inches.
        height: height of a row, inches.

    Returns:
        The figure and its axes.
    """
    figure = Figure(figsize=(width, height * rows), layout="constrained")
    axes = list(np.ravel(figure.subplots(rows, -(-count // rows), squeeze=False)))
    for axis in axes:
        sns.despine(ax=axis)
    for empty in axes[count:]:
        empty.set_visible(False)
    return figure, axes[:count]


def footnote(figure: Figure, text: str) -> None:
    """Write a note below the panels, where constrained layout keeps room for it."""
    lines = textwrap.fill(text.replace(" %", "\u00a0%"), int(NOTE_CHARACTERS * figure.get_figwidth()), break_on_hyphens=False)
    figure.supxlabel(lines, fontsize=6.8, color="#5b606a", x=0.01, ha="left")


def reference_lines(axis: Axes, levels: dict[str, float], *, stretch: float = 2.0) -> None:
    """Draw levels as labelled lines; one that would flatten the data is named at the edge instead.

    Args:
        axis: axis with the data already drawn.
        levels: system -> value on the y axis.
        stretch: largest factor by which lines may lengthen the y range.
    """
    low, high = axis.get_ylim()
    centre, reach = (low + high) / 2, (high - low) * (stretch - 0.5)
    inside = {k: v for k, v in levels.items() if abs(v - centre) <= reach}
    low, high = min([low, *inside.values()]), max([high, *inside.values()])
    margin = 0.09 * (high - low)
    axis.set_ylim(low - margin, high + margin)
    for name, value in inside.items():
        axis.axhline(value, color=COLOURS.get(name, INK), linestyle=DASHES.get(name, "--"), linewidth=1.0, zorder=1)
    _name_lines(axis, inside)
    _name_outside(axis, {k: v for k, v in levels.items() if k not in inside}, centre)


def _name_lines(axis: Axes, inside: dict[str, float]) -> None:
    end_labels(axis, [(value, f"{SYSTEMS.get(name, name)} {value:.2f}", COLOURS.get(name, INK)) for name, value in inside.items()])


def end_labels(axis: Axes, lines: Sequence[tuple[float, str, str]], *, size: float = 6.8) -> None:
    """Write names to the right of the frame, each at its line's height or as near as keeps names apart.

    Args:
        axis: axis whose limits are final.
        lines: y in data units, text and colour of each name.
        size: type size, points.
    """
    figure = axis.get_figure()
    assert figure is not None, "an axis without a figure has no height"
    line_height = 1.15 * size / 72 * figure.dpi / axis.get_window_extent().height
    to_axes = axis.transData + axis.transAxes.inverted()
    places = spread([float(to_axes.transform((axis.get_xlim()[0], y))[1]) for y, _, _ in lines], line_height, top=1.0)
    for (_, text, colour), place in zip(lines, places, strict=True):
        axis.annotate(text, (1.0, place), xycoords="axes fraction", xytext=(3, 0), textcoords="offset points",
                      fontsize=size, color=colour, va="center", annotation_clip=False)  # fmt: skip


def spread(values: Sequence[float], gap: float, top: float = np.inf) -> list[float]:
    """Move values as little as keeps neighbours at least `gap` apart, in their order.

    Args:
        values: places in any order.
        gap: smallest distance wanted.
        top: place that none may exceed.

    Returns:
        The moved places, in the order given.
    """
    order = np.argsort(values, kind="stable")
    groups: list[list[float]] = []  # places of each group less their rank times the gap: within a group all share one mean
    for rank, index in enumerate(order):
        groups.append([values[index] - rank * gap])
        while len(groups) > 1 and np.mean(groups[-2]) > np.mean(groups[-1]):
            groups[-2:] = [groups[-2] + groups[-1]]
    means = [float(np.mean(group)) for group in groups for _ in group]
    moved = np.empty(len(means))
    rooms = top - gap * np.arange(len(means))[::-1]
    moved[order] = np.minimum([mean + rank * gap for rank, mean in enumerate(means)], rooms)
    return [float(place) for place in moved]


def _name_outside(axis: Axes, outside: dict[str, float], centre: float) -> None:
    names = [f"{SYSTEMS.get(k, k)} {v:.2f} {'↑' if v > centre else '↓'}" for k, v in outside.items()]
    if names:  # above the frame, where no data can be
        place: Any = {"transform": axis.transAxes, "ha": "right", "va": "bottom"}
        axis.text(1.0, 1.02, f"off scale: {', '.join(names)}", fontsize=6.8, color="#5b606a", **place)


def shortened(text: str, most: int) -> str:
    """Cut a long name in its middle, where names of one corpus differ least."""
    keep = (most - 1) // 2
    return text if len(text) <= most else f"{text[: most - 1 - keep]}…{text[-keep:]}"


def plain_log(axis: XAxis | YAxis) -> None:
    """Write a log axis, its limits final, with plain numbers: at 1, 2 and 5 of each power of ten, or fewer or more as its range asks."""
    low, high = sorted(axis.get_view_interval())
    subs = (1.0, 2.0, 5.0) if high < WIDE * low else (1.0,)
    axis.set_major_locator(LogLocator(subs=subs) if high > NARROW * low else MaxNLocator(5, steps=[1, 2, 5, 10]))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


Box = tuple[float, float, float, float]


def label_points(axis: Axes, points: Sequence[tuple[float, float, str, str]], others: Sequence[tuple[float, float]] = ()) -> None:
    """Write a name beside each point, where it covers no other name and no point.

    Args:
        axis: axis whose limits are final.
        points: x, y, text and colour of each label.
        others: x, y of points without a label, which no label may cover.
    """
    figure = axis.get_figure()
    assert figure is not None, "an axis without a figure has no display coordinates"
    figure.canvas.draw()  # the transform is final only after the layout has run
    dots = axis.transData.transform([*((x, y) for x, y, _, _ in points), *others])
    taken = np.concatenate([dots - 6, dots + 6], axis=1)  # left, bottom, right, top of what no label may cover
    for (x, y, text, colour), dot in zip(points, dots, strict=False):
        note = axis.annotate(text, (x, y), xytext=(0, 0), textcoords="offset points", fontsize=6.8, color=colour, va="center", ha="center")
        size = note.get_window_extent()
        width, height = size.width + 3, size.height + 1
        frame = axis.get_window_extent()
        offset = min(_offsets(width, height), key=lambda o: _clash(_box(dot, o, width, height), taken, frame))
        taken = np.vstack([taken, _box(dot, offset, width, height)])
        scale = 72 / figure.dpi
        note.set_position((offset[0] * scale, offset[1] * scale))
        if abs(offset[1]) > 1.6 * height or abs(offset[0]) > width / 2 + 12:
            _leader(axis, (x, y), offset, scale, height)


def _leader(axis: Axes, point: tuple[float, float], offset: tuple[float, float], scale: float, height: float) -> None:
    end = (offset[0] * scale, (offset[1] - np.sign(offset[1]) * height / 2) * scale)
    arrow = {"arrowstyle": "-", "color": FAINT, "linewidth": 0.5, "shrinkA": 0, "shrinkB": 3}
    axis.annotate("", point, xytext=end, textcoords="offset points", arrowprops=arrow)


def _offsets(width: float, height: float) -> list[tuple[float, float]]:
    near = [(width / 2 + 8, 0.0), (0.0, height + 2), (0.0, -height - 2), (-width / 2 - 8, 0.0)]
    near += [(sx * (width / 2 + 4), sy * height * 0.8) for sx in (1, -1) for sy in (1, -1)]
    return near + [(sx * width / 2, sy * height * k) for k in (1.1, 1.8, 2.6, 3.4, 4.4) for sx in (1, -1, 0) for sy in (1, -1)]


def _box(dot: Any, offset: tuple[float, float], width: float, height: float) -> Box:
    x, y = dot[0] + offset[0], dot[1] + offset[1]
    return x - width / 2, y - height / 2, x + width / 2, y + height / 2


def _clash(box: Box, taken: Any, frame: Any) -> float:
    wide = np.minimum(box[2], taken[:, 2]) - np.maximum(box[0], taken[:, 0])
    high = np.minimum(box[3], taken[:, 3]) - np.maximum(box[1], taken[:, 1])
    area = float((np.maximum(wide, 0) * np.maximum(high, 0)).sum())
    outside = max(0.0, frame.x0 - box[0]) + max(0.0, box[2] - frame.x1) + max(0.0, frame.y0 - box[1]) + max(0.0, box[3] - frame.y1)
    return float(area + 40 * outside)

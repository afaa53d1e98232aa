"""The points of a sweep as an experiment: which of them compare the levels of an axis fairly, and contrasts between them.

A level's effect is a contrast of run means over *complete blocks*: settings of the other axes that were run with every level of the
axes in question. So a full grid uses all its points, a star of single changes the line through its centre, and a gap takes out its
block and nothing else; a level that stands alone is left out and named. Intervals are those of `stats`: seeds nested in points,
speakers crossed.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.cells import Cell, Codes, build_cell, by_cell
from analysis.choose import STUDENT_STEPS, point_axes, prefer_copy
from analysis.pairs import shared_utterances
from analysis.settings import as_text
from analysis.stats import Interval, interval
from analysis.table import ResultsError, current_protocol

MOST_LEVELS = 12
"""Most levels of an axis among which those are sought that can be compared, where not all can."""


@dataclass(frozen=True)
class Design:
    """The points of one system in one metric.

    Attributes:
        cell: all runs, one stratum a point.
        points: one row per point, in the order of the strata: signature and the axes that vary, as text.
        axes: the columns that vary between the points.
        lacking: clips left out, because some run has no value of them.
    """

    cell: Cell
    points: pd.DataFrame
    axes: list[str]
    lacking: int = 0


@dataclass(frozen=True)
class Blocks:
    """The points that compare the levels of some axes fairly.

    Attributes:
        levels: the combinations of levels compared, in order.
        level: place in `levels` of each point, -1 for those outside complete blocks.
        block: block of each point, -1 likewise.
        count: complete blocks.
        dropped: levels that are not compared, for no settings of the other axes have them beside the rest.
    """

    levels: list[tuple[str, ...]]
    level: Codes
    block: Codes
    count: int
    dropped: tuple[str, ...] = ()


def design(table: pd.DataFrame, metric: str, *, system: str = "student", steps: int | None = None) -> Design:
    """Arrange the points of one system, on the clips that all of them have.

    Args:
        table: tidy table; the newest protocol is used, low-band copy where there is one.
        metric: metric to explain.
        system: system whose points are compared.
        steps: its step count; the student's single step, another system's most where None.

    Raises:
        ResultsError: the system has no such records, or no clip that all of its runs have.
    """
    current = current_protocol(table)
    rows = prefer_copy(current[(current["metric"] == metric) & (current["system"] == system)])
    wanted = steps if steps is not None or rows.empty else STUDENT_STEPS if system == "student" else int(rows["steps"].max())
    rows = rows[(rows["steps"] == wanted) & np.isfinite(rows["value"].to_numpy(dtype=float))]
    if rows.empty:
        version = current["protocol"].max() if len(current) else "none"
        at = "" if wanted is None else f" at {wanted} step{'s' * (wanted != 1)}"
        raise ResultsError(f"No records of {metric} for {system}{at} in protocol {version}: evaluate the points, or name another metric")
    (shared,) = shared_utterances(rows)
    if shared.empty:
        raise ResultsError(f"No clip has {metric} in all runs of {system}: evaluate the runs that lack some (`missing` of the results)")
    cell = build_cell(next(by_cell(shared, ["metric"]))[1])
    first = shared.drop_duplicates("signature").sort_values("signature", ignore_index=True)
    axes = point_axes(shared, system)
    lacking = rows["utterance"].nunique() - shared["utterance"].nunique()
    return Design(cell, first[["signature"]].astype(str).join(as_text(first[axes])), axes, lacking)


def blocks(plan: Design, axes: Sequence[str]) -> Blocks:
    """Find the complete blocks for some axes: of all levels if half of the points are in some, else of the levels that use most points.

    Args:
        plan: points.
        axes: one column or two.
    """
    rest = [axis for axis in plan.axes if axis not in axes]
    found = [tuple(row) for row in plan.points[list(axes)].to_numpy().tolist()]
    mix = (plan.points[rest].agg("|".join, axis=1) if rest else pd.Series("", index=plan.points.index)).tolist()
    have: dict[str, set[tuple[str, ...]]] = {}
    for key, level in zip(mix, found, strict=True):
        have.setdefault(key, set()).add(level)
    every = [sorted(set(column), key=rank) for column in zip(*found, strict=True)]
    kept = _levels(every, have, len(found))
    levels = list(itertools.product(*kept))
    wanted = set(levels)
    complete = {key: number for number, key in enumerate(sorted(k for k, own in have.items() if wanted <= own))}
    place = {level: number for number, level in enumerate(levels)}
    inside = [key in complete and level in place for key, level in zip(mix, found, strict=True)]
    block = np.array([complete[key] if own else -1 for key, own in zip(mix, inside, strict=True)], np.int64)
    at = np.array([place[level] if own else -1 for level, own in zip(found, inside, strict=True)], np.int64)
    dropped = [value for values, chosen in zip(every, kept, strict=True) for value in values if value not in chosen]
    return Blocks(levels, at, block, len(complete), tuple(dropped))


def _levels(every: list[list[str]], have: dict[str, set[tuple[str, ...]]], points: int) -> list[list[str]]:
    """Choose the levels of each axis to compare, the most frequent ones first, such that most points are in complete blocks."""
    if math.prod(map(len, every)) <= points and 2 * _inside(every, have) >= points:
        return every
    mixes = [Counter(value for own in have.values() for value in {level[i] for level in own}) for i in range(len(every))]
    often = [sorted(values, key=lambda v: (-count[v], rank(v)))[:MOST_LEVELS] for values, count in zip(every, mixes, strict=True)]
    sizes = itertools.product(*(range(2, len(values) + 1) for values in often))
    choices = [[values[:size] for values, size in zip(often, chosen, strict=True)] for chosen in sizes]
    best = max(choices, key=lambda choice: (_inside(choice, have), math.prod(map(len, choice))), default=every)
    return [sorted(values, key=rank) for values in best] if _inside(best, have) else every


def _inside(levels: list[list[str]], have: dict[str, set[tuple[str, ...]]]) -> int:
    """Return how many points complete blocks of these levels hold."""
    size = math.prod(map(len, levels))
    if size > max(map(len, have.values()), default=0):
        return 0
    wanted = set(itertools.product(*levels))
    return size * sum(wanted <= own for own in have.values())


def rank(value: str) -> tuple[int, float, str]:
    """Return the order of levels: numbers by size, then lists by length, then words."""
    try:
        number = float(value)
        return (0, number, "") if number == number else (2, 0.0, value)  # noqa: PLR0124  # NaN has no place among numbers
    except ValueError:
        return (1, value.count(","), value) if value.startswith("[") else (2, 0.0, value)


def contrast(plan: Design, chosen: Blocks, weights: Mapping[int, float], *, seed: int = 0) -> Interval:
    """Estimate a weighted sum of level means over complete blocks.

    Args:
        plan: points.
        chosen: blocks.
        weights: weight of each level, by its place in `chosen.levels`.
        seed: seed of the bootstrap.
    """
    of_point = np.array([weights.get(int(level), 0.0) for level in chosen.level])
    twins = pd.Series(1).reindex(range(len(of_point))).groupby([chosen.level, chosen.block]).transform("size").to_numpy()
    of_point = of_point / (chosen.count * twins)
    cell, used = plan.cell, np.flatnonzero(of_point)
    own = np.isin(cell.strata, used)
    runs = np.bincount(cell.strata)
    strata = np.searchsorted(used, cell.strata[own])
    part = Cell(
        cell.sums[own], cell.counts[own], (of_point / runs)[cell.strata[own]], strata.astype(np.int64), cell.trained[own], cell.unit
    )
    return interval(part, seed=seed, method="t")

"""What each axis of a sweep does to a metric: main effects, pairwise interactions, and where an axis is flat."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from analysis.anova import interaction
from analysis.design import Blocks, Design, blocks, contrast, design
from analysis.multiple import ALPHA, holm
from analysis.names import metric as describe
from analysis.stats import Interval
from analysis.table import ResultsError

MOST_NAMED = 5
MAIN = ("axis", "level", "mean", "low", "high", "effect", "effect_low", "effect_high", "p")


def main_effects(
    table: pd.DataFrame, metric: str, axes: Sequence[str] | None = None, *, system: str = "student", steps: int | None = None
) -> pd.DataFrame:
    """Estimate the mean of every level of every axis, and how far it lies from the mean of the levels.

    Args:
        table: tidy table.
        metric: metric to explain.
        axes: "config.<dotted key>" columns; all that vary where None.
        system: system whose points are compared.
        steps: its step count; the student's single step, another system's most where None.

    Returns:
        Columns axis, level, mean, low, high, effect, effect_low, effect_high, p, p_holm (over all rows), blocks, seeds, speakers, warning.
        Axes no two levels of which were run with the same other settings are left out; levels and clips that had to be left out are named
        in `warning`. With one seed a point p is NaN: how much chance
        alone moves a training is not known, and intervals are over speakers alone.

    Raises:
        ResultsError: the system has no such records, or an axis does not vary between its points.
    """
    plan, rows = design(table, metric, system=system, steps=steps), []
    _need_axes(plan, axes or plan.axes, system)
    for axis in axes or plan.axes:
        chosen = blocks(plan, [axis])
        if not chosen.count or len(chosen.levels) < 2:
            continue
        share = 1 / len(chosen.levels)
        for number, (level,) in enumerate(chosen.levels):
            mean = contrast(plan, chosen, {number: 1.0})
            effect = contrast(plan, chosen, {k: (k == number) - share for k in range(len(chosen.levels))})
            rows.append({
                "axis": axis.removeprefix("config."), "level": level, "mean": mean.mean, "low": mean.low, "high": mean.high,
                "effect": effect.mean, "effect_low": effect.low, "effect_high": effect.high, "p": tested(effect),
                "blocks": chosen.count, "seeds": effect.seeds, "speakers": mean.speakers, "warning": _warning(plan, chosen, effect),
            })  # fmt: skip
    frame = pd.DataFrame(rows, columns=[*MAIN, "blocks", "seeds", "speakers", "warning"])
    frame.insert(frame.columns.get_loc("p") + 1, "p_holm", holm(frame["p"]))
    return frame


def tested(found: Interval) -> float:
    """Return the p-value of an effect, NaN where a point has one seed: its speakers alone would make chance look like an effect."""
    return found.p if found.seeds != 1 else float("nan")


def _warning(plan: Design, chosen: Blocks, effect: Interval) -> str:
    parts = [effect.warning]
    if chosen.dropped:
        parts.append(f"not compared: {', '.join(chosen.dropped[:MOST_NAMED])}{' ...' * (len(chosen.dropped) > MOST_NAMED)}")
    if plan.lacking:
        parts.append(f"{plan.lacking} clips left out that some run lacks")
    return "; ".join(filter(None, parts))


def _need_axes(plan: Design, axes: Sequence[str], system: str) -> None:
    unknown = ", ".join(axis for axis in axes if axis not in plan.axes)
    if unknown:
        known = ", ".join(plan.axes) or "none, for none varies"
        raise ResultsError(f"{unknown} does not vary between the points of {system}: choose of {known}")


def interactions(
    table: pd.DataFrame, metric: str, first: str, second: str, *, system: str = "student", steps: int | None = None
) -> pd.DataFrame:
    """Estimate for each pair of levels of two axes its mean, and how far that lies from the sum of the two main effects.

    Args:
        table: tidy table.
        metric: metric to explain.
        first: "config.<dotted key>" column.
        second: another.
        system: system whose points are compared.
        steps: its step count; the student's single step, another system's most where None.

    Returns:
        Columns first, second (levels), mean, low, high, effect, effect_low, effect_high, p, p_holm (both as in `main_effects`), blocks,
        warning.

    Raises:
        ResultsError: an axis does not vary, or no settings of the other axes have every pair of levels.
    """
    plan = design(table, metric, system=system, steps=steps)
    _need_axes(plan, [first, second], system)
    if first == second:
        raise ResultsError(f"{first} is given twice: choose two of {', '.join(plan.axes)}")
    chosen = blocks(plan, [first, second])
    if not chosen.count:
        raise ResultsError(f"{first} and {second} form no grid: no settings of the other axes were run with every pair of their levels")
    shape = [len({level[i] for level in chosen.levels}) for i in (0, 1)]
    rows = []
    for number, (one, other) in enumerate(chosen.levels):
        picked = np.zeros(shape).ravel()
        picked[number] = 1
        weights = dict(enumerate(interaction(picked.reshape(shape)).ravel().tolist()))
        mean, effect = contrast(plan, chosen, {number: 1.0}), contrast(plan, chosen, weights)
        ends = [mean.mean, mean.low, mean.high, effect.mean, effect.low, effect.high]
        rows.append([one, other, *ends, tested(effect), chosen.count, _warning(plan, chosen, effect)])
    columns = ["first", "second", "mean", "low", "high", "effect", "effect_low", "effect_high", "p", "blocks", "warning"]
    frame = pd.DataFrame(rows, columns=columns)
    frame.insert(columns.index("p") + 1, "p_holm", holm(frame["p"]))
    return frame


def flat_region(
    table: pd.DataFrame, metric: str, axis: str, *, system: str = "student", steps: int | None = None, alpha: float = ALPHA
) -> pd.DataFrame:
    """Compare every level of an axis with its best one: where none is clearly worse, the axis is flat.

    Args:
        table: tidy table.
        metric: metric to judge by.
        axis: "config.<dotted key>" column.
        system: system whose points are compared.
        steps: its step count; the student's single step, another system's most where None.
        alpha: chance that any level is called worse where all are equal: Holm over all pairs of levels, since the best is found among
            them.

    Returns:
        Columns level, mean, low, high, worse (by how much than the best, in the metric's unit), worse_low, worse_high, p, p_holm, best,
        flat (the best level and those not clearly worse; NA where a point has one seed, which tells no difference from chance).
        Not clearly worse is no proof of being as good: look at worse_high.

    Raises:
        ResultsError: the axis does not vary, no settings of the other axes have every level, or the metric has a target instead of a
            direction.
    """
    if describe(metric).better == "target":
        raise ResultsError(f"{metric} is best at a target: its levels are not better or worse by a difference. Choose another metric")
    plan = design(table, metric, system=system, steps=steps)
    chosen = blocks(plan, [axis]) if axis in plan.axes else None
    if chosen is None or not chosen.count:
        raise ResultsError(f"The levels of {axis} cannot be compared: it does not vary, or no settings of the others have every level")
    means = [contrast(plan, chosen, {k: 1.0}) for k in range(len(chosen.levels))]
    best = int(np.argmin([describe(metric).cost(m.mean) for m in means]))
    sign = -1.0 if describe(metric).better == "higher" else 1.0
    same = Interval(0.0, 0.0, 0.0, 0, 0, "none")
    worse = [contrast(plan, chosen, {k: sign, best: -sign}) if k != best else same for k in range(len(means))]
    levels = [level for (level,) in chosen.levels]
    rows = [[level, m.mean, m.low, m.high, w.mean, w.low, w.high, tested(w)] for level, m, w in zip(levels, means, worse, strict=True)]
    frame = pd.DataFrame(rows, columns=["level", "mean", "low", "high", "worse", "worse_low", "worse_high", "p"])
    pairs = len(means) * (len(means) - 1) // 2
    frame["p_holm"] = holm([*frame["p"], *[1.0] * (pairs - len(means) + 1)])[: len(means)]
    flat = [None if any(w.seeds == 1 for w in worse) else not p < alpha for p in frame["p_holm"]]
    return frame.assign(best=np.arange(len(frame)) == best, flat=pd.Series(flat, dtype="boolean"))

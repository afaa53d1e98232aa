"""Which axes of a sweep matter, and which act together: analysis of variance of the points."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats as scipy_stats

from analysis.cells import Array, Codes
from analysis.design import Blocks, Design, blocks, design
from analysis.multiple import holm
from analysis.names import metric as describe
from analysis.stats import run_means


def axis_table(table: pd.DataFrame, metric: str, *, system: str = "student", steps: int | None = None) -> pd.DataFrame:
    """Rank the axes and their pairs by how much of the variation between points they explain.

    Args:
        table: tidy table.
        metric: metric to explain.
        system: system whose points are compared.
        steps: its step count; the student's single step, another system's most where None.

    Returns:
        One row per axis and per pair: axis (pairs as "a x b"), levels, blocks, best (level with the best mean, "" for pairs), spread (its
        distance from the worst, in the metric's unit), eta2 (share of the sum of squares between the points of the blocks), f, p, p_holm,
        error ("seeds", or "blocks" where no point has two), largest first. The F test takes the test set as given.

    Raises:
        ResultsError: the system has no such records.

    Source: Montgomery, "Design and Analysis of Experiments", chapter 5; unweighted means where seeds differ in number.
    """
    plan = design(table, metric, system=system, steps=steps)
    rows = [row for axis in plan.axes if (row := _anova(plan, [axis], metric))]
    rows += [row for pair in itertools.combinations(plan.axes, 2) if (row := _anova(plan, list(pair), metric))]
    columns = ["axis", "levels", "blocks", "best", "spread", "eta2", "f", "p", "error"]
    frame = pd.DataFrame(rows, columns=columns).sort_values("eta2", ascending=False, ignore_index=True)
    frame.insert(columns.index("p") + 1, "p_holm", holm(frame["p"]))
    return frame


def _anova(plan: Design, axes: list[str], metric: str) -> dict[str, Any] | None:
    """Return the test of one axis, or of the interaction of two, over complete blocks."""
    chosen = blocks(plan, axes)
    if not chosen.count or len(chosen.levels) < 2:
        return None
    means, runs = _point_means(plan)
    grid = _grid(chosen, means)
    shape = [len({level[i] for level in chosen.levels}) for i in range(len(axes))]
    effect = interaction(grid.mean(1).reshape(shape))
    squares, df = float((effect**2).sum()) * chosen.count, math.prod(n - 1 for n in shape)
    total = float(((grid - grid.mean()) ** 2).sum())
    error, error_df, name = _error(plan, chosen, means, runs, grid)
    f = squares / df / error if error > 0 and df else float("nan")
    cost = [describe(metric).cost(v) for v in grid.mean(1)]
    best, worst = int(np.argmin(cost)), int(np.argmax(cost))
    single = len(axes) == 1
    return {
        "axis": " x ".join(a.removeprefix("config.") for a in axes), "levels": len(chosen.levels), "blocks": chosen.count,
        "best": chosen.levels[best][0] if single else "",
        "spread": abs(float(grid.mean(1)[best] - grid.mean(1)[worst])) if single else float(effect.max() - effect.min()),
        "eta2": squares / total if total else 0.0, "f": f, "p": float(scipy_stats.f.sf(f, df, error_df)), "error": name,
    }  # fmt: skip


def _grid(chosen: Blocks, means: Array) -> Array:
    """Arrange the points' means by level and block, [levels, blocks]; points that agree in both are averaged."""
    inside, shape = chosen.block >= 0, (len(chosen.levels), chosen.count)
    places = np.ravel_multi_index((chosen.level[inside], chosen.block[inside]), shape)
    size = math.prod(shape)
    grid = np.bincount(places, means[inside], size) / np.maximum(np.bincount(places, minlength=size), 1)
    return np.asarray(grid.reshape(shape), float)


def interaction(means: Array) -> Array:
    """Return what is left of a table of means [a] or [a, b] when the means of its rows and columns are taken away."""
    if means.ndim == 1:
        return np.asarray(means - means.mean(), float)
    return np.asarray(means - means.mean(0, keepdims=True) - means.mean(1, keepdims=True) + means.mean(), float)


def _point_means(plan: Design) -> tuple[Array, Codes]:
    runs = np.bincount(plan.cell.strata)
    return np.asarray(np.bincount(plan.cell.strata, run_means(plan.cell)) / runs, float), runs


def _error(plan: Design, chosen: Blocks, means: Array, runs: Codes, grid: Array) -> tuple[float, float, str]:
    """Return the mean square that chance alone gives a point's mean, its degrees of freedom, and what it was taken from."""
    inside = chosen.block >= 0
    again = int((runs[inside] - 1).sum())
    if again:
        own = inside[plan.cell.strata]
        off = (run_means(plan.cell) - means[plan.cell.strata])[own]
        harmonic = float(inside.sum() / (1 / runs[inside]).sum())
        return float((off**2).sum()) / again / harmonic, again, "seeds"
    rest = grid - grid.mean(0, keepdims=True) - grid.mean(1, keepdims=True) + grid.mean()
    df = (grid.shape[0] - 1) * (grid.shape[1] - 1)
    return (float((rest**2).sum()) / df if df else 0.0), df, "blocks"

"""Differences and ratios of two systems on the same utterances, with 95 % intervals."""

from __future__ import annotations

import numpy as np
import pandas as pd

from analysis.stats import Cell, Interval, build_cell, by_cell, interval, run_means


def paired_difference(table: pd.DataFrame, baseline: pd.DataFrame, *, seed: int = 0) -> Interval:
    """Estimate how much one system exceeds another on the same utterances.

    Args:
        table: rows of one system and one metric.
        baseline: rows of the other system, same metric and protocol; its seeds are its own. Rows of the same runs (two
            step counts of one network) are paired run by run instead.
        seed: seed of the bootstrap.

    Returns:
        Mean of table - baseline over the utterances both have; NaN where they share none.

    Raises:
        ValueError: the two mix metrics or protocol versions.
    """
    for name in ("metric", "protocol"):
        found = sorted({str(v) for part in (table, baseline) for v in part[name].unique()})
        if len(found) > 1:
            raise ValueError(f"paired_difference compares one {name}, got {', '.join(found)}: select one before comparing")
    table, baseline = shared_utterances(table, baseline)
    if table.empty:
        return Interval(np.nan, np.nan, np.nan, 0, 0, "none", "no utterance in common")
    if _runs(table) == _runs(baseline):
        return interval(build_cell(next(by_cell(_run_by_run(table, baseline), ["metric"]))[1]), seed=seed)
    sides = [part.assign(side=i) for i, part in enumerate((table, baseline))]
    cells = [build_cell(part, sign) for (_, part), sign in zip(by_cell(pd.concat(sides), ["side"]), (1.0, -1.0), strict=True)]
    return interval(_join(*cells), seed=seed)


def paired_ratio(table: pd.DataFrame, baseline: pd.DataFrame, *, seed: int = 0) -> Interval:
    """Estimate the ratio of two systems' means on the same utterances, as `paired_difference` does their difference.

    Args:
        table: rows of one system and one metric with positive values.
        baseline: rows of the other system.
        seed: seed of the bootstrap.

    Returns:
        Mean of table / mean of baseline, with the interval of the linearised ratio; NaN where they share no utterance.

    Raises:
        ValueError: the two mix metrics or protocol versions.

    Source: Cochran, "Sampling Techniques" (1977), section 6.3: R = a/b has the spread of (a - R b)/mean(b).
    """
    table, baseline = shared_utterances(table, baseline)
    if table.empty:
        return paired_difference(table, baseline, seed=seed)
    above, below = (run_mean(part) for part in (table, baseline))
    rest = paired_difference(table, baseline.assign(value=baseline["value"] * above / below), seed=seed)
    mean, low, high = (above / below + end / below for end in (rest.mean, rest.low, rest.high))
    return Interval(mean, low, high, rest.speakers, rest.seeds, rest.method, rest.warning)


def run_mean(table: pd.DataFrame) -> float:
    """Return the mean over configurations and runs of the mean over utterances; NaN where nothing is finite.

    Args:
        table: rows of one metric.
    """
    cell = next((build_cell(part) for _, part in by_cell(table, ["metric"])), None)
    return float(cell.weights @ run_means(cell)) if cell else float("nan")


def shared_utterances(table: pd.DataFrame, baseline: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Keep the rows of the utterances for which both sides have a finite value."""
    common = _finite_utterances(table) & _finite_utterances(baseline)
    return table[table["utterance"].isin(common)], baseline[baseline["utterance"].isin(common)]


def _runs(table: pd.DataFrame) -> set[tuple[str, int]]:
    return set(zip(table["signature"].astype(str), table["seed"], strict=True))


def _run_by_run(table: pd.DataFrame, baseline: pd.DataFrame) -> pd.DataFrame:
    keys = ["signature", "seed", "utterance"]
    both = table.merge(baseline[[*keys, "value"]], on=keys, suffixes=("", "_other"))
    return both.assign(value=both["value"] - both["value_other"])


def _finite_utterances(table: pd.DataFrame) -> set[str]:
    return set(table["utterance"][np.isfinite(table["value"].to_numpy())].astype(str))


def _join(first: Cell, second: Cell) -> Cell:
    return Cell(
        np.concatenate([first.sums, second.sums]), np.concatenate([first.counts, second.counts]),
        np.concatenate([first.weights, second.weights]), np.concatenate([first.strata, second.strata + first.strata.max() + 1]),
        np.concatenate([first.trained, second.trained]), first.unit,
    )  # fmt: skip

"""How often one system beats another, and how often a system is at least so good: statistics of order, not of means."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from analysis.cells import SEEDLESS, Cell, build_cell, by_cell, cluster_column
from analysis.names import metric as describe
from analysis.pairs import check_sides, shared_utterances
from analysis.stats import ROUNDING, Interval, interval

PROFILE_POINTS = 60


def probability_of_improvement(table: pd.DataFrame, baseline: pd.DataFrame, *, seed: int = 0) -> Interval:
    """Estimate how probable it is that a run of one system beats a run of another on the same utterance; a tie counts half.

    Args:
        table: rows of one system and one metric.
        baseline: rows of the other system.
        seed: seed of the bootstrap.

    Returns:
        Mean over the utterances that all runs have of the share of pairs of runs in which `table` is better, 0 to 1, with its interval;
        its p tests against 0.5. Where seeds vary more than clips do, the interval of three seeds covers 85 to 90 %.

    Raises:
        ResultsError: as `paired_difference`.

    Source: Agarwal et al. (2021), section 4.2 (Mann & Whitney 1947); the spread is that of its Hajek projection: each run of either
    side by its own win rate, and each speaker.
    """
    check_sides("probability_of_improvement", table, baseline)
    table, baseline = shared_utterances(table, baseline)
    if table.empty:
        return Interval(np.nan, np.nan, np.nan, 0, 0, "none", "no utterance that all runs have")
    about = describe(str(table["metric"].iloc[0]))
    ours, theirs = (part.assign(value=[about.cost(v) for v in part["value"]]) for part in (table, baseline))
    found = interval(_win_rates(ours, theirs), seed=seed, method="t")
    runs = [len(part[["signature", "seed"]].drop_duplicates()) for part, own in ((ours, table), (theirs, baseline)) if _seeded(own)]
    low, high = bounds_of_share(found, min((n for n in runs if n > 1), default=found.speakers))
    return replace(found, low=low, high=high, null=0.5)  # of one seed the interval is over clips alone, as everywhere


def _seeded(table: pd.DataFrame) -> bool:
    return not table["system"].isin(SEEDLESS).all()


def bounds_of_share(found: Interval, trials: int | None = None) -> tuple[float, float]:
    """Return the interval of a share, within 0 to 1; where all agree, that of as many independent trials as there are speakers or seeds.

    Args:
        found: a mean of values of 0 to 1.
        trials: independent trials behind it, if these are fewer than the speakers.

    Source: Clopper & Pearson (1934), for shares of exactly 0 or 1, whose spread cannot be estimated.
    """
    if found.se > ROUNDING or not np.isfinite(found.se):
        return max(found.low, 0.0), min(found.high, 1.0)
    reach = 1 - 0.025 ** (1 / max(min(found.speakers, trials or found.speakers), 1))
    return max(found.mean - reach, 0.0), min(found.mean + reach, 1.0)


def _win_rates(ours: pd.DataFrame, theirs: pd.DataFrame) -> Cell:
    """Arrange each run's wins over the other side's runs by utterance; the second block has no mean, only the spread of its seeds."""
    costs = [part.pivot_table(index=["signature", "seed"], columns="utterance", values="value", observed=True) for part in (ours, theirs)]
    x, y = (c.to_numpy()[:, None] if i == 0 else c.to_numpy()[None] for i, c in enumerate(costs))
    wins = np.where(np.isnan(x - y), np.nan, (x < y) + 0.5 * (x == y))
    first, second = np.nanmean(wins, axis=1), np.nanmean(wins, axis=0)
    blocks = [(ours, costs[0], first, 1.0), (theirs, costs[1], second - np.nanmean(second, axis=0), 0.0)]
    cells = [_block(part, cost, rate) for part, cost, rate, _ in blocks]
    return Cell(
        np.concatenate([c.sums for c in cells]), np.concatenate([c.counts for c in cells]), np.concatenate([c.weights for c in cells]),
        np.concatenate([cells[0].strata, cells[1].strata + cells[0].strata.max() + 1]), np.concatenate([c.trained for c in cells]),
        cells[0].unit,
    )  # fmt: skip


def _block(part: pd.DataFrame, cost: pd.DataFrame, rate: np.ndarray) -> Cell:
    """Make a cell of a side's win rates [runs, utterances]."""
    rates = pd.DataFrame(rate, index=cost.index, columns=cost.columns).stack().rename("value").reset_index()
    facts = part.drop_duplicates("utterance")[["utterance", "speaker"]]
    rows = rates.merge(facts, on="utterance").assign(system=str(part["system"].iloc[0]), metric="wins", protocol=0)
    if cluster_column(rows) != cluster_column(part):
        rows["speaker"] = part["speaker"].iloc[0]
    return build_cell(next(by_cell(rows, ["metric"]))[1])


def performance_profile(
    table: pd.DataFrame, by: Sequence[str] = ("system", "steps"), thresholds: Sequence[float] | None = None
) -> pd.DataFrame:
    """Say for each threshold which share of clips a system gets at least so well.

    Args:
        table: rows of one metric and one protocol.
        by: columns that tell the systems apart.
        thresholds: values of the metric; of its 1st to 99th percentile where None.

    Returns:
        The `by` columns, then threshold, share (0 to 1), low, high: pointwise 95 % intervals over speakers and seeds, clipped to 0 to 1.

    Raises:
        ValueError: the table mixes metrics.

    Source: Dolan & More (2002); Agarwal et al. (2021), section 4.3 (run-score distributions).
    """
    names = table["metric"].astype(str).unique()
    if len(names) != 1:
        raise ValueError(f"performance_profile shows one metric, got {', '.join(sorted(names)) or 'none'}: select one")
    finite = table[np.isfinite(table["value"].to_numpy(dtype=float))]
    levels = thresholds if thresholds is not None else _levels(finite["value"])
    cost = np.array([describe(names[0]).cost(v) for v in finite["value"]])
    rows = []
    for level in levels:
        reached = finite.assign(value=(cost <= describe(names[0]).cost(level)).astype(float))
        for key, part in by_cell(reached, list(by)):
            found = interval(build_cell(part), method="t")
            low, high = bounds_of_share(found)
            rows.append([*key, float(level), found.mean, low, high])
    return pd.DataFrame(rows, columns=[*by, "threshold", "share", "low", "high"])


def _levels(values: pd.Series) -> np.ndarray:
    low, high = np.quantile(values, [0.01, 0.99]) if len(values) else (0.0, 1.0)
    return np.linspace(low, high, PROFILE_POINTS)

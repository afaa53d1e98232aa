"""Interquartile means: what a typical clip gets, whatever a few broken ones do."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.cells import Array, Cell, build_cell, by_cell, cluster_column
from analysis.stats import Interval, caution, expanded_tail, interval

TRIM = 0.25
"""Share of the values left out at each end."""
CHUNK = 250
"""Resamples at a time: memory is resamples x values."""


def interquartile_mean(
    table: pd.DataFrame,
    by: Sequence[str] = ("system", "steps", "low_band_copy", "metric"),
    *,
    method: str = "t",
    seed: int = 0,
    resamples: int = 2000,
) -> pd.DataFrame:
    """Summarise a tidy table by interquartile means: of all runs' utterances, the mean of the middle half.

    Args:
        table: tidy table; values that are not finite are left out.
        by: columns that tell the cells apart.
        method: "t": the t interval of the winsorised values, speakers and seeds as in `summary`, which holds with few seeds; "bootstrap":
            percentiles of resampled speakers and, within each configuration, resampled seeds (stratified), for 10 seeds and more.
        seed: seed of the bootstrap.
        resamples: bootstrap resamples.

    Returns:
        The `by` columns, then mean, low, high, speakers, seeds, runs, utterances, method, warning.

    Source: Agarwal et al. (2021), "Deep RL at the Edge of the Statistical Precipice", for the statistic; Tukey & McLaughlin (1963) and
    Yuen (1974) for the t interval of a trimmed mean.
    """
    finite = table[np.isfinite(table["value"].to_numpy(dtype=float))]
    keys = [*by, "protocol"] if finite["protocol"].nunique() > 1 and "protocol" not in by else list(by)
    rows, clustered = [], cluster_column(finite)
    for key, part in finite.groupby(keys, observed=True, dropna=False):
        found, cell = _cell(part, method, seed, resamples, clustered)
        counts = {"runs": cell.sums.shape[0], "utterances": int(cell.counts.max(0).sum())}
        rows.append(dict(zip(keys, key if isinstance(key, tuple) else (key,), strict=True)) | vars(found) | counts)
    return pd.DataFrame(rows, columns=[*keys, "mean", "low", "high", "speakers", "seeds", "runs", "utterances", "method", "warning"])


def _cell(part: pd.DataFrame, method: str, seed: int, resamples: int, clustered: str) -> tuple[Interval, Cell]:
    values, weights = part["value"].to_numpy(dtype=float), _weights(part)
    cell = build_cell(next(by_cell(part.assign(value=pseudo_values(values, weights), all=0), ["all"], clustered))[1])
    found = interval(cell, method="t")
    if method == "t":
        return found, cell
    low, high = _bootstrap(part, values, weights, seed, resamples, clustered)
    return Interval(found.mean, low, high, found.speakers, found.seeds, "bootstrap", caution(cell), found.se, found.df), cell


def _weights(part: pd.DataFrame) -> Array:
    """Return the weight of each value: every configuration has the same, within it every run, within that every clip."""
    run = part.groupby(["signature", "seed"], observed=True)["value"].transform("size")
    runs = part["seed"].groupby(part["signature"], observed=True).transform("nunique")
    return np.asarray(1.0 / (run.to_numpy(float) * runs.to_numpy(float)), float)


def pseudo_values(values: Array, weights: Array | None = None, trim: float = TRIM) -> Array:
    """Return values whose mean is the trimmed mean and whose spread is its: the winsorised ones, stretched about it.

    Args:
        values: any order.
        weights: weight of each value; all alike where None.
        trim: share of the weight left out at each end, 0 to 0.5.
    """
    weights = np.ones_like(values) if weights is None else weights
    order = np.argsort(values, kind="stable")
    middle = (np.cumsum(weights[order]) - weights[order] / 2) / weights.sum()
    inside = np.clip(values, *np.interp([trim, 1 - trim], middle, values[order]))
    stretched = (inside - np.average(inside, weights=weights)) / (1 - 2 * trim)
    return np.asarray(trimmed_mean(values, weights, trim) + stretched, float)


def trimmed_mean(values: Array, weights: Array, trim: float = TRIM) -> float:
    """Return the weighted mean without the lowest and the highest share of the weight.

    Args:
        values: any order.
        weights: not negative, not all zero.
        trim: share of the weight left out at each end; a value on the edge counts with the part that is inside.
    """
    order = np.argsort(values, kind="stable")
    return float(_trimmed(values[order], weights[order][None], trim)[0])


def _trimmed(ordered: Array, weights: Array, trim: float) -> Array:
    """Return trimmed means for several sets of weights [sets, values] of sorted values."""
    above = np.cumsum(weights, axis=1)
    total = above[:, -1:]
    kept = np.clip(above, trim * total, (1 - trim) * total)
    shares = np.diff(kept, axis=1, prepend=trim * total)
    return np.asarray(shares @ ordered / shares.sum(1), float)


def _bootstrap(part: pd.DataFrame, values: Array, own: Array, seed: int, resamples: int, clustered: str) -> tuple[float, float]:
    generator = np.random.default_rng(seed)
    order = np.argsort(values, kind="stable")
    speaker, speakers = _codes(part[[clustered]], order)
    run, _ = _codes(part[["signature", "seed"]], order)
    stratum_of_run = pd.factorize(part["signature"])[0][order][np.unique(run, return_index=True)[1]]
    found = []
    for start in range(0, resamples, CHUNK):
        size = min(CHUNK, resamples - start)
        picks = generator.multinomial(speakers, np.full(speakers, 1 / speakers), size)
        weights = picks[:, speaker] * _shares(generator, stratum_of_run, size)[:, run]
        found.append(_trimmed(values[order], weights * own[order], TRIM))
    tail = expanded_tail(speakers, 0.95)
    low, high = np.nanquantile(np.concatenate(found), [tail, 1 - tail])
    return float(low), float(high)


def _codes(columns: pd.DataFrame, order: NDArray[np.int64]) -> tuple[NDArray[np.int64], int]:
    codes = columns.astype(str).groupby(list(columns.columns), observed=True).ngroup().to_numpy()[order]
    return codes, int(codes.max()) + 1


def _shares(generator: np.random.Generator, strata: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    """Draw runs with replacement within each stratum: how often each was drawn, [size, runs]."""
    drawn = np.empty((size, len(strata)), np.int64)
    for stratum in np.unique(strata):
        own = np.flatnonzero(strata == stratum)
        drawn[:, own] = generator.multinomial(own.size, np.full(own.size, 1 / own.size), size)
    return drawn

"""Means, differences and their 95 % intervals, for utterances clustered by speaker and runs repeated over seeds.

A cell of results is a matrix [runs, speakers]. Speakers are shared by all runs (crossed), seeds are nested in their
configuration (stratum). See `standard_error` for what follows from that, and for how many seeds and speakers it holds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats as scipy_stats

from analysis.cells import Array, Cell, build_cell, by_cell

MIN_SEEDS = 3
"""Fewer runs of a trained system than this give a warning: the spread over seeds is hardly known."""
MIN_SPEAKERS = 5
"""Fewer speakers than this give a warning: the interval is wide and rests on normality."""
ROUNDING = 1e-12
"""A difference or a spread below this is the rounding of floats."""
BOOTSTRAP_SPEAKERS = 20
"""From this many speakers on, the bootstrap of single runs covers 93 to 97 %; below it the t interval is used."""


@dataclass(frozen=True)
class Interval:
    """A mean with its 95 % interval; `low` and `high` are NaN where the data cannot give one.

    Attributes:
        mean: mean over runs of the mean over utterances.
        low: lower end.
        high: upper end.
        speakers: speakers behind it; 1 for a metric of the whole set.
        seeds: runs in the smallest trained stratum, 0 where nothing is trained.
        method: "t", "bootstrap", or "none".
        warning: what the interval does not cover, "" where nothing.
        se: standard error of the mean, NaN where the data cannot give one.
        df: its degrees of freedom.
        null: the value that stands for no difference: 0, or 1 for a ratio, 0.5 for a probability of improvement.
    """

    mean: float
    low: float
    high: float
    speakers: int
    seeds: int
    method: str
    warning: str = ""
    se: float = float("nan")
    df: float = float("nan")
    null: float = 0.0

    @property
    def p(self) -> float:
        """Return the two-sided p-value of the t test against no difference; NaN where there is no standard error."""
        if not np.isfinite(self.se):
            return float("nan")
        away = abs(self.mean - self.null)
        if away < ROUNDING:
            return 1.0
        return float(2 * student_tail(away / self.se, self.df)) if self.se > ROUNDING else 0.0

    @property
    def clear(self) -> bool:
        """Tell whether the interval excludes no difference."""
        return bool(self.low > self.null or self.high < self.null)


def interval(cell: Cell, *, seed: int = 0, resamples: int = 2000, level: float = 0.95, method: str = "auto") -> Interval:
    """Estimate a weighted mean of runs with its interval.

    Args:
        cell: sums and counts, [runs, speakers].
        seed: seed of the bootstrap.
        resamples: bootstrap resamples.
        level: coverage asked for, between 0 and 1.
        method: "t", "bootstrap", or "auto": bootstrap for one run per stratum and many speakers whom all runs have, t otherwise.

    Returns:
        The interval, with a warning where it rests on fewer seeds or speakers than stated in this module.
    """
    speakers = cell.sums.shape[1]
    plain = bool(np.bincount(cell.strata).max() == 1 and (cell.counts > 0).all() and effective_speakers(cell) >= BOOTSTRAP_SPEAKERS)
    chosen = ("bootstrap" if plain else "t") if method == "auto" else method
    mean = float(cell.weights @ run_means(cell))
    se, df = standard_error(cell)
    half = t_quantile(0.5 + level / 2, df) * se
    bounds = _bootstrap(cell, seed, resamples, level) if chosen == "bootstrap" else (mean - half, mean + half)
    known = bool(np.isfinite(bounds).all())
    unit = speakers if cell.unit == "speaker" else 1
    return Interval(mean, *bounds, unit, cell.seeds, chosen if known else "none", caution(cell), se, df)


@lru_cache(maxsize=4096)
def t_quantile(share: float, df: float) -> float:
    """Return the quantile of Student's t distribution."""
    return float(scipy_stats.t.ppf(share, df))


def student_tail(t: float, df: float) -> float:
    """Return the probability that Student's t exceeds a value."""
    return float(scipy_stats.t.sf(t, df))


def run_means(cell: Cell) -> Array:
    """Return each run's mean over utterances, [runs]."""
    return np.asarray(cell.sums.sum(1) / np.maximum(cell.counts.sum(1), 1), float)


def _deviations(cell: Cell) -> Array:
    """Return R [runs, speakers] with row means zero: what a speaker adds to its run's mean over utterances."""
    speakers = cell.sums.shape[1]
    per_utterance = speakers / np.maximum(cell.counts.sum(1, keepdims=True), 1)
    return np.asarray((cell.sums - cell.counts * run_means(cell)[:, None]) * per_utterance, float)


def standard_error(cell: Cell) -> tuple[float, float]:
    """Return the standard error of the weighted mean, sqrt(V), and its degrees of freedom.

    V is the sum of the parts that speakers, seeds and their interaction have in it, each estimated by its mean square and not below zero
    (Searle, Casella & McCulloch, "Variance Components", 1992, chapter 4). The quantile of the mean is the average of the parts' own t
    quantiles, weighted by their size (Cochran & Cox, "Experimental Designs", 1957, section 4.14); the degrees of freedom are those that
    have it. Speakers count by their clips: one with most of them leaves few to learn the spread from (effective number 1 / sum(share^2)).
    A trained configuration with one run is given the seed variance of those with more (pooled); where none has more, seeds are left out,
    of which a warning tells. In simulations of means and of paired differences this covers 94 to 98 % with 3 to 10 seeds and 8 to 20
    speakers, and up to 99 % (it is too wide) where the interaction is nearly all there is: no part is estimated below zero, so that
    what the two others are found to have by chance is added. With three seeds Satterthwaite's degrees of freedom cover down to 92 %, a
    percentile bootstrap down to 76 %.

    Args:
        cell: sums and counts, [runs, speakers].

    Returns:
        NaN, NaN where neither speakers nor seeds are repeated.
    """
    deviations, speakers = _deviations(cell), cell.sums.shape[1]
    between, within, runs = _seed_parts(cell, deviations)
    inner, again = float(within.sum()), runs > 1
    single = _pooled(cell, runs) if again.any() else 0.0
    parts = [(max(float(b - w), 0.0), float(n) - 1) for b, w, n in zip(between[again], within[again], runs[again], strict=True)]
    found = [(sum(v for v, _ in parts), _joint_df(between[again], runs[again] - 1.0))] if parts else []
    if single:
        found[0] = (found[0][0] + single, found[0][1])
    if speakers > 1:
        by_speaker, several = cell.weights @ deviations, max(effective_speakers(cell), 1.0 + 1e-9)
        variance = float(by_speaker @ by_speaker) / speakers**2 * several / (several - 1)
        found.append((max(variance - inner, 0.0), max(several - 1.0, 1.0)))
        found += [(inner, _joint_df(within[again], (runs[again] - 1.0) * (speakers - 1)))] if parts else []
    if not found:
        return float("nan"), float("nan")
    variance = sum(v for v, _ in found)
    return float(np.sqrt(variance)), _df_of_quantile([(v, df) for v, df in found if v > 0] or found[:1])


def effective_speakers(cell: Cell) -> float:
    """Return how many speakers of equal shares the clips are worth: 1 / sum(share^2)."""
    clips = cell.counts.sum(0)
    return float(clips.sum() ** 2 / (clips**2).sum()) if clips.any() else 0.0


def _pooled(cell: Cell, runs: NDArray[np.int64]) -> float:
    """Return the seed variance that trained configurations of one run have, taken from those of several."""
    means = run_means(cell)
    off = means - (np.bincount(cell.strata, means) / runs)[cell.strata]
    repeated = (runs > 1)[cell.strata] & cell.trained
    freedom = float((runs[np.unique(cell.strata[repeated])] - 1).sum()) if repeated.any() else 0.0
    alone = cell.weights[(runs == 1)[cell.strata] & cell.trained]
    return float((alone**2).sum() * (off[repeated] ** 2).sum() / freedom) if freedom and len(alone) else 0.0


def _joint_df(variances: Array, df: NDArray[np.floating[Any]]) -> float:
    """Return the degrees of freedom of a sum of like variances (Satterthwaite 1946)."""
    spread = float((variances**2 / df).sum())
    return float(variances.sum() ** 2 / spread) if spread > 0 else float(df.sum())


_DF = np.geomspace(1, 1e6, 4000)
_QUANTILES = scipy_stats.t.ppf(0.975, _DF)


def _df_of_quantile(parts: list[tuple[float, float]]) -> float:
    """Return the degrees of freedom whose 97.5 % quantile is the average of the parts' quantiles."""
    if len(parts) == 1:
        return parts[0][1]
    quantile = sum(v * t_quantile(0.975, round(df, 3)) for v, df in parts) / sum(v for v, _ in parts)
    return float(np.exp(np.interp(quantile, _QUANTILES[::-1], np.log(_DF[::-1]))))


def _seed_parts(cell: Cell, deviations: Array) -> tuple[Array, Array, NDArray[np.int64]]:
    """Return for each stratum the variance from its seeds, the part of it that the speaker term holds already, and its runs."""
    strata, speakers = cell.strata, cell.sums.shape[1]
    runs = np.bincount(strata)
    several = np.maximum(runs - 1, 1)
    weight = np.where(runs > 1, np.bincount(strata, np.abs(cell.weights)) ** 2 / runs, 0.0)
    means = run_means(cell)
    off = means - (np.bincount(strata, means) / runs)[strata]
    between = weight * np.bincount(strata, off**2) / several
    if speakers < 2:
        return between, np.zeros(len(runs)), runs
    shared = np.zeros((len(runs), speakers))
    np.add.at(shared, strata, deviations)
    inner = deviations - (shared / runs[:, None])[strata]
    within = weight * np.bincount(strata, (inner**2).sum(1)) / (several * (speakers - 1)) / speakers
    return between, within, runs


def _bootstrap(cell: Cell, seed: int, resamples: int, level: float) -> tuple[float, float]:
    """Return the percentile interval of resampled speakers; within a stratum the runs are resampled too."""
    runs, speakers = cell.sums.shape
    picks, generator = _picks(speakers, resamples, seed), np.random.default_rng([seed, 1])
    drawn = picks @ cell.counts.T
    means = (picks @ cell.sums.T) / np.maximum(drawn, 1e-12)
    weights = np.empty((resamples, runs))
    for stratum in np.unique(cell.strata):
        own = np.flatnonzero(cell.strata == stratum)
        share = generator.multinomial(own.size, np.full(own.size, 1 / own.size), size=resamples)
        weights[:, own] = share * cell.weights[own]
    if not (drawn > 0).all():  # a run of which no clip was drawn says nothing: the others stand for it
        kept = np.where(drawn > 0, weights, 0.0)
        weights = kept * cell.weights.sum() / np.where(kept.sum(1) == 0, np.nan, kept.sum(1))[:, None] if cell.weights.sum() else kept
    tail = expanded_tail(speakers, level)
    low, high = np.nanquantile((means * weights).sum(1), [tail, 1 - tail])
    return float(low), float(high)


@lru_cache(maxsize=16)
def _picks(clusters: int, resamples: int, seed: int) -> Array:
    """Return how often each cluster is drawn, [resamples, clusters]; the same draws serve every cell of this size."""
    return np.random.default_rng(seed).multinomial(clusters, np.full(clusters, 1 / clusters), size=resamples).astype(float)


def expanded_tail(clusters: int, level: float) -> float:
    """Return the percentile that makes up for the bootstrap's narrowness with few clusters.

    Source: Hesterberg, "What Teachers Should Know about the Bootstrap" (2015), expanded percentile interval.
    """
    if clusters < 2:
        return 0.5 - level / 2
    widened = np.sqrt(clusters / (clusters - 1)) * scipy_stats.t.ppf(0.5 - level / 2, clusters - 1)
    return float(scipy_stats.norm.cdf(widened))


def caution(cell: Cell) -> str:
    """Say what an interval of these runs and speakers does not cover; "" where they are as many as stated in this module."""
    speakers, parts = cell.sums.shape[1], []
    if cell.trained.any() and cell.seeds < MIN_SEEDS:
        parts.append(f"{cell.seeds} seed{'s' * (cell.seeds > 1)}, fewer than {MIN_SEEDS}")
    if cell.unit == "utterance":
        parts.append("one speaker: says nothing about others")
    elif cell.unit == "speaker" and speakers < MIN_SPEAKERS:
        parts.append(f"{speakers} speaker{'s' * (speakers > 1)}, fewer than {MIN_SPEAKERS}")
    elif cell.unit == "speaker" and (worth := effective_speakers(cell)) < MIN_SPEAKERS:
        parts.append(f"{speakers} speakers, by their clips worth {worth:.1f}, fewer than {MIN_SPEAKERS}")
    return "; ".join(parts)


def summary(table: pd.DataFrame, by: Sequence[str] = ("system", "steps", "low_band_copy", "metric"), *, seed: int = 0) -> pd.DataFrame:
    """Summarise a tidy table: one row per cell, with a mean and its 95 % interval.

    Args:
        table: tidy table; values that are not finite are left out.
        by: columns that tell the cells apart; protocol is added where the table holds several versions.
        seed: seed of the bootstrap.

    Returns:
        The `by` columns, then mean, low, high, speakers, seeds, runs, utterances, fewest (utterances of the run that has fewest; where
        it is below utterances, or utterances differ between rows, compare by `paired_difference`), method, warning.
    """
    keys = [*by, "protocol"] if table["protocol"].nunique() > 1 and "protocol" not in by else list(by)
    rows = []
    for key, part in by_cell(table, keys):
        cell = build_cell(part)
        result = interval(cell, seed=seed)
        counts = {"utterances": int(cell.counts.max(0).sum()), "fewest": int(cell.counts.sum(1).min())}
        values = vars(result) | {"runs": cell.sums.shape[0]} | counts
        rows.append(dict(zip(keys, key, strict=True)) | values)
    columns = [*keys, "mean", "low", "high", "speakers", "seeds", "runs", "utterances", "fewest", "method", "warning"]
    return pd.DataFrame(rows, columns=columns)

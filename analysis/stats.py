"""Means, differences and their 95 % intervals, for utterances clustered by speaker and runs repeated over seeds.

A cell of results is a matrix [runs, speakers]. Speakers are shared by all runs (crossed), seeds are nested in their
configuration (stratum). The variance of a weighted mean of runs is then speakers + seeds - interaction, each estimated by its mean square.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats as scipy_stats

from analysis.names import UNTRAINED

Array = NDArray[np.float64]

MIN_SEEDS = 3
"""Fewer runs of a trained system than this give a warning: the spread over seeds is hardly known."""
MIN_SPEAKERS = 5
"""Fewer speakers than this give a warning: the interval is wide and rests on normality."""
BOOTSTRAP_SPEAKERS = 20
"""From this many speakers on, the bootstrap of single runs covers 93 to 97 %; below it the t interval is used."""
WHOLE_SET = "*"


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
    """

    mean: float
    low: float
    high: float
    speakers: int
    seeds: int
    method: str
    warning: str = ""

    @property
    def clear(self) -> bool:
        """Tell whether the interval excludes zero."""
        return bool(self.low > 0 or self.high < 0)


@dataclass
class Cell:
    """One quantity to estimate: a weighted sum of runs.

    Attributes:
        sums: sum over a speaker's utterances, [runs, speakers].
        counts: utterances behind each sum, same shape.
        weights: weight of each run, [runs]; 1/runs for a mean, both signs for a difference.
        strata: stratum (configuration) of each run, [runs].
        trained: whether a run has a seed that matters, [runs].
        unit: what a column is: "speaker", "utterance" (test set of one speaker), or "set" (a metric of the whole set).
    """

    sums: Array
    counts: Array
    weights: Array
    strata: NDArray[np.int64]
    trained: NDArray[np.bool_]
    unit: str = "speaker"

    @property
    def seeds(self) -> int:
        """Return the runs of the smallest trained stratum; 0 where nothing is trained."""
        sizes = np.bincount(self.strata)
        return int(min((sizes[s] for s in np.unique(self.strata[self.trained])), default=0))


def interval(cell: Cell, *, seed: int = 0, resamples: int = 2000, level: float = 0.95, method: str = "auto") -> Interval:
    """Estimate a weighted mean of runs with its interval.

    Args:
        cell: sums and counts, [runs, speakers].
        seed: seed of the bootstrap.
        resamples: bootstrap resamples.
        level: coverage asked for, between 0 and 1.
        method: "t", "bootstrap", or "auto": bootstrap for one run per stratum and many speakers, t otherwise.

    Returns:
        The interval, with a warning where it rests on fewer seeds or speakers than stated in this module.
    """
    speakers = cell.sums.shape[1]
    single = bool(np.bincount(cell.strata).max() == 1)
    chosen = ("bootstrap" if single and speakers >= BOOTSTRAP_SPEAKERS else "t") if method == "auto" else method
    mean = float(cell.weights @ run_means(cell))
    bounds = _bootstrap(cell, seed, resamples, level) if chosen == "bootstrap" else _t_interval(cell, mean, level)
    known = bool(np.isfinite(bounds).all())
    return Interval(mean, *bounds, speakers if cell.unit == "speaker" else 1, cell.seeds, chosen if known else "none", _caution(cell))


def run_means(cell: Cell) -> Array:
    """Return each run's mean over utterances, [runs]."""
    return np.asarray(cell.sums.sum(1) / np.maximum(cell.counts.sum(1), 1), float)


def _deviations(cell: Cell) -> Array:
    """Return R [runs, speakers] with row means zero: what a speaker adds to its run's mean over utterances."""
    speakers = cell.sums.shape[1]
    per_utterance = speakers / np.maximum(cell.counts.sum(1, keepdims=True), 1)
    return np.asarray((cell.sums - cell.counts * run_means(cell)[:, None]) * per_utterance, float)


def _t_interval(cell: Cell, mean: float, level: float) -> tuple[float, float]:
    """Return mean -+ t(df) * sqrt(V), df by Satterthwaite; V = speakers + seeds - interaction."""
    deviations, speakers = _deviations(cell), cell.sums.shape[1]
    by_speaker = cell.weights @ deviations
    parts = [(float(by_speaker @ by_speaker) / (speakers * (speakers - 1)), speakers - 1.0)] if speakers > 1 else []
    shared = 0.0
    for stratum in np.unique(cell.strata):
        own = cell.strata == stratum
        between, within = _seed_parts(cell, deviations, own)
        if own.sum() > 1:
            parts.append((between, own.sum() - 1.0))
            shared += within
    variance = max(sum(v for v, _ in parts) - shared, *(v for v, _ in parts), 0.0) if parts else np.nan
    spread = sum(v**2 / df for v, df in parts)
    freedom = max(1.0, variance**2 / spread) if spread > 0 else 1.0
    half = float(scipy_stats.t.ppf(0.5 + level / 2, freedom) * np.sqrt(variance))
    return mean - half, mean + half


def _seed_parts(cell: Cell, deviations: Array, own: NDArray[np.bool_]) -> tuple[float, float]:
    """Return the variance from the seeds of one stratum, and the part of it that the speaker term holds already."""
    runs, speakers = int(own.sum()), cell.sums.shape[1]
    if runs < 2:
        return 0.0, 0.0
    weight = float(np.abs(cell.weights[own]).sum()) ** 2 / runs
    between = weight * float(np.var(run_means(cell)[own], ddof=1))
    if speakers < 2:
        return between, 0.0
    inner = deviations[own] - deviations[own].mean(0)
    return between, weight * float((inner**2).sum()) / ((runs - 1) * (speakers - 1)) / speakers


def _bootstrap(cell: Cell, seed: int, resamples: int, level: float) -> tuple[float, float]:
    """Return the percentile interval of resampled speakers; within a stratum the runs are resampled too."""
    generator = np.random.default_rng(seed)
    runs, speakers = cell.sums.shape
    picks = generator.multinomial(speakers, np.full(speakers, 1 / speakers), size=resamples).astype(float)
    means = (picks @ cell.sums.T) / np.maximum(picks @ cell.counts.T, 1e-12)
    weights = np.empty((resamples, runs))
    for stratum in np.unique(cell.strata):
        own = np.flatnonzero(cell.strata == stratum)
        share = generator.multinomial(own.size, np.full(own.size, 1 / own.size), size=resamples)
        weights[:, own] = share * cell.weights[own]
    tail = _expanded_tail(speakers, level)
    low, high = np.quantile((means * weights).sum(1), [tail, 1 - tail])
    return float(low), float(high)


def _expanded_tail(clusters: int, level: float) -> float:
    """Return the percentile that makes up for the bootstrap's narrowness with few clusters.

    Source: Hesterberg, "What Teachers Should Know about the Bootstrap" (2015), expanded percentile interval.
    """
    if clusters < 2:
        return 0.5 - level / 2
    widened = np.sqrt(clusters / (clusters - 1)) * scipy_stats.t.ppf(0.5 - level / 2, clusters - 1)
    return float(scipy_stats.norm.cdf(widened))


def _caution(cell: Cell) -> str:
    speakers, parts = cell.sums.shape[1], []
    if cell.trained.any() and cell.seeds < MIN_SEEDS:
        parts.append(f"{cell.seeds} seed{'s' * (cell.seeds > 1)}, fewer than {MIN_SEEDS}")
    if cell.unit == "utterance":
        parts.append("one speaker: says nothing about others")
    elif cell.unit == "speaker" and speakers < MIN_SPEAKERS:
        parts.append(f"{speakers} speaker{'s' * (speakers > 1)}, fewer than {MIN_SPEAKERS}")
    return "; ".join(parts)


def summary(table: pd.DataFrame, by: Sequence[str] = ("system", "steps", "low_band_copy", "metric"), *, seed: int = 0) -> pd.DataFrame:
    """Summarise a tidy table: one row per cell, with a mean and its 95 % interval.

    Args:
        table: tidy table; values that are not finite are left out.
        by: columns that tell the cells apart; protocol is added where the table holds several versions.
        seed: seed of the bootstrap.

    Returns:
        The `by` columns, then mean, low, high, speakers, seeds, runs, utterances, method, warning.
    """
    keys = [*by, "protocol"] if table["protocol"].nunique() > 1 and "protocol" not in by else list(by)
    rows = []
    for key, part in by_cell(table, keys):
        cell = build_cell(part)
        result = interval(cell, seed=seed)
        values = vars(result) | {"runs": cell.sums.shape[0], "utterances": int(cell.counts.max(0).sum())}
        rows.append(dict(zip(keys, key, strict=True)) | values)
    columns = [*keys, "mean", "low", "high", "speakers", "seeds", "runs", "utterances", "method", "warning"]
    return pd.DataFrame(rows, columns=columns)


def by_cell(table: pd.DataFrame, keys: list[str]) -> Iterator[tuple[tuple[object, ...], pd.DataFrame]]:
    """Reduce a tidy table to sums over each speaker's utterances, one part for each combination of the keys.

    Args:
        table: tidy table; values that are not finite are left out.
        keys: columns that tell the cells apart.

    Yields:
        The combination, and the rows that `build_cell` takes.
    """
    finite = table[np.isfinite(table["value"].to_numpy())]
    extra = {"cluster": finite[_cluster_column(finite)], "trained": ~finite["system"].isin(UNTRAINED)}
    every = list(dict.fromkeys([*keys, "signature", "seed", "cluster", "trained"]))
    grouped = finite.assign(**extra).groupby(every, observed=True, dropna=False)["value"]
    reduced = grouped.agg(["sum", "count"]).reset_index()
    reduced["unit"] = np.where(reduced["cluster"] == WHOLE_SET, "set", _cluster_column(finite))
    for key, part in reduced.groupby(keys, observed=True, dropna=False, sort=False):
        yield key if isinstance(key, tuple) else (key,), part


def _cluster_column(table: pd.DataFrame) -> str:
    """Name the column whose values are independent: a test set of one speaker is clustered by utterance."""
    return "speaker" if table["speaker"][table["speaker"] != WHOLE_SET].nunique() > 1 else "utterance"


def build_cell(part: pd.DataFrame, sign: float = 1.0) -> Cell:
    """Arrange per-speaker sums as a matrix of runs and speakers; every stratum weighs the same.

    Args:
        part: columns signature, seed, cluster, trained, unit, sum, count.
        sign: total weight of the runs.

    Returns:
        The cell; run weights add up to `sign`.
    """
    run, runs = pd.factorize(pd.MultiIndex.from_frame(part[["signature", "seed"]].astype(str)))
    column, clusters = pd.factorize(part["cluster"].astype(object), sort=True)
    sums, counts = np.zeros((2, len(runs), len(clusters)))
    np.add.at(sums, (run, column), part["sum"].to_numpy(float))
    np.add.at(counts, (run, column), part["count"].to_numpy(float))
    strata = pd.factorize(runs.get_level_values(0))[0].astype(np.int64)
    sizes = np.bincount(strata)
    trained = np.full(len(runs), bool(part["trained"].any()))
    return Cell(sums, counts, sign / (len(sizes) * sizes[strata]), strata, trained, str(part["unit"].iloc[0]))

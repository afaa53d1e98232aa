"""From a tidy table to what an estimate rests on: for each cell a matrix of runs and speakers.

A table of millions of records is reduced once, by polars, to a sum and a count for each run and speaker.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
from numpy.typing import NDArray

from analysis.names import UNTRAINED

Array = NDArray[np.float64]
Codes = NDArray[np.int64]

WHOLE_SET = "*"
SEEDLESS = (*UNTRAINED, "teacher")
"""Systems that are given to a sweep, not trained with its seeds; a teacher trained with several counts them all the same."""
OWN = ("signature", "seed", "cluster", "trained")
"""Columns that make the matrix of a cell."""


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
    strata: Codes
    trained: NDArray[np.bool_]
    unit: str = "speaker"

    @property
    def seeds(self) -> int:
        """Return the runs of the smallest trained stratum; 0 where nothing is trained."""
        sizes = np.bincount(self.strata)
        return int(min((sizes[s] for s in np.unique(self.strata[self.trained])), default=0))


@dataclass(frozen=True)
class Part:
    """The reduced rows of one cell: a row for each run and cluster, sorted by signature, seed and cluster.

    Attributes:
        signature: code of the configuration.
        seed: code of the seed.
        cluster: code of the speaker (or utterance).
        trained: 1 where the system has a seed that matters.
        sum: sum over the cluster's utterances.
        count: utterances behind it.
        unit: as in `Cell`.
    """

    signature: Codes
    seed: Codes
    cluster: Codes
    trained: Codes
    sum: Array
    count: Array
    unit: str


def by_cell(table: pd.DataFrame, keys: Sequence[str], clustered: str | None = None) -> Iterator[tuple[tuple[Any, ...], Part]]:
    """Reduce a tidy table to sums over each speaker's utterances, one part for each combination of the keys.

    Args:
        table: tidy table; values that are not finite are left out.
        keys: columns that tell the cells apart; a missing value is a value of its own.
        clustered: "speaker" or "utterance"; by `cluster_column` where None.

    Yields:
        The combination, in the order of the keys, and the rows that `build_cell` takes.
    """
    value = table["value"].to_numpy(dtype=float)
    clustered = clustered or cluster_column(table)
    every = list(dict.fromkeys([*keys, "signature", "seed"]))
    columns = {name: _encode(table[name]) for name in every}
    cluster, clusters = _encode(table[clustered])
    untrained, systems = _encode(table["system"])
    trained = ~np.isin(systems.astype(str), SEEDLESS)
    codes = {name: found for name, (found, _) in columns.items()} | {"cluster": cluster, "trained": trained.astype(np.int64)[untrained]}
    values = _reduce({name: codes[name] for name in dict.fromkeys([*keys, *OWN])}, value)
    whole = clusters == WHOLE_SET
    levels = [columns[key][1] for key in keys]
    starts = np.flatnonzero(_changed([values[key] for key in keys])).tolist()
    for start, stop in zip(starts, [*starts[1:], len(values["sum"])], strict=False):
        own = slice(start, stop)
        unit = "set" if whole[values["cluster"][start]] else clustered
        part = Part(**{name: values[name][own] for name in (*OWN, "sum", "count")}, unit=unit)
        yield tuple(_level(level, values[key][start]) for key, level in zip(keys, levels, strict=True)), part


def _reduce(codes: dict[str, Codes], value: Array) -> dict[str, Any]:
    """Add up the finite values that are equal in all codes; sorted by them, in their order."""
    finite = np.isfinite(value)
    codes, value = {name: column[finite] for name, column in codes.items()}, value[finite]
    place = _rank(list(codes.values()))
    found: dict[str, Any] = {"count": np.bincount(place).astype(float), "sum": np.bincount(place, value)}  # in row order: the same bits
    for name, column in codes.items():
        found[name] = np.empty(len(found["sum"]), np.int64)
        found[name][place] = column
    return found


def _rank(columns: list[Codes]) -> Codes:
    """Return the place of each row among the different combinations of codes, sorted."""
    key = np.zeros(len(columns[0]), np.int64)
    for column in columns:  # one number for all codes: it is sorted several times as fast as they are
        size = int(column.max(initial=-1)) + 2
        if len(key) and int(key.max()) > np.iinfo(np.int64).max // size - 1:
            key = _dense(key)
        key = key * size + column + 1
    return _dense(key)


def _dense(key: Codes) -> Codes:
    return pl.Series(key).rank("dense").to_numpy().astype(np.int64) - 1


def _encode(column: pd.Series) -> tuple[Codes, NDArray[Any]]:
    """Return sorted codes and what they mean; a missing value has code -1."""
    if isinstance(column.dtype, pd.CategoricalDtype):
        return column.cat.codes.to_numpy(np.int64), column.cat.categories.to_numpy(dtype=object)
    codes, levels = pd.factorize(column, sort=True)
    return codes.astype(np.int64), np.asarray(levels, dtype=object)


def _level(levels: NDArray[Any], code: int) -> Any:
    return levels[code] if code >= 0 else None


def cluster_column(table: pd.DataFrame) -> str:
    """Name the column whose values are independent: a test set of one speaker is clustered by utterance."""
    return "speaker" if len(set(table["speaker"].unique()) - {WHOLE_SET}) > 1 else "utterance"


def build_cell(part: Part, sign: float = 1.0) -> Cell:
    """Arrange per-speaker sums as a matrix of runs and speakers; every stratum weighs the same.

    Args:
        part: what `by_cell` yields.
        sign: total weight of the runs.

    Returns:
        The cell; run weights add up to `sign`.
    """
    run = np.cumsum(_changed([part.signature, part.seed])) - 1
    first = np.flatnonzero(_changed([part.signature, part.seed]))
    strata = np.cumsum(_changed([part.signature[first]])) - 1
    present = np.zeros(int(part.cluster.max()) + 1, bool)
    present[part.cluster] = True
    column = (np.cumsum(present) - 1)[part.cluster]
    sums, counts = np.zeros((2, len(first), int(present.sum())))
    np.add.at(sums, (run, column), part.sum)
    np.add.at(counts, (run, column), part.count)
    sizes = np.bincount(strata)
    trained = np.full(len(first), bool(part.trained.any()))
    return Cell(sums, counts, sign / (len(sizes) * sizes[strata]), strata, trained, part.unit)


def _changed(columns: list[Codes]) -> NDArray[np.bool_]:
    """Mark the rows that differ from the one before in any column; the first is marked."""
    changed = np.zeros(len(columns[0]), bool)
    changed[:1] = True
    for column in columns:
        changed[1:] |= column[1:] != column[:-1]
    return changed

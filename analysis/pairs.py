"""Differences and ratios of two systems on the same utterances, with 95 % intervals."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd

from analysis.cells import Cell, build_cell, by_cell
from analysis.names import metric as describe
from analysis.stats import Interval, interval, run_means
from analysis.table import ResultsError

RUN = ["system", "signature", "seed", "steps"]
"""What was scored on its own: the untrained systems of a root share a signature, the step counts of a student a run."""


def paired_difference(table: pd.DataFrame, baseline: pd.DataFrame, *, seed: int = 0) -> Interval:
    """Estimate how much one system exceeds another on the same utterances.

    Args:
        table: rows of one system and one metric.
        baseline: rows of the other system, same metric and protocol; its seeds are its own. Rows of the same runs (two
            step counts of one network) are paired run by run instead.
        seed: seed of the bootstrap.

    Returns:
        Mean of table - baseline over the utterances that all runs of both have, with its t interval; NaN where there are none.

    Raises:
        ResultsError: the two mix metrics or protocol versions, or one of them step counts or settings of the low-band copy.
    """
    check_sides("paired_difference", table, baseline)
    table, baseline = shared_utterances(*_common_runs(table, baseline))
    if table.empty:
        return Interval(np.nan, np.nan, np.nan, 0, 0, "none", "no utterance that all runs have")
    if _runs(table) == _runs(baseline):
        return interval(build_cell(next(by_cell(_run_by_run(table, baseline), ["metric"]))[1]), seed=seed, method="t")
    sides = [part.assign(side=i) for i, part in enumerate((table, baseline))]
    cells = [build_cell(part, sign) for (_, part), sign in zip(by_cell(pd.concat(sides), ["side"]), (1.0, -1.0), strict=True)]
    return interval(_join(*cells), seed=seed, method="t")


def check_sides(function: str, table: pd.DataFrame, baseline: pd.DataFrame) -> None:
    """Refuse to compare what is not one thing with one thing: a mean over step counts is nobody's.

    Args:
        function: name of the function that compares.
        table: one side.
        baseline: the other.

    Raises:
        ResultsError: they have several metrics or protocol versions, or one of them has several step counts or copy settings.
    """
    for name in ("metric", "protocol"):
        _need_one(function, name, table, baseline)
    for side, rows in (("table", table), ("baseline", baseline)):
        for name in ("steps", "low_band_copy"):
            _need_one(function, name, rows, where=f" in {side}")


def _need_one(function: str, name: str, *sides: pd.DataFrame, where: str = "") -> None:
    found = sorted({value for rows in sides for value in rows[name].unique().tolist()})
    if len(found) > 1:
        listed, example = ", ".join(map(str, found)), f"rows[rows.{name} == {found[0]!r}]"
        raise ResultsError(f"{function} compares one {name}, got {listed}{where}: select one before, e.g. {example}")


def paired_ratio(table: pd.DataFrame, baseline: pd.DataFrame, *, seed: int = 0) -> Interval:
    """Estimate the ratio of two systems' means on the same utterances, as `paired_difference` does their difference.

    Args:
        table: rows of one system and one metric with positive values.
        baseline: rows of the other system.
        seed: seed of the bootstrap.

    Returns:
        Mean of table / mean of baseline, with the interval of the linearised ratio; NaN where they share no utterance.

    Raises:
        ResultsError: as `paired_difference`.

    Source: Cochran, "Sampling Techniques" (1977), section 6.3: R = a/b has the spread of (a - R b)/mean(b).
    """
    check_sides("paired_ratio", table, baseline)
    table, baseline = shared_utterances(table, baseline)
    if table.empty:
        return paired_difference(table, baseline, seed=seed)
    above, below = (run_mean(part) for part in (table, baseline))
    rest = paired_difference(table, baseline.assign(value=baseline["value"] * above / below), seed=seed)
    mean, low, high = (above / below + end / below for end in (rest.mean, rest.low, rest.high))
    return replace(rest, mean=mean, low=low, high=high, se=rest.se / abs(below), null=1.0)


def run_mean(table: pd.DataFrame) -> float:
    """Return the mean over configurations and runs of the mean over utterances; NaN where nothing is finite.

    Args:
        table: rows of one metric.
    """
    cell = next((build_cell(part) for _, part in by_cell(table, ["metric"])), None)
    return float(cell.weights @ run_means(cell)) if cell else float("nan")


def costs(rows: pd.DataFrame) -> pd.DataFrame:
    """Turn values of one metric into costs: lower is better for every metric.

    Args:
        rows: rows of one metric.

    Returns:
        The rows with other values. A metric with a target costs each run's |mean - target|: clips that are too loud and too
        quiet do balance within a run, runs do not.
    """
    if rows.empty:
        return rows
    about = describe(str(rows["metric"].iloc[0]))
    if about.better != "target":
        return rows if about.better == "lower" else rows.assign(value=-rows["value"])
    off = rows["value"] - about.target
    side = np.sign(off.groupby([rows["signature"], rows["seed"]]).transform("mean"))
    return rows.assign(value=off * side)


def shared_utterances(*tables: pd.DataFrame) -> tuple[pd.DataFrame, ...]:
    """Keep the rows of the utterances for which every run of every side has a finite value: only then is a difference one of systems."""
    common = set.intersection(*(_of_all_runs(table) for table in tables))
    return tuple(table[table["utterance"].isin(common)] for table in tables)


def _of_all_runs(table: pd.DataFrame) -> set[str]:
    finite = table.loc[np.isfinite(table["value"].to_numpy(dtype=float)), [*RUN, "utterance"]].drop_duplicates()
    having, runs = finite["utterance"].value_counts(), len(table[RUN].drop_duplicates())
    return set(having.index[having == runs].astype(str)) if runs else set()


def _common_runs(table: pd.DataFrame, baseline: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Keep the runs that both sides have where they are runs of the same configurations: those are paired, whoever lacks a seed."""
    ours, theirs = _runs(table), _runs(baseline)
    common = ours & theirs
    if not common or ours == theirs or {s for s, _ in ours} != {s for s, _ in theirs}:
        return table, baseline
    return _only(table, common), _only(baseline, common)


def _only(table: pd.DataFrame, runs: set[tuple[str, int]]) -> pd.DataFrame:
    kept = [run in runs for run in zip(table["signature"].astype(str), table["seed"], strict=True)]
    return table[np.array(kept, bool)]


def _runs(table: pd.DataFrame) -> set[tuple[str, int]]:
    return set(zip(table["signature"].astype(str), table["seed"], strict=True))


def _run_by_run(table: pd.DataFrame, baseline: pd.DataFrame) -> pd.DataFrame:
    keys = ["signature", "seed", "utterance"]
    both = table.merge(baseline[[*keys, "value"]], on=keys, suffixes=("", "_other"))
    return both.assign(value=both["value"] - both["value_other"])


def _join(first: Cell, second: Cell) -> Cell:
    return Cell(
        np.concatenate([first.sums, second.sums]), np.concatenate([first.counts, second.counts]),
        np.concatenate([first.weights, second.weights]), np.concatenate([first.strata, second.strata + first.strata.max() + 1]),
        np.concatenate([first.trained, second.trained]), first.unit,
    )  # fmt: skip

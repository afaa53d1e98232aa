"""Means of fewer clips than those they stand beside: found, and said in their rows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from analysis.pairs import shared_utterances


def usual_clips(cells: pd.DataFrame) -> pd.Series:
    """Return for each cell how many clips most cells of its metric have, the larger number of equally many.

    Args:
        cells: what `summary` returns, with a column metric.
    """
    return cells.groupby("metric", observed=True)["utterances"].transform(lambda counts: counts.mode().max())


def clips_of_rows(cells: pd.DataFrame, keys: Sequence[str]) -> pd.DataFrame:
    """Say of each row of a table how many clips it rests on: those of the run and the metric that lack most.

    Args:
        cells: what `summary` returns, one row per row of the table and metric.
        keys: columns that make a row of the table.

    Returns:
        Columns clips and usual_clips, indexed by the keys; clips is the smaller one where a run lacks some.
    """
    usual = usual_clips(cells)
    counted = cells.assign(clips=cells["fewest"], usual_clips=usual, share=cells["fewest"] / usual)
    worst = counted.sort_values(["share", "usual_clips"], ascending=[True, False], kind="stable")
    return worst.groupby(list(keys), observed=True)[["clips", "usual_clips"]].first()


def clips_mark(clips: int, usual: int) -> str:
    """Return what is added to the name of a row: " (16 of 32 clips)", "" where none is lacking."""
    return f" ({clips} of {usual} clips)" if clips < usual else ""


def on_shared_clips(rows: pd.DataFrame) -> tuple[pd.DataFrame, int]:
    """Keep of each metric the clips that all runs have: a run that lacks the hard ones would look good.

    Args:
        rows: rows to compare; runs without any value of a metric take no part in it.

    Returns:
        The rows kept, and the most clips that had to be left out of a metric.
    """
    finite = rows[np.isfinite(rows["value"].to_numpy(dtype=float))]
    parts = [(part, shared_utterances(part)[0]) for _, part in finite.groupby("metric", observed=True)]
    lacking = max((part["utterance"].nunique() - kept["utterance"].nunique() for part, kept in parts), default=0)
    return (finite if not lacking else pd.concat([kept for _, kept in parts])), lacking

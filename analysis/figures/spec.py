"""What a figure is: a function from a table to a matplotlib Figure, with a title, a caption, and where its table comes from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd
from matplotlib.figure import Figure

from analysis.table import Results

Pair = tuple[Figure, pd.DataFrame]
"""A figure and the data behind it."""
Draw = Callable[[pd.DataFrame], Pair]
Source = Callable[[Results], pd.DataFrame]


@dataclass(frozen=True)
class Spec:
    """One figure by name.

    Attributes:
        name: file stem, and the public function's name.
        title: heading for a reader.
        pair: draws the figure with the data behind it.
        source: makes the table that it is drawn from.
        caption: how to read it, "" where its labels say it all.
    """

    name: str
    title: str
    pair: Draw
    source: Source
    caption: str = ""


SPECS: dict[str, Spec] = {}
"""Every figure that was defined by `plot`."""


def records(results: Results) -> pd.DataFrame:
    """Return the tidy table, the source of most figures."""
    return results.table


def plot(title: str, *, source: Source = records, caption: str = "") -> Callable[[Draw], Callable[[pd.DataFrame], Figure]]:
    """Define a figure by the function that draws it with its data, and leave the function that returns the Figure alone.

    Args:
        title: heading for a reader.
        source: makes its table from loaded results.
        caption: how to read it.

    Returns:
        The decorator.
    """

    def define(pair: Draw) -> Callable[[pd.DataFrame], Figure]:
        name = pair.__name__
        SPECS[name] = Spec(name, title, pair, source, caption)

        def alone(table: pd.DataFrame) -> Figure:
            return pair(table)[0]

        alone.__name__, alone.__qualname__, alone.__module__, alone.__doc__ = name, name, pair.__module__, pair.__doc__
        return alone

    return define

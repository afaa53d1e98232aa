"""Training curves of a sweep: which runs' scalars.csv are worth reading, and the names of their points."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from analysis.choose import best_point, choose_student, point_rows, points_of_runs
from analysis.clips import load_scalars
from analysis.points import describe_points
from analysis.table import Results
from lcm.paths import Run

POINTS = 40
"""Most points whose curves are read, all their seeds: the chosen one, the best one, and others evenly spread over the sweep."""
BYTES = 100_000_000
"""Most scalars.csv read: a hundred megabytes take some five seconds."""


def load_curves(results: Results) -> pd.DataFrame:
    """Read the training curves of a sweep, of a very large one those of a sample of points.

    Args:
        results: loaded results.

    Returns:
        The columns of `load_scalars`, every run with a signature, then label (the point's name), role ("chosen", or
        "best" of the students in LSD-HF on the test, or ""), points (with those that were not read) and runs (of the objective, likewise).
    """
    chosen, best = choose_student(results.table).signature, best_point(results.table)
    runs = _with_curves(results.runs)
    sample = _sample(runs, [chosen, best])
    curves = load_scalars(replace(results, runs=sample))
    facts = _facts(results.table, sample, {best: "best"} | {chosen: "chosen"})
    columns = {name: curves["run"].map(facts[name]) for name in facts.columns}
    unread, counts = runs["point"].nunique() - sample["point"].nunique(), runs["objective"].value_counts()
    return curves.assign(**columns, points=columns["signature"].nunique() + unread, runs=columns["objective"].map(counts))


def _facts(table: pd.DataFrame, runs: pd.DataFrame, roles: dict[str, str]) -> pd.DataFrame:
    """Return signature, objective, label and role of runs, by their names; a point that was not evaluated yet has a label of its own."""
    named = describe_points(point_rows(table))
    labels = {str(s): str(label) for s, label in zip(named["signature"], named["label"], strict=True)}
    rows = [(p, o, labels.get(p, f"{o} #{p[:6]}"), roles.get(p, "")) for p, o in zip(runs["point"], runs["objective"], strict=True)]
    return pd.DataFrame(rows, index=list(runs["run"]), columns=["signature", "objective", "label", "role"])


def _with_curves(runs: pd.DataFrame) -> pd.DataFrame:
    """Return the runs that have a scalars.csv, with its size, their point, and their objective, "training" where the config names none."""
    sizes = [_size(Run(Path(folder)).scalars) for folder in runs["folder"]]
    objective = runs["config.objective.name"] if "config.objective.name" in runs else pd.Series(None, index=runs.index, dtype=object)
    named = [str(o) if o and not pd.isna(o) else "training" for o in objective]
    return runs.assign(size=sizes, point=points_of_runs(runs), objective=named)[np.array(sizes) > 0]


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _sample(runs: pd.DataFrame, first: list[str]) -> pd.DataFrame:
    """Keep the runs of at most `POINTS` points and about `BYTES`, the named points first."""
    every = list(dict.fromkeys(runs["point"]))
    rest = [p for p in every if p not in first]
    spread = [rest[i] for i in np.unique(np.linspace(0, len(rest) - 1, min(len(rest), POINTS - len(first))).astype(int))] if rest else []
    order = {point: place for place, point in enumerate(dict.fromkeys([*(p for p in first if p in every), *_far_apart(spread)]))}
    kept = runs[runs["point"].isin(order)]
    kept = kept.assign(place=kept["point"].map(order)).sort_values("place", kind="stable")
    whole = kept.groupby("place")["size"].sum().cumsum()
    within = kept["place"].map((whole <= BYTES) | (whole.index == 0))
    return runs.loc[kept.index[within]].sort_index()


def _far_apart(points: list[str]) -> list[str]:
    """Order points such that any first few of them are spread over all: halves, quarters, eighths."""
    return [points[i] for i in sorted(range(len(points)), key=lambda i: (-(i & -i) if i else -len(points) - 1, i))]

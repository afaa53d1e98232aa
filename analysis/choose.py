"""Which rows stand for a system: the newest protocol, low-band copy where there is one, and one point of the sweep."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.gaps import on_shared_clips
from analysis.names import metric as describe
from analysis.settings import as_text
from analysis.table import NAMED, current_protocol

HEADLINE = "lsd_hf"
STUDENT_STEPS = 1


@dataclass(frozen=True)
class Chosen:
    """The point of the sweep that stands for the student, and why.

    Attributes:
        signature: its signature, "" where no student was evaluated.
        reason: how it was chosen, for a caption.
        on_test: whether the choice looked at the evaluated metric, which flatters it.
    """

    signature: str
    reason: str
    on_test: bool = False


def select(table: pd.DataFrame, **wanted: Sequence[object]) -> pd.DataFrame:
    """Keep the rows of the newest protocol whose columns have given values; nothing else of a table of millions of rows is copied.

    Args:
        table: tidy table.
        wanted: column -> values to keep, e.g. metric=("lsd_hf",), system=("student",).

    Returns:
        The rows kept.
    """
    keep = (table["protocol"] == table["protocol"].max()).to_numpy()
    for name, values in wanted.items():
        keep = keep & _among(table[name], values)
    return table[keep]


def _among(column: pd.Series, values: Sequence[object]) -> NDArray[np.bool_]:
    if not isinstance(column.dtype, pd.CategoricalDtype):
        return np.asarray(column.isin(list(values)), bool)
    known = np.append(column.cat.categories.isin(list(values)), False)  # the last is for a missing value, whose code is -1
    return np.asarray(known[column.cat.codes.to_numpy()])


def _combinations(table: pd.DataFrame, *keys: str) -> NDArray[np.int64]:
    """Number the combinations of some columns, one number a row, without looking at the text of categories."""
    number = np.zeros(len(table), np.int64)
    for key in keys:
        column = table[key]
        codes = column.cat.codes.to_numpy(np.int64) if isinstance(column.dtype, pd.CategoricalDtype) else pd.factorize(column)[0]
        number = number * (codes.max(initial=0) + 1) + codes
    return number


def point_rows(table: pd.DataFrame) -> pd.DataFrame:
    """Keep the first row of every system and signature: what a question about points, not about clips, needs of a large table.

    Args:
        table: tidy table.

    Returns:
        One row per system and signature of the newest protocol.
    """
    newest = current_protocol(table)
    return newest[~pd.Series(_combinations(newest, "system", "signature")).duplicated().to_numpy()]


def points_of_runs(runs: pd.DataFrame) -> pd.Series:
    """Return the signature of every run; of one without records, which has none in the table, that of its folder's name.

    Args:
        runs: `Results.runs`.
    """
    named = runs["run"].str.rsplit("/", n=1).str[-1].str.replace(r"-s\d+$", "", regex=True)
    return runs["signature"].where(runs["signature"].notna(), named).astype(str)


def prefer_copy(table: pd.DataFrame, copy: bool = True) -> pd.DataFrame:
    """Keep one setting of the low-band copy for each system and metric.

    Args:
        table: tidy table.
        copy: the setting wanted; systems that were not scored with it keep what they have.

    Returns:
        The rows kept.
    """
    wanted, cell = (table["low_band_copy"] == copy).to_numpy(), _combinations(table, "system", "metric")
    has = np.zeros(cell.max(initial=0) + 1, bool)
    has[cell[wanted]] = True
    return table[wanted | ~has[cell]]


def headline_steps(table: pd.DataFrame) -> pd.DataFrame:
    """Keep one step count of each point: the student's single step, every other system's most.

    Args:
        table: tidy table.

    Returns:
        The rows kept.
    """
    steps, point = table["steps"].to_numpy(), _combinations(table, "system", "signature")
    most = np.zeros(point.max(initial=0) + 1, steps.dtype)
    np.maximum.at(most, point, steps)
    return table[steps == np.where(_among(table["system"], ["student"]), STUDENT_STEPS, most[point])]


def point_axes(table: pd.DataFrame, system: str = "student") -> list[str]:
    """List the configuration columns that vary between the points of one system.

    Args:
        table: tidy table with "config.<dotted key>" columns, or its `point_rows`.
        system: system whose points are compared.

    Returns:
        Column names.
    """
    own = _points_of(table, system)
    return [c for c in own.columns if c.startswith("config.") and own[c].nunique(dropna=False) > 1]


def _points_of(table: pd.DataFrame, system: str) -> pd.DataFrame:
    own = np.flatnonzero(_among(table["system"], [system]))
    return table.iloc[own[~table["signature"].iloc[own].duplicated().to_numpy()]]


def choose_student(table: pd.DataFrame, named: str | None = None) -> Chosen:
    """Choose the point that stands for the student.

    Args:
        table: tidy table; the newest protocol is used.
        named: signature that the sweep's author named, if any; where None, the one that `load` found.

    Returns:
        The named point; else the centre of the sweep (the most frequent value on every axis); else the best in LSD-HF over the clips
        that all points have; else, where they have none in common, the first.
    """
    points = _points_of(current_protocol(table), "student").set_index("signature")
    if points.empty:
        return Chosen("", "no student was evaluated")
    named = named or table.attrs.get(NAMED)
    if named in points.index:
        return Chosen(str(named), "named by the sweep's report.json")
    if len(points) == 1:
        return Chosen(str(points.index[0]), "the only point")
    varying = [c for c in points.columns if c.startswith("config.") and points[c].nunique(dropna=False) > 1]
    centre = _centre(as_text(points[varying]))
    if centre:
        return Chosen(centre, "the centre of the sweep: the most frequent value on every axis")
    best, label = best_point(table), describe(HEADLINE).label
    if not best:
        return Chosen(str(points.index[0]), f"the first of {len(points)} points: no clip has {label} in all of them")
    return Chosen(best, f"the best of {len(points)} points in {label}", on_test=True)


def _centre(points: pd.DataFrame) -> str | None:
    """Return the one point that has the clear mode of every axis, or None."""
    keep = pd.Series(True, index=points.index)
    for axis in points.columns:
        counts = points[axis].value_counts()
        if len(counts) > 1 and counts.iloc[0] == counts.iloc[1]:
            return None
        keep &= points[axis] == counts.index[0]
    return str(points.index[keep][0]) if keep.sum() == 1 else None


def best_point(table: pd.DataFrame) -> str:
    """Return the signature of the student's point that is best in LSD-HF at one step, over the clips that all points have.

    It is "" where no point was scored, or no clip was in all. A point without any value takes no part.

    Args:
        table: tidy table.
    """
    scored = prefer_copy(select(table, system=["student"], steps=[STUDENT_STEPS], metric=[HEADLINE]))
    scored, _ = on_shared_clips(scored)
    means = scored.groupby("signature", observed=True)["value"].mean().dropna().map(describe(HEADLINE).cost)
    return str(means.idxmin()) if len(means) else ""


def system_points(table: pd.DataFrame, chosen: str) -> dict[str, str]:
    """Choose one point for every other system: the one whose configuration is nearest the chosen student's.

    The objective's own parameters do not count, and of several teachers the student's own is taken.

    Args:
        table: tidy table of one protocol.
        chosen: signature of the student's point.

    Returns:
        System -> signature; systems with one point have that one.
    """
    axes = [c for c in table.columns if c.startswith("config.") and not c.startswith("config.objective.")]
    points = point_rows(table)
    target = as_text(points[points["signature"] == chosen][axes].head(1))
    picked = {}
    for system, own in points.groupby("system", observed=True):
        weights = [len(axes) if system == "teacher" and a.startswith("config.teacher.") else 1 for a in axes]
        same = (as_text(own[axes]).to_numpy() == target.to_numpy()) @ weights if len(target) and axes else np.zeros(len(own))
        picked[str(system)] = str(own["signature"].iloc[int(same.argmax())])
    return picked | ({"student": chosen} if chosen else {})


def headline_rows(table: pd.DataFrame, named: str | None = None) -> tuple[pd.DataFrame, Chosen]:
    """Keep the rows that stand for each system: one protocol and one point each, all steps, both copy settings.

    Args:
        table: tidy table.
        named: signature of the student's point, if its author named one.

    Returns:
        The rows and the chosen point.
    """
    current = current_protocol(table)
    chosen = choose_student(current, named)
    points = system_points(current, chosen.signature)
    keep = np.zeros(len(current), bool)
    for system, point in points.items():
        keep |= _among(current["system"], [system]) & _among(current["signature"], [point])
    return current[keep], chosen

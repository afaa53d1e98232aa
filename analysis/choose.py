"""Which rows stand for a system: the newest protocol, low-band copy where there is one, and one point of the sweep."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.names import metric as describe
from analysis.table import current_protocol

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


def prefer_copy(table: pd.DataFrame, copy: bool = True) -> pd.DataFrame:
    """Keep one setting of the low-band copy for each system and metric.

    Args:
        table: tidy table.
        copy: the setting wanted; systems that were not scored with it keep what they have.

    Returns:
        The rows kept.
    """
    wanted = table["low_band_copy"] == copy
    has = wanted.groupby([table["system"], table["metric"]], observed=True).transform("any")
    return table[wanted | ~has]


def headline_steps(table: pd.DataFrame) -> pd.DataFrame:
    """Keep one step count of each point: the student's single step, every other system's most.

    Args:
        table: tidy table.

    Returns:
        The rows kept.
    """
    most = table.groupby(["system", "signature"], observed=True)["steps"].transform("max")
    kept: pd.DataFrame = table[table["steps"] == most.where(table["system"] != "student", STUDENT_STEPS)]
    return kept


def point_axes(table: pd.DataFrame, system: str = "student") -> list[str]:
    """List the configuration columns that vary between the points of one system.

    Args:
        table: tidy table with "config.<dotted key>" columns.
        system: system whose points are compared.

    Returns:
        Column names.
    """
    own = table[table["system"] == system].drop_duplicates("signature")
    return [c for c in own.columns if c.startswith("config.") and own[c].nunique(dropna=False) > 1]


def choose_student(table: pd.DataFrame, named: str | None = None) -> Chosen:
    """Choose the point that stands for the student.

    Args:
        table: tidy table of one protocol.
        named: signature that the sweep's author named, if any.

    Returns:
        The named point; else the centre of the sweep (the most frequent value on every axis); else the best in LSD-HF.
    """
    points = table[table["system"] == "student"].drop_duplicates("signature").set_index("signature")
    if points.empty:
        return Chosen("", "no student was evaluated")
    if named in points.index:
        return Chosen(str(named), "named by the sweep's report.json")
    if len(points) == 1:
        return Chosen(str(points.index[0]), "the only point")
    centre = _centre(points[point_axes(table)].astype(str))
    if centre:
        return Chosen(centre, "the centre of the sweep: the most frequent value on every axis")
    best = _best(table[(table["system"] == "student") & (table["steps"] == STUDENT_STEPS)])
    return Chosen(best or str(points.index[0]), f"the best of {len(points)} points in {describe(HEADLINE).label}", on_test=bool(best))


def _centre(points: pd.DataFrame) -> str | None:
    """Return the one point that has the clear mode of every axis, or None."""
    keep = pd.Series(True, index=points.index)
    for axis in points.columns:
        counts = points[axis].value_counts()
        if len(counts) > 1 and counts.iloc[0] == counts.iloc[1]:
            return None
        keep &= points[axis] == counts.index[0]
    return str(points.index[keep][0]) if keep.sum() == 1 else None


def _best(rows: pd.DataFrame, metric: str = HEADLINE) -> str | None:
    scored = prefer_copy(rows[rows["metric"] == metric])
    means = scored.groupby("signature", observed=True)["value"].mean().dropna().map(describe(metric).cost)
    return str(means.idxmin()) if len(means) else None


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
    points = table.drop_duplicates(["system", "signature"])
    target = points[points["signature"] == chosen][axes].astype(str).head(1)
    picked = {}
    for system, own in points.groupby("system", observed=True):
        weights = [len(axes) if system == "teacher" and a.startswith("config.teacher.") else 1 for a in axes]
        same = (own[axes].astype(str).to_numpy() == target.to_numpy()) @ weights if len(target) and axes else np.zeros(len(own))
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
    keep = current["signature"].astype(str) == current["system"].astype(str).map(points)
    return current[keep], chosen

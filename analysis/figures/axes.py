"""The student's quality along the named axes: codebook blocks, loss weight, discretisation, the teacher's steps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from analysis.choose import point_axes, point_rows
from analysis.figures.along import by_axis
from analysis.figures.spec import Pair, plot
from analysis.figures.style import NotDrawn
from analysis.settings import loss_term

NAME = "config.objective.name"
BLOCKS = "config.blocks.partition"
TARGET, TEACHER_STEPS = "config.data.target", "config.teacher.steps"
TARGET_LEVELS = "teacher_target"
DISCRETISATIONS = {
    "ect": ("config.objective.stages", "Curriculum stages (ect)"), "cd": ("config.objective.n", "Levels of the grid, N (cd)"),
    "ct": ("config.objective.n", "Levels of the grid, N (ct)"), "rose": ("config.objective.n", "Levels of the grid, N (rose)"),
}  # fmt: skip
"""Objective -> the setting that says how finely it divides the noise levels."""


@plot("By codebook blocks")
def metric_by_blocks(table: pd.DataFrame) -> Pair:
    """Draw the one-step student's quality for each partition of the codebooks.

    Args:
        table: tidy table.

    Returns:
        The figure; its data has one row per metric and partition, with mean and 95 % interval.

    Raises:
        NotDrawn: one partition alone was trained.
    """
    return by_axis(table, BLOCKS, "Codebook blocks", sweep="+ablation=codebook_blocks")


@plot("By loss weight")
def metric_by_loss_weight(table: pd.DataFrame) -> Pair:
    """Draw the one-step student's quality for each weight of the loss term that varies (of several, the one with most levels).

    Args:
        table: tidy table.

    Returns:
        The figure; its data has one row per metric and weight, with mean and 95 % interval, and how much worse than the best weight it is:
        the flat region, where it is not clearly worse, is shaded.

    Raises:
        NotDrawn: no loss weight varies.
    """
    student = _student_points(table)
    varying = [c for c in point_axes(student) if loss_term(c)]
    if not varying:
        raise NotDrawn("no loss weight varies between the student's points: sweep one, e.g. +ablation=loss_weights")
    axis = max(varying, key=lambda c: student[c].nunique())
    return by_axis(table, axis, f"{'Calibrated share' if '.auto.' in axis else 'Weight'} of the {loss_term(axis)} term", flat=True)


@plot("By discretisation of the noise levels")
def metric_by_discretisation(table: pd.DataFrame) -> Pair:
    """Draw the one-step student's quality for each number of curriculum stages, or of levels of the grid, of the objective that varies it.

    Args:
        table: tidy table.

    Returns:
        The figure; its data has one row per metric and level, with mean and 95 % interval.

    Raises:
        NotDrawn: no objective was trained at two discretisations.
    """
    student = _student_points(table)
    counts = {o: student[axis][_named(student, o)].nunique() for o, (axis, _) in DISCRETISATIONS.items() if axis in student}
    objective = max(counts, key=lambda o: counts[o], default="")
    if counts.get(objective, 0) < 2:
        raise NotDrawn("no objective was trained at two discretisations: sweep +ablation=step_counts (ect) or step_counts_cd")
    axis, label = DISCRETISATIONS[objective]
    return by_axis(table, axis, label, only=set(student["signature"][_named(student, objective)].astype(str)))


@plot("By the teacher's steps")
def metric_by_teacher_steps(table: pd.DataFrame) -> Pair:
    """Draw the one-step student's quality for each target: the codes of a teacher at some Heun steps, a mix, or the original's codes.

    Args:
        table: tidy table whose students differ in config.teacher.steps or config.data.target.

    Returns:
        The figure; its data has one row per metric and target, with mean and 95 % interval.

    Raises:
        NotDrawn: all students have the same target.
    """
    student = _student_points(table)
    targets = {str(row["signature"]): _target(row) for row in student.to_dict("records")}
    order = sorted(set(targets.values()), key=_target_order)
    if len(order) < 2:
        raise NotDrawn("neither the teacher's steps nor the target vary between the student's points: sweep +ablation=teacher_steps")
    level = pd.Categorical.from_codes(_codes(table, targets, order), order)
    numbers = TARGET not in student or student[TARGET].nunique() < 2
    label = "Heun steps of the teacher" if numbers else "Heun steps of the teacher, or other target"
    return by_axis(table.assign(**{TARGET_LEVELS: level}), TARGET_LEVELS, label, within=(TARGET, TEACHER_STEPS), order=order)


def _target(row: dict[Any, Any]) -> str:
    """Write what a student learnt from: "18", "mix, 18", "original"."""
    steps = "" if pd.isna(row.get(TEACHER_STEPS, np.nan)) else f"{row[TEACHER_STEPS]:g}"
    kind = str(row.get(TARGET, "teacher"))
    return {"hr": "original", "teacher": steps or "teacher"}.get(kind, ", ".join(filter(None, (kind, steps))))


def _target_order(level: str) -> tuple[int, float, str]:
    return (0, float(level), "") if level.isdecimal() else (1, 0.0, level)


def _codes(table: pd.DataFrame, levels: dict[str, str], order: Sequence[str]) -> Any:
    """Return the place of each row's level, -1 where its signature has none."""
    column = table["signature"].astype("category").cat
    place = [order.index(levels[str(s)]) if str(s) in levels else -1 for s in column.categories]
    return np.array([*place, -1])[column.codes.to_numpy()]


def _student_points(table: pd.DataFrame) -> pd.DataFrame:
    points = point_rows(table)
    return points[points["system"] == "student"]


def _named(student: pd.DataFrame, objective: str) -> pd.Series:
    return student[NAME] == objective if NAME in student else pd.Series(objective == "ect", index=student.index)


def metric_by_axis(table: pd.DataFrame, axis: str, *, label: str | None = None) -> Figure:
    """Draw the one-step student's quality along any configuration column.

    Args:
        table: tidy table.
        axis: column, "config.<dotted key>".
        label: axis title; the dotted key where none is given.

    Returns:
        The figure.

    Raises:
        NotDrawn: the axis does not vary between the student's points.
    """
    return by_axis(table, axis, label)[0]

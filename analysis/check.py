"""Check the bars on a tidy table: means, paired worsening with its interval, verdict, and what is missing."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from analysis.cells import WHOLE_SET
from analysis.choose import system_points
from analysis.criteria import BARS, Bar
from analysis.names import OPTIMISES, RESAMPLERS, UNTRAINED, system_label
from analysis.names import metric as describe
from analysis.pairs import costs, paired_difference, paired_ratio, run_mean, shared_utterances
from analysis.points import describe_points
from analysis.settings import loss_terms
from analysis.stats import MIN_SEEDS, MIN_SPEAKERS, Interval
from analysis.table import current_protocol

MET, MISSED, NOT_MEASURED, SHOWN = "met", "missed", "not measured", "shown"
RIVALS = ("token_ce", "regression")
"""Systems of which every point is compared, not one alone."""
BUDGET = ("train.steps", "train.batch", "train.accumulate")


@dataclass(frozen=True)
class Line:
    """One bar, checked.

    Attributes:
        bar: the bar.
        rival: the rival's point, by name.
        student_mean: mean of the student over the utterances both have.
        rival_mean: mean of the rival.
        worsening: how much worse the student is, a share or in the metric's unit; negative is better.
        missing: what is needed before the bar counts as measured, "" where nothing is.
        note: what else a reader must know.
    """

    bar: Bar
    rival: str
    student_mean: float
    rival_mean: float
    worsening: Interval
    missing: str = ""
    note: str = ""

    @property
    def verdict(self) -> str:
        """Return "met", "missed", "not measured", or "shown" where nothing is asked."""
        if self.missing:
            return NOT_MEASURED
        if np.isnan(self.bar.rule.margin):
            return SHOWN
        return MET if self.worsening.high < self.bar.rule.margin else MISSED


def check(table: pd.DataFrame, student: str, teacher: str | None = None) -> list[Line]:
    """Check every bar on a tidy table.

    Args:
        table: tidy table; the newest protocol is used.
        student: signature of the student's point.
        teacher: signature of the teacher; the one that fits the student's settings where none is given.

    Returns:
        A line per bar; one for each point of token_ce and of regression, where there are several.
    """
    current = current_protocol(table)
    rows = current.assign(system=current["system"].astype(str), signature=current["signature"].astype(str))
    near = system_points(rows, student) | ({"teacher": teacher} if teacher else {})
    labels = describe_points(rows).set_index(["system", "signature"])["label"].to_dict()
    own = rows[(rows["system"] == "student") & (rows["signature"] == student)]
    lines = []
    for bar in BARS:
        for signature in _rivals(rows, bar, near):
            other = rows[(rows["system"] == bar.rival) & (rows["signature"] == signature)]
            name = labels.get((bar.rival, signature), bar.rival) if bar.rival in RIVALS else bar.rival
            lines.append(_measure(bar, own, other, system_label(name, 0 if bar.rival in RIVALS else bar.rival_steps)))
    return lines


def _rivals(rows: pd.DataFrame, bar: Bar, near: dict[str, str]) -> list[str]:
    """Return the signatures of the points a bar is checked against: every token_ce and regression, one of the other systems."""
    if bar.rival in RIVALS:
        return sorted(rows["signature"][rows["system"] == bar.rival].unique()) or [""]
    return [near.get(bar.rival, "")]


def _measure(bar: Bar, student: pd.DataFrame, rival: pd.DataFrame, name: str) -> Line:
    sides = _select(student, bar, bar.steps), _select(rival, bar, bar.rival_steps)
    shared = shared_utterances(*sides)
    a, b = costs(shared[0]), costs(shared[1])
    worsening = _share(a, b) if bar.rule.relative else paired_difference(a, b)
    missing = _data_missing(bar, student, rival, sides, shared) or _seeds_missing(bar, *sides)
    notes = [_optimised(bar, student), _budget(bar, student, rival), *([] if missing else [_near_miss(bar, worsening)])]
    if 1 < worsening.speakers < MIN_SPEAKERS:
        notes.append(f"{worsening.speakers} speakers only")
    return Line(bar, name, run_mean(shared[0]), run_mean(shared[1]), worsening, "; ".join(missing), "; ".join(filter(None, notes)))


def _select(rows: pd.DataFrame, bar: Bar, steps: int) -> pd.DataFrame:
    kept = rows[(rows["metric"] == bar.metric) & (rows["steps"] == steps) & np.isfinite(rows["value"])]
    return kept[(kept["low_band_copy"] == bar.copy) | kept["system"].isin(RESAMPLERS)]


def _share(a: pd.DataFrame, b: pd.DataFrame) -> Interval:
    ratio = paired_ratio(a, b)
    return replace(ratio, mean=ratio.mean - 1, low=ratio.low - 1, high=ratio.high - 1)


def _seeds_missing(bar: Bar, student: pd.DataFrame, rival: pd.DataFrame) -> list[str]:
    """Say which trained side has too few seeds; a teacher is one fixed network, compared with every seed."""
    sides = {"student": student} | ({bar.rival: rival} if bar.rival not in (*UNTRAINED, "teacher", "student") else {})
    counts = {name: rows["seed"].nunique() for name, rows in sides.items()}
    return [f"{name}: {count} of {MIN_SEEDS} seeds" for name, count in counts.items() if 0 < count < MIN_SEEDS]


Sides = tuple[pd.DataFrame, pd.DataFrame]


def _data_missing(bar: Bar, student: pd.DataFrame, rival: pd.DataFrame, sides: Sides, shared: Sides) -> list[str]:
    """Say which records a bar needs and does not have."""
    if sides[0].empty or sides[1].empty:
        gaps = zip(("student", bar.rival), (student, rival), sides, (bar.steps, bar.rival_steps), strict=True)
        return [_gap(bar, name, rows, steps) for name, rows, side, steps in gaps if side.empty]
    if shared[0].empty:
        return ["no utterance in common"]
    clustered = bar.metric == "frechet_hf" or shared[0]["speaker"][shared[0]["speaker"] != WHOLE_SET].nunique() > 1
    return [] if clustered else ["2 or more test speakers"]


def _gap(bar: Bar, name: str, rows: pd.DataFrame, steps: int) -> str:
    if rows.empty:
        return f"{name}: no records"
    if steps not in set(rows["steps"]):
        return f"{name}: no records at {steps} steps, only at {', '.join(map(str, sorted(set(rows['steps']))))}"
    return f"{name}: no {bar.metric} {'with low-band copy' if bar.copy else 'without low-band copy'}"


def _near_miss(bar: Bar, worsening: Interval) -> str:
    missed = worsening.high >= bar.rule.margin > worsening.mean
    return "the mean is within the margin, its interval is not" if missed and bar.rule.margin > 0 else ""


def _optimised(bar: Bar, student: pd.DataFrame) -> str:
    """Say that the student was trained on the metric it is judged by."""
    terms = [term for row in student.head(1).to_dict("records") for term in loss_terms({str(k): v for k, v in row.items()})]
    trained_on = {name for term in terms for name in OPTIMISES.get(term, ())}
    return f"the student was trained on {describe(bar.metric).label}" if bar.metric in trained_on else ""


def _budget(bar: Bar, student: pd.DataFrame, rival: pd.DataFrame) -> str:
    """Say where a trained rival had another budget of training."""
    if bar.rival not in RIVALS or student.empty or rival.empty:
        return ""
    pairs = {key: [str(side[f"config.{key}"].iloc[0]) for side in (student, rival)] for key in BUDGET if f"config.{key}" in student}
    other = [f"{key} {own} against {its}" for key, (own, its) in pairs.items() if own != its]
    return f"not the same budget: {', '.join(other)}" if other else ""

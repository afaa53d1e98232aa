"""The answer sentence: is the one-step student better than each system it is compared with?"""

from __future__ import annotations

from dataclasses import dataclass, replace

import pandas as pd

from analysis.choose import STUDENT_STEPS, headline_rows, prefer_copy
from analysis.multiple import BETTER, UNCLEAR, WORSE, holm, judge
from analysis.names import metric as describe
from analysis.names import system_label
from analysis.pairs import paired_difference
from analysis.stats import Interval
from analysis.tables import number

AGAINST = ("token_ce", "teacher", "flow", "regression", "sinc")
ASKED = ("lsd_hf", "si_sdr")
NAMES = {"teacher": "its teacher"}


@dataclass(frozen=True)
class Comparison:
    """The one-step student against one system in one metric.

    Attributes:
        metric: metric name.
        system: the other system.
        label: its name with its step count.
        gain: how much better the student is, in the metric's unit; positive is better.
        p_holm: its p-value, corrected for all comparisons made with it.
    """

    metric: str
    system: str
    label: str
    gain: Interval
    p_holm: float = float("nan")

    @property
    def p(self) -> float:
        """Return the p-value of this comparison alone."""
        return self.gain.p

    @property
    def verdict(self) -> str:
        """Return "better", "worse", or "no clear difference" where the corrected p-value is 0.05 or more, or not known."""
        return judge(self.gain.mean, self.p_holm)

    @property
    def text(self) -> str:
        """Return "0.31 [0.25, 0.37]", the sign as it is."""
        return _span(self.gain, self.metric)


def compare(table: pd.DataFrame, named: str | None = None) -> list[Comparison]:
    """Compare the one-step student with every reference system that was evaluated.

    Args:
        table: tidy table.
        named: signature of the student's point, if its author named one.

    Returns:
        One comparison per metric and system, by metric; p-values are corrected by Holm over all of them.
    """
    rows = prefer_copy(headline_rows(table, named)[0])
    found = []
    for metric in ASKED:
        scored = rows[rows["metric"] == metric]
        student = scored[(scored["system"] == "student") & (scored["steps"] == STUDENT_STEPS)]
        for system in AGAINST if len(student) else ():
            other = scored[scored["system"] == system]
            other = other[other["steps"] == other["steps"].max()]
            if len(other):
                label = system_label(system, int(other["steps"].iloc[0]))
                found.append(Comparison(metric, system, label, _gain(paired_difference(student, other), metric)))
    return [replace(c, p_holm=p) for c, p in zip(found, holm([c.p for c in found]), strict=True)]


def _gain(difference: Interval, metric: str) -> Interval:
    if describe(metric).better == "higher":
        return difference
    low, high = -difference.high, -difference.low
    return replace(difference, mean=-difference.mean, low=low, high=high)


def sentences(comparisons: list[Comparison]) -> list[str]:
    """Put the comparisons in words, one sentence per metric.

    Args:
        comparisons: what `compare` returns.

    Returns:
        Sentences such as "In LSD-HF the one-step student is better than sinc (by 4.0 [3.9, 4.1]); no clear difference from ...".
    """
    if not comparisons:
        return ["No answer: the one-step student and a system to compare it with were not both evaluated."]
    return [_sentence(metric, [c for c in comparisons if c.metric == metric]) for metric in dict.fromkeys(c.metric for c in comparisons)]


def _sentence(metric: str, comparisons: list[Comparison]) -> str:
    parts = []
    for verdict, words in ((BETTER, "is better than"), (WORSE, "is worse than"), (UNCLEAR, "shows no clear difference from")):
        named = [_named(c) for c in comparisons if c.verdict == verdict]
        if named:
            parts.append(f"{words} {_listed(named)}")
    return f"In {describe(metric).label} the one-step student {'; it '.join(parts)}."


def _named(comparison: Comparison) -> str:
    name, metric = NAMES.get(comparison.system, comparison.system), comparison.metric
    unit = f" {describe(metric).unit}".rstrip()
    if comparison.verdict == UNCLEAR:
        return f"{name} ({_span(comparison.gain, metric)}{unit})"
    gain = comparison.gain if comparison.verdict == BETTER else _flipped(comparison.gain)
    return f"{name} (by {_span(gain, metric)}{unit})"


def _flipped(gain: Interval) -> Interval:
    return replace(gain, mean=-gain.mean, low=-gain.high, high=-gain.low)


def _span(gain: Interval, metric: str) -> str:
    if gain.method == "none":
        return f"{number(gain.mean, metric)}, no interval"
    return f"{number(gain.mean, metric)} [{number(gain.low, metric)}, {number(gain.high, metric)}]"


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"

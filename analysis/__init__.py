"""From the records of a sweep to tables, figures and a report."""

from __future__ import annotations

from analysis.anova import axis_table
from analysis.effects import flat_region, interactions, main_effects
from analysis.improvement import performance_profile, probability_of_improvement
from analysis.multiple import differences, holm
from analysis.pairs import paired_difference, paired_ratio
from analysis.robust import interquartile_mean
from analysis.runs import Finding
from analysis.stats import Interval, summary
from analysis.table import Results, ResultsError, lazy, load

__all__ = [
    "Finding", "Interval", "Results", "ResultsError", "axis_table", "differences", "flat_region", "holm", "interactions",
    "interquartile_mean", "lazy", "load", "main_effects", "paired_difference", "paired_ratio", "performance_profile",
    "probability_of_improvement", "summary",
]  # fmt: skip

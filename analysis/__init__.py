"""From the records of a sweep to tables, figures and a report."""

from __future__ import annotations

from analysis.pairs import paired_difference, paired_ratio
from analysis.runs import Finding
from analysis.stats import summary
from analysis.table import Results, ResultsError, load

__all__ = ["Finding", "Results", "ResultsError", "load", "paired_difference", "paired_ratio", "summary"]

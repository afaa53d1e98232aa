"""What is wrong with the records themselves, as findings: mixed protocols, undefined values, twins, different test sets."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pandas as pd

from analysis.runs import Finding
from lcm.records import BAND_METRICS

RECORD_KEY = ["signature", "seed", "system", "steps", "low_band_copy", "protocol"]
"""What one run alone may have scored."""
MOST_UNDEFINED = 0.1
"""Share of a metric's values that may be undefined before a reader is warned."""


def check(counted: pd.DataFrame, missing: pd.DataFrame) -> list[Finding]:
    """Look for what would make a mean wrong.

    Args:
        counted: what `reading.coverage` returns.
        missing: what `completeness.missing` returns.

    Returns:
        Findings; one for each kind of thing that is missing, with examples.
    """
    return [*_protocols(counted), *_values(counted), *_twins(counted), *_missing(missing)]


def _protocols(counted: pd.DataFrame) -> list[Finding]:
    versions = sorted(counted["protocol"].unique())
    if len(versions) < 2:
        return []
    old = counted[counted["protocol"] < versions[-1]]["run"].unique()
    text = f"Mixed protocol versions {', '.join(map(str, versions))}: never averaged together; figures show version {versions[-1]} alone."
    return [Finding("error", f"{text} Evaluate again: {some(old)}.")]


def _values(counted: pd.DataFrame) -> list[Finding]:
    judged = counted[~counted["metric"].isin(BAND_METRICS)]  # a recording that ends below a band has no distance there
    sums = judged.groupby(["system", "metric"], observed=True)[["undefined", "rows"]].sum().reset_index()
    found = []
    for row in sums[sums["undefined"] > 0].to_dict("records"):
        values = f"{row['undefined']} of {row['rows']} values of {row['metric']} for {row['system']}"
        level = "warning" if row["undefined"] > MOST_UNDEFINED * row["rows"] else "note"
        found.append(Finding(level, f"{values} are not defined; they are left out of its mean."))
    return found


def _twins(counted: pd.DataFrame) -> list[Finding]:
    runs = counted.drop_duplicates([*RECORD_KEY, "run"])
    twins = runs[runs.duplicated(RECORD_KEY, keep=False)]
    groups = twins.groupby(RECORD_KEY, observed=True)["run"].agg(lambda names: tuple(map(str, names)))  # in the order of the runs
    text = "Duplicate signature and seed in {}: of what both scored, the first alone is used; remove the others."
    found = [Finding("warning", text.format(some(names))) for names in sorted(set(groups))]
    inside = counted.loc[counted["rows"] > counted["utterances"], "run"].unique()
    found += [Finding("warning", f"Records that stand twice in {some(inside)}: the first is used; evaluate again.")] if len(inside) else []
    return found


def _missing(missing: pd.DataFrame) -> list[Finding]:
    """Return one finding a kind; runs that failed or are on their way have one each already."""
    found = []
    for kind, part in missing[(missing["kind"] != "protocol")].groupby("kind", sort=False):
        own = part[(part["kind"] != "point") | (part["run"] == "") | part["what"].str.contains("has not begun")]
        if len(own):
            text = f"Missing {kind}{'s' * (len(own) > 1)} ({len(own)}): {some(_what(own), 3)}. All are listed under what is missing."
            found.append(Finding("warning", text))
    return found


def _what(rows: pd.DataFrame) -> Iterable[str]:
    return (f"{row['run']} {row['what']}".strip() for row in rows.to_dict("records"))


def some(names: Iterable[Any], most: int = 5) -> str:
    """Write the first few of many names, and how many more there are."""
    listed = [str(name) for name in names]
    return ", ".join(listed[:most]) + (f" and {len(listed) - most} more" if len(listed) > most else "")

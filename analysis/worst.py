"""The clips on which the student does worst, and what every system scored on them."""

from __future__ import annotations

import pandas as pd

from analysis.cells import WHOLE_SET
from analysis.choose import HEADLINE, STUDENT_STEPS, headline_rows, headline_steps, prefer_copy
from analysis.names import metric as describe
from analysis.names import system_order

COUNT = 10
COLUMNS = ("rank", "utterance", "speaker", "system", "steps", "metric", "value", "seeds")


def worst_clips(table: pd.DataFrame, named: str | None = None, *, metric: str = HEADLINE, count: int = COUNT) -> pd.DataFrame:
    """List the clips on which the one-step student does worst, worst first.

    Args:
        table: tidy table.
        named: signature of the student's point, if its author named one.
        metric: the metric that decides, in the sense of its `better`.
        count: clips wanted.

    Returns:
        One row per clip and system, the student first: rank (1 is the worst), utterance, speaker, system, steps, metric, value (mean over
        seeds, low-band copy where there is one), seeds (behind the value). No row where the one-step student was not scored.
    """
    rows = prefer_copy(headline_steps(headline_rows(table, named)[0]))
    scored = rows[(rows["metric"] == metric) & (rows["utterance"] != WHOLE_SET)]
    keys = ["utterance", "speaker", "system", "steps"]
    means = scored.groupby(keys, observed=True)["value"].agg(value="mean", seeds="count").dropna().reset_index()
    ranks = _ranks(means[(means["system"] == "student") & (means["steps"] == STUDENT_STEPS)], metric, count)
    chosen = means.astype({"utterance": str, "speaker": str, "system": str}).assign(metric=metric)
    chosen["rank"] = chosen["utterance"].map(ranks)
    chosen = chosen.dropna(subset="rank").astype({"rank": int})
    place = chosen["system"].map(system_order)
    return chosen.assign(place=place).sort_values(["rank", "place", "steps"], ignore_index=True)[list(COLUMNS)]


def _ranks(student: pd.DataFrame, metric: str, count: int) -> dict[str, int]:
    """Rank clips by the student's cost, from 1; of equal ones the first by id comes first."""
    costs = pd.Series(student["value"].map(describe(metric).cost).to_numpy(), index=student["utterance"].astype(str))
    worst = costs.sort_index().sort_values(ascending=False, kind="stable").head(count)
    return {str(utterance): rank for rank, utterance in enumerate(worst.index, start=1)}


def with_cutoffs(worst: pd.DataFrame, facts: pd.DataFrame) -> pd.DataFrame:
    """Add each clip's cutoff.

    Args:
        worst: what `worst_clips` returns.
        facts: columns utterance and cutoff_hz, from `clip_facts.load_clip_facts` of the student's runs.

    Returns:
        `worst` with column cutoff_hz, Hz; NaN where it is not known, or where the runs do not agree on it.
    """
    of = facts.drop_duplicates(["utterance", "cutoff_hz"]).drop_duplicates("utterance", keep=False).set_index("utterance")["cutoff_hz"]
    return worst.assign(cutoff_hz=worst["utterance"].map(of).astype(float))

"""Many comparisons at once: Holm's correction, and the table of every point against one baseline."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from analysis.cells import WHOLE_SET, Array
from analysis.choose import headline_steps, prefer_copy
from analysis.names import metric as describe
from analysis.pairs import costs, paired_difference
from analysis.points import describe_points
from analysis.table import ResultsError, current_protocol

ALPHA = 0.05
BETTER, WORSE, UNCLEAR = "better", "worse", "no clear difference"
COLUMNS = (
    "label", "system", "signature", "steps", "metric", "mean", "low", "high", "p", "p_holm", "verdict", "speakers", "seeds", "method",
    "warning",
)  # fmt: skip


def holm(p_values: Sequence[float] | Array) -> Array:
    """Adjust p-values so that all are below alpha by chance in at most alpha of studies.

    Args:
        p_values: p-values of one family; NaN where a comparison could not be tested, which makes it no member.

    Returns:
        Adjusted p-values in the same order, at most 1; NaN stays.

    Source: Holm (1979), "A simple sequentially rejective multiple test procedure".
    """
    given = np.asarray(p_values, float)
    adjusted = np.full(given.shape, np.nan)
    known = np.flatnonzero(np.isfinite(given))
    order = known[np.argsort(given[known], kind="stable")]
    factors = len(order) - np.arange(len(order))
    adjusted[order] = np.minimum(np.maximum.accumulate(given[order] * factors), 1.0)
    return adjusted


def judge(gain: float, p: float, alpha: float = ALPHA) -> str:
    """Return "better", "worse", or "no clear difference" where chance explains it or nothing could be tested.

    Args:
        gain: difference, positive is better.
        p: its p-value, corrected where several are judged together.
        alpha: how often chance alone may look like a difference.
    """
    if not p < alpha:
        return UNCLEAR
    return BETTER if gain > 0 else WORSE


def differences(
    table: pd.DataFrame, baseline: str = "sinc", metrics: Sequence[str] = ("lsd_hf", "si_sdr"), *, seed: int = 0
) -> pd.DataFrame:
    """Compare every point and system with a baseline on the same utterances, corrected by Holm over all rows returned.

    Args:
        table: tidy table; the newest protocol, low-band copy where there is one, the student at one step.
        baseline: a system ("sinc", "teacher") or the signature of a point.
        metrics: metrics to compare.
        seed: seed of the bootstrap.

    Returns:
        Columns label, system, signature, steps, metric, mean, low, high (of point - baseline, in the metric's unit; of a metric with a
        target of the distances from it), p, p_holm, verdict, speakers, seeds, method, warning; best first within each metric.

    Raises:
        ResultsError: nothing has the baseline's name, or several systems have it as their signature.
    """
    shown = prefer_copy(headline_steps(current_protocol(table)))
    shown = shown[shown["metric"].isin(metrics)]
    own = (shown["system"] == baseline) | (shown["signature"] == baseline)
    _check_baseline(shown, own, baseline)
    labels = describe_points(shown).set_index(["system", "signature"])["label"].astype(str).to_dict()
    others = dict(iter(shown[own].groupby("metric", observed=True)))
    rows = [
        _row(key, part, others[key[3]], labels, seed)
        for key, part in shown[~own].groupby(["system", "signature", "steps", "metric"], observed=True) if key[3] in others
    ]  # fmt: skip
    frame = pd.DataFrame([row for row in rows if row], columns=[*COLUMNS, "gain"])
    frame["p_holm"] = holm(frame["p"])
    frame["verdict"] = [judge(g, p) for g, p in zip(frame.pop("gain"), frame["p_holm"], strict=True)]
    order = {name: place for place, name in enumerate(metrics)}
    cost = [-v if describe(m).better == "higher" else v for m, v in zip(frame["metric"], frame["mean"], strict=True)]
    sorted_rows = frame.assign(place=frame["metric"].map(order), cost=cost).sort_values(["place", "cost"], ignore_index=True)
    return sorted_rows[list(COLUMNS)]


def _check_baseline(shown: pd.DataFrame, own: pd.Series, baseline: str) -> None:
    systems = sorted(shown["system"][own].astype(str).unique())
    if not systems:
        known = ", ".join(sorted({*shown["system"].astype(str).unique(), *shown["signature"].astype(str).unique()})[:12])
        raise ResultsError(f"No system or point is called {baseline!r}: choose a baseline of {known or 'none: the table is empty'}")
    if len(systems) > 1:
        raise ResultsError(f"{baseline!r} is the signature of several systems ({', '.join(systems)}): name one of these as the baseline")


def _row(key: Any, part: pd.DataFrame, other: pd.DataFrame, labels: dict[tuple[Any, Any], str], seed: int) -> dict[str, Any] | None:
    system, signature, steps, metric = key
    if (other["utterance"] == WHOLE_SET).all() != (part["utterance"] == WHOLE_SET).all():
        return None
    aimed = describe(metric).better == "target"
    found = paired_difference(costs(part), costs(other), seed=seed) if aimed else paired_difference(part, other, seed=seed)
    gain = found.mean if describe(metric).better == "higher" else -found.mean
    named = {"label": labels.get((system, signature), str(system)), "system": str(system), "signature": str(signature), "steps": int(steps)}
    return named | {"metric": str(metric), "p": found.p, "gain": gain} | {
        name: getattr(found, name) for name in ("mean", "low", "high", "speakers", "seeds", "method", "warning")
    }  # fmt: skip

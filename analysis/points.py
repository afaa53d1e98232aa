"""Every point of a sweep as one row: its objective, what differs from the rest, and its means."""

from __future__ import annotations

from collections import Counter
from functools import partial
from pathlib import PurePath
from typing import Any

import numpy as np
import pandas as pd

from analysis.choose import headline_steps, prefer_copy
from analysis.gaps import clips_mark, clips_of_rows
from analysis.names import SYSTEMS, UNTRAINED
from analysis.names import metric as describe
from analysis.settings import loss_term, loss_terms
from analysis.stats import summary
from analysis.table import current_protocol
from analysis.tables import cell_text

POINT_METRICS = (
    "lsd_hf", "lsd", "mr_stft", "si_sdr", "hf_bias", "fine_structure", "frechet_hf", "time_network", "time_total",
)  # fmt: skip
"""`time_network` is without the codec, `time_total` with it."""
KEY = ["system", "signature", "steps", "low_band_copy"]
NAME = "config.objective.name"
PARTITION = "config.blocks.partition"
VAGUE = ("steps", "name", "scale", "weights", "seed")
"""Last parts of dotted keys that say nothing without the part before."""


def points(table: pd.DataFrame, metrics: tuple[str, ...] = POINT_METRICS) -> pd.DataFrame:
    """Summarise every point at every step count, with and without low-band copy.

    Args:
        table: tidy table; the newest protocol is used.
        metrics: metrics to summarise; those without records are NaN.

    Returns:
        Columns label, objective, differs, losses, system, signature, steps, low_band_copy, seeds, clips, usual_clips; for each metric its
        mean, `_low` and `_high`; then the configuration. Low-band copy first, by LSD-HF or the first metric; points with fewer clips
        than usual last, for their means do not compare.
    """
    current = current_protocol(table)
    rows = current[current["metric"].isin(metrics)]
    cells = summary(rows, [*KEY, "metric"])
    runs = cells.groupby(KEY, observed=True)["runs"].max().rename("seeds")
    wide = cells.astype({"metric": object}).set_index([*KEY, "metric"])[["mean", "low", "high"]].unstack("metric")
    columns = [(part, name) for name in metrics for part in ("mean", "low", "high")]
    wide = wide.reindex(columns=pd.MultiIndex.from_tuples(columns))
    wide.columns = [name if part == "mean" else f"{name}_{part}" for part, name in columns]
    frame = wide.join(runs).join(clips_of_rows(cells, KEY)).reset_index().astype({"system": str, "signature": str})
    frame = describe_points(current).merge(frame, on=["system", "signature"])
    order, frame["lacking"] = ["low_band_copy", "lacking", metrics[0], "label"], frame["clips"] < frame["usual_clips"]
    frame = frame.sort_values(order, ascending=[False, True, True, True], ignore_index=True)
    first = ["label", "objective", "differs", "losses", *KEY, "seeds", "clips", "usual_clips", *wide.columns]
    return frame[[*first, *(c for c in frame.columns if c.startswith("config."))]]


def headline_points(table: pd.DataFrame, metrics: tuple[str, ...] = POINT_METRICS) -> pd.DataFrame:
    """Summarise every point once: the student's single step, other systems' most, low-band copy where there is one.

    Args:
        table: tidy table.
        metrics: metrics to summarise.

    Returns:
        The columns of `points`.
    """
    return points(prefer_copy(headline_steps(current_protocol(table))), metrics)


def describe_points(table: pd.DataFrame) -> pd.DataFrame:
    """Name every point of a table.

    Args:
        table: tidy table with "config.<dotted key>" columns.

    Returns:
        One row per system and signature: system, signature, label ("ect mr_stft 0.1"), objective, differs, losses, and its configuration
        where the system was trained in the sweep.
    """
    axes = [c for c in table.columns if c.startswith("config.")]
    own = table.drop_duplicates(["system", "signature"])[["system", "signature", *axes]].astype(object).reset_index(drop=True)
    own["objective"] = [_objective(row) for row in own.to_dict("records")]
    trained = ~own["system"].isin(UNTRAINED) & ((own["system"] != "teacher") | (own.get(NAME) == "diffusion"))
    own.loc[~trained, axes] = None  # the settings that stand beside the baselines and a given teacher are some student's
    usual = _usual(own[trained], [c for c in axes if c != NAME and own[c][trained].map(partial(_value, c)).nunique() > 1])
    records = own.to_dict("records")
    own["differs"] = [_differs(row, usual) if known else "" for row, known in zip(records, trained, strict=True)]
    own["losses"] = [", ".join(f"{k} {v:g}" for k, v in loss_terms(row).items()) for row in records]
    label = (own["objective"] + " " + own["differs"]).str.strip()
    twins = label.groupby([own["system"], label]).transform("size") > 1  # as with another corpus or codec in one root
    own["label"] = label.where(~twins, label + " #" + own["signature"].astype(str).str[:6])
    return own[["system", "signature", "label", "objective", "differs", "losses", *axes]]


def _objective(row: dict[Any, Any]) -> str:
    """Return what a point was trained by: several objectives make a student, the other systems have one each."""
    if row["system"] == "student":
        return str(row.get(NAME) or "student")
    return "diffusion" if row["system"] == "teacher" else SYSTEMS.get(row["system"], str(row["system"]))


Usual = dict[tuple[str, str], Any]


def _usual(trained: pd.DataFrame, axes: list[str]) -> Usual:
    """Find the most frequent value of every setting: of the objective's own among its points, of the others among all."""
    found = {}
    for axis in axes:
        every = Counter(map(partial(_value, axis), trained[axis]))
        for objective, part in trained.groupby("objective"):
            near = Counter(map(partial(_value, axis), part[axis])) if axis.startswith("config.objective.") else Counter()
            found[str(objective), axis] = min(every, key=lambda value: (-near[value], -every[value], _rank(value)))
    return found


def _rank(value: str) -> tuple[float, int, str]:
    """Return the order of values that are equally frequent: the smallest number, the simplest text."""
    try:
        return float(value), 0, value
    except ValueError:
        return np.inf, value.count(","), value


def _differs(row: dict[Any, Any], usual: Usual) -> str:
    texts = [
        _setting(axis, _value(axis, row[axis]), [other for _, other in usual])
        for (objective, axis), value in usual.items() if objective == row["objective"] and _value(axis, row[axis]) != value
    ]  # fmt: skip
    return " ".join(texts)


def _setting(axis: str, value: str, axes: list[str]) -> str:
    """Write one setting as briefly as it is clear: "mr_stft 0.1", "[1,1,2,4]", "no checkpointing"."""
    *_, before, leaf = axis.split(".")
    if axis == PARTITION:
        return value
    if loss_term(axis):
        return f"{leaf} auto {value}" if before == "auto" else f"{leaf} {value}"
    alone = leaf not in VAGUE and len({a for a in axes if a.endswith(f".{leaf}")}) < 2
    name = leaf if alone or before == "config" else f"{before}.{leaf}"
    return {"True": name, "False": f"no {name}"}.get(value, f"{name} {value}")


def _value(axis: str, value: Any) -> str:
    """Return a setting's value as text; a path is cut to the part that tells it apart."""
    if axis == PARTITION and "," not in str(value):
        return "one block"  # [] is one block of all codebooks, and so is [8] of eight
    if value is None or (isinstance(value, float) and np.isnan(value)):
        return "none"
    if isinstance(value, float):
        return f"{value:g}"
    text = str(value)
    if "/" in text and not text.startswith("["):
        path = PurePath(text)
        return path.parent.parent.name if path.parent.name == "checkpoints" else path.name
    return text.replace(" ", "")


def _cell(row: dict[Any, Any], name: str) -> str:
    return cell_text({"mean": row[name], "low": row[f"{name}_low"], "high": row[f"{name}_high"]}, name)


def readable(frame: pd.DataFrame) -> pd.DataFrame:
    """Arrange points for reading: cells "mean [low, high]"; what is not trained is left out.

    Args:
        frame: what `headline_points` returns.

    Returns:
        Text columns: point (with its number of clips where that is below the usual one), steps, seeds, then one per metric that has a
        value.
    """
    own = frame[~frame["system"].isin(UNTRAINED)]
    names = [m for m in POINT_METRICS if m in own and own[m].notna().any()]
    rows = []
    for row in own.to_dict("records"):
        text = {describe(m).label: "" if pd.isna(row[m]) else _cell(row, m) for m in names}
        name = f"{row['label']}{clips_mark(row['clips'], row['usual_clips'])}"
        rows.append({"point": name, "steps": str(row["steps"]), "seeds": str(row["seeds"]), **text})
    return pd.DataFrame(rows, columns=["point", "steps", "seeds", *(describe(m).label for m in names)])

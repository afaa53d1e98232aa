"""Which audio there is to listen to, and how training went: the files of a run folder beside its records."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from analysis.choose import choose_student, system_points
from analysis.names import SYSTEMS, system_label
from analysis.table import Results, current_protocol

ORDER = (
    *("ground_truth", "degraded", "sinc", "student", "teacher", "mbd", "flow", "token_ce", "regression"),
    *("codec_ceiling", "degraded_codes"),
)
TITLES = SYSTEMS | {"ground_truth": "ground truth", "degraded": "degraded"}


def load_clips(results: Results, named: str | None = None) -> pd.DataFrame:
    """List the sample files of the baselines and of the points that stand for each system.

    Args:
        results: loaded results.
        named: signature of the student's point, if its author named one.

    Returns:
        Columns utterance, system, title, run, path; utterances with the most systems first, systems in listening order.
    """
    table = current_protocol(results.table)
    points = set(system_points(table, choose_student(table, named).signature).values())
    rows = []
    for run in results.runs.to_dict("records"):
        if str(run["signature"]) in points:
            rows += [
                {"utterance": path.parent.name, "system": path.stem, "title": title(path.stem), "run": run["run"], "path": path}
                for path in sorted((Path(run["folder"]) / "samples").glob("*/*.flac"))
            ]
    frame = pd.DataFrame(rows, columns=["utterance", "system", "title", "run", "path"])
    frame = frame.drop_duplicates(["utterance", "system"])  # the lowest seed stands for a point
    count = frame.groupby("utterance")["system"].transform("size")
    place = frame["system"].map(listening_order)
    return frame.assign(count=-count, place=place).sort_values(["count", "utterance", "place"]).drop(columns=["count", "place"])


def family(stem: str) -> str:
    """Return the system a sample's file name belongs to: "student-1" -> "student"; the stem itself where none fits."""
    return next((name for name in sorted(TITLES, key=len, reverse=True) if stem.startswith(name)), stem)


def title(stem: str) -> str:
    """Return a reader's name for a sample's file name: "student-1" -> "student, 1 step"."""
    name = family(stem)
    rest = stem[len(name) :].strip("-_ ").replace("_", " ")
    if rest.isdecimal():
        return system_label(name, int(rest))
    return TITLES.get(name, name) + (f", {rest}" if rest else "")


def listening_order(stem: str) -> tuple[int, str]:
    """Return the sort key of a sample: ground truth first, then degraded, then the systems."""
    name = family(stem)
    return (ORDER.index(name) if name in ORDER else len(ORDER), stem)


def load_scalars(results: Results) -> pd.DataFrame:
    """Read the training curves of every run.

    Args:
        results: loaded results.

    Returns:
        Columns run, signature, seed, step, name, value, objective; empty where no run has scalars.csv.
    """
    parts = []
    for run in results.runs.to_dict("records"):
        path = Path(run["folder"]) / "scalars.csv"
        curve = _read_scalars(path) if path.is_file() else None
        if curve is not None:
            named = run.get("config.objective.name")
            objective = named if isinstance(named, str) and named else "training"  # NaN where a run has no config
            parts.append(curve.assign(run=run["run"], signature=run["signature"], seed=run["seed"], objective=str(objective)))
    columns = ["run", "signature", "seed", "step", "name", "value", "objective"]
    return pd.concat(parts, ignore_index=True)[columns] if parts else pd.DataFrame(columns=columns)


def _read_scalars(path: Path) -> pd.DataFrame | None:
    try:
        curve = pd.read_csv(path, on_bad_lines="skip")
    except (ValueError, OSError):
        return None
    if not {"step", "name", "value"} <= set(curve.columns):
        return None
    numbers = curve.assign(step=pd.to_numeric(curve["step"], errors="coerce"), value=pd.to_numeric(curve["value"], errors="coerce"))
    return numbers.dropna(subset=["step", "value"])[["step", "name", "value"]]

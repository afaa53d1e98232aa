"""What training took: the device-hours of every run, from the files that training leaves in its folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from analysis.choose import point_rows, points_of_runs
from analysis.points import describe_points
from analysis.table import Results
from lcm.errors import LcmError
from lcm.paths import Run

COLUMNS = ["run", "signature", "label", "seed", "state", "kind", "devices", "hours"]
KINDS = {True: "GPU", False: "CPU", None: "device"}
"""Whether a run had GPUs -> what its hours are hours of; None where its provenance.json does not say."""


def load_costs(results: Results) -> pd.DataFrame:
    """Read what training took, of every run that says so; unfinished and failed runs have cost their hours too.

    Args:
        results: loaded results.

    Returns:
        Columns run, signature, label (the point's name in points.csv), seed, state, kind ("GPU", "CPU", or "device" where unknown),
        devices, hours (training time x devices); evaluation is not counted, it is not measured apart.
    """
    named = describe_points(point_rows(results.table))
    labels = {str(s): str(label) for s, label in zip(named["signature"], named["label"], strict=True)}
    rows = []
    signatures = points_of_runs(results.runs)
    for run, signature in zip(results.runs[["run", "folder", "seed", "state"]].to_dict("records"), signatures, strict=True):
        seconds = _train_seconds(Run(Path(run["folder"])))
        if seconds:
            config = results.configs.get(run["run"], {})
            devices, unnamed = _devices(config), f"{config.get('objective.name', 'run')} #{signature[:6]}"
            gpus = results.provenance.get(run["run"], {}).get("gpus")
            rows.append({
                "run": run["run"], "signature": signature, "label": labels.get(signature, unnamed), "seed": run["seed"],
                "state": run["state"], "kind": KINDS[None if gpus is None else bool(gpus)], "devices": devices,
                "hours": seconds * devices / 3600,
            })  # fmt: skip
    return pd.DataFrame(rows, columns=COLUMNS)


def _train_seconds(run: Run) -> float:
    try:
        return max(0.0, float(run.read_status().get("train_seconds") or 0))
    except (LcmError, OSError, ValueError, TypeError):  # damaged, or no number: a finding of `load` already
        return 0.0


def _devices(config: dict[str, Any]) -> int:
    devices = config.get("train.devices")
    return devices if isinstance(devices, int) and devices > 0 else 1

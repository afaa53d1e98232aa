"""One run folder, read as far as it is readable; what is not becomes a finding, never an exception."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from analysis.parse import parse_config

RECORDS = "records.parquet"
SEED = re.compile(r"-s\d+$")
"""How the name of a point's folder ends: its seed."""
ENDED = ("done", "failed", "unknown")
"""States of a run that is not on its way; whatever else a sweep writes (running, stopped, trained, ...) is to go on."""
NO_RUNS = ("codes", "corpus", "overlays", "snapshots", "submissions", "sweeps")
"""Folders of a root that hold other things, some of them very many."""


@dataclass(frozen=True)
class Finding:
    """Something a reader of the results must know.

    Attributes:
        level: "error" (results are wrong or missing), "warning" (read with care) or "note".
        text: what, where and what to do, in one or two sentences.
    """

    level: str
    text: str


@dataclass
class Run:
    """What one run folder says about itself.

    Attributes:
        folder: the run folder.
        name: its path below the results root, the name used in every message.
        config: config.yaml flattened to dotted keys; {} where there is none.
        status: status.json; {} where there is none.
        provenance: provenance.json; {} where there is none.
        findings: what could not be read.
    """

    folder: Path
    name: str
    config: dict[str, Any] = field(default_factory=dict)
    status: dict[str, Any] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)

    @property
    def state(self) -> str:
        """Return what status.json says ("done", "failed", "running", ...), "unknown" where it is missing or damaged."""
        return str(self.status.get("state", "unknown"))

    @property
    def unfinished(self) -> bool:
        """Tell whether the run is on its way: begun, and neither done nor failed."""
        return self.state not in ENDED

    @property
    def usable(self) -> bool:
        """Tell whether the records of this run may be analysed: finished, or silent about its state."""
        return self.state in ("done", "unknown") and has_records(self.folder)


def has_records(folder: Path) -> bool:
    """Tell whether a run folder has records; one that may not be entered has none."""
    try:
        return (folder / RECORDS).is_file()
    except OSError:
        return False


def find(root: Path) -> list[Run]:
    """List the run folders below a results root, in a stable order.

    Args:
        root: folder that holds points/, baselines/, or run folders at any depth.

    Returns:
        One `Run` for each folder with a records.parquet, and for each point or baselines folder that has begun. What lies inside a
        run folder (checkpoints, samples) is not searched, nor are debug runs, which are no results.
    """
    denied: list[OSError] = []
    runs = [read(folder, root) for folder in sorted(_folders(root, denied))]
    return runs + [_denied(Path(str(error.filename)), root, error) for error in denied]


def _denied(folder: Path, root: Path, error: OSError) -> Run:
    name = folder.relative_to(root).as_posix() if folder != root else folder.name
    text = f"{name} cannot be read ({error.strerror}): ask its owner; what it holds is left out."
    return Run(folder, name, findings=[Finding("error", text)])


def _folders(root: Path, denied: list[OSError]) -> Iterator[Path]:
    seen: set[Path] = set()
    for folder, below, files in os.walk(root, followlinks=True, onerror=denied.append):
        path = Path(folder)
        below.sort(key=lambda name: ((path / name).is_symlink(), name))  # the folder's own name before a link's, in whatever order it lies
        real = path.resolve()
        if real in seen:  # a link back up
            below.clear()
            continue
        seen.add(real)
        if _is_run(path, files):
            yield path
        if path != root and (_is_run(path, files) or path.name == "debug"):
            below.clear()
        below[:] = [name for name in below if path != root or name not in NO_RUNS]


def _is_run(folder: Path, files: list[str]) -> bool:
    if RECORDS in files:
        return folder.name != "debug"
    point = folder.parent.name == "points" and "config.yaml" in files
    return point or ("status.json" in files and (folder.name == "baselines" or SEED.search(folder.name) is not None))


def read(folder: Path, root: Path) -> Run:
    """Read the small files of one run folder.

    Args:
        folder: the run folder.
        root: the results root, for the run's name.

    Returns:
        The run; files that cannot be read are named in its findings.
    """
    run = Run(folder, folder.relative_to(root).as_posix() if folder != root else folder.name)
    run.config = _parse(run, "config.yaml")
    run.status = _parse(run, "status.json")
    run.provenance = _parse(run, "provenance.json")
    run.findings += _state_findings(run)
    return run


def _parse(run: Run, name: str) -> dict[str, Any]:
    try:
        text = Path(run.folder, name).read_text(encoding="utf-8")
        tree = parse_config(text) if name.endswith(".yaml") else json.loads(text)
    except FileNotFoundError:
        return {}
    except (ValueError, TypeError, RecursionError, yaml.YAMLError, OSError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        run.findings.append(Finding("warning", f"{run.name}/{name} cannot be read ({reason}); the run is shown without it"))
        return {}
    return tree if isinstance(tree, dict) else {}


def _state_findings(run: Run) -> list[Finding]:
    if run.state == "failed":
        cause = str(run.status.get("error") or "no reason was written").splitlines()[0]
        return [Finding("error", f"Run {run.name} failed at step {run.status.get('step', '?')}: {cause}. Its records are left out.")]
    if run.unfinished:
        where = f"{run.state}, step {run.status.get('step', '?')} of {run.status.get('steps', '?')}"
        return [Finding("warning", f"Run {run.name} is not finished ({where}); its records, if any, are left out.")]
    if not has_records(run.folder):
        return [Finding("warning", f"Run {run.name} is {run.state} but has no {RECORDS}; evaluate it and build the report again.")]
    if run.state == "unknown":
        return [Finding("note", f"Run {run.name} has records but no readable status.json; they are used as they are.")]
    return []

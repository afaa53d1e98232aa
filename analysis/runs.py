"""One run folder, read as far as it is readable; what is not becomes a finding, never an exception."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

RECORDS = "records.parquet"


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
        """Return "done", "running", "failed", or "unknown" where status.json is missing or damaged."""
        return str(self.status.get("state", "unknown"))

    @property
    def usable(self) -> bool:
        """Tell whether the records of this run may be analysed: finished, or silent about its state."""
        return self.state in ("done", "unknown") and (self.folder / RECORDS).is_file()


def flatten(tree: Any, prefix: str = "") -> dict[str, Any]:
    """Flatten nested mappings to dotted keys; lists become their JSON text, so that they can be compared.

    Args:
        tree: a parsed YAML document.
        prefix: dotted key of `tree` itself.

    Returns:
        Dotted key -> str, number, bool or None.
    """
    if isinstance(tree, dict):
        return {k: v for key, sub in tree.items() for k, v in flatten(sub, f"{prefix}.{key}" if prefix else str(key)).items()}
    if isinstance(tree, (list, tuple)):
        return {prefix: json.dumps(list(tree), default=str)}
    return {prefix: tree}


def find(root: Path) -> list[Run]:
    """List the run folders below a results root, in a stable order.

    Args:
        root: folder that holds points/, baselines/, or run folders at any depth.

    Returns:
        One `Run` for each folder with a records.parquet, and for each point or baselines folder with a status.json.
    """
    patterns = (f"**/{RECORDS}", "**/points/*/status.json", "**/baselines/status.json", "points/*/config.yaml", "*-s*/status.json")
    found = {path.parent for pattern in patterns for path in root.glob(pattern)}
    folders = {folder for folder in found if "debug" not in folder.relative_to(root).parts}  # debug runs are no results
    return [read(folder, root) for folder in sorted(folders)]


def read(folder: Path, root: Path) -> Run:
    """Read the small files of one run folder.

    Args:
        folder: the run folder.
        root: the results root, for the run's name.

    Returns:
        The run; files that cannot be read are named in its findings.
    """
    run = Run(folder, folder.relative_to(root).as_posix() if folder != root else folder.name)
    run.config = flatten(_parse(run, "config.yaml"))
    run.status = _parse(run, "status.json")
    run.provenance = _parse(run, "provenance.json")
    run.findings += _state_findings(run)
    return run


def _parse(run: Run, name: str) -> dict[str, Any]:
    path = run.folder / name
    if not path.is_file():
        return {}
    try:
        text = path.read_text(encoding="utf-8")
        tree = yaml.safe_load(text) if name.endswith(".yaml") else json.loads(text)
    except (ValueError, yaml.YAMLError, OSError) as error:
        reason = str(error).splitlines()[0]
        run.findings.append(Finding("warning", f"{run.name}/{name} cannot be read ({reason}); the run is shown without it"))
        return {}
    return tree if isinstance(tree, dict) else {}


def _state_findings(run: Run) -> list[Finding]:
    has_records = (run.folder / RECORDS).is_file()
    if run.state == "failed":
        cause = str(run.status.get("error") or "no reason was written").splitlines()[0]
        return [Finding("error", f"Run {run.name} failed at step {run.status.get('step', '?')}: {cause}. Its records are left out.")]
    if run.state in ("running", "interrupted"):
        step, steps = run.status.get("step", "?"), run.status.get("steps", "?")
        return [Finding("warning", f"Run {run.name} is not finished (step {step} of {steps}); its records, if any, are left out.")]
    if not has_records:
        return [Finding("warning", f"Run {run.name} is {run.state} but has no {RECORDS}; evaluate it and build the report again.")]
    if run.state == "unknown":
        return [Finding("note", f"Run {run.name} has records but no readable status.json; they are used as they are.")]
    return []

"""The one place that builds paths: the tree of a root folder and of a run in it."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any


def write_text(path: Path, text: str) -> None:
    """Write a small file atomically."""
    write_bytes(path, text.encode("utf-8"))


def write_bytes(path: Path, content: bytes) -> None:
    """Write a small file atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    part.write_bytes(content)
    part.replace(path)


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Let one process of this machine at a time work in a folder; others wait.

    A courtesy between points that share a root, not a fence: writes are atomic, and where the file system has no locks
    the work is done twice with one result.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("a") as file:
        with suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


@dataclass(frozen=True)
class Root:
    """Everything that one corpus and its sweeps leave on disk."""

    folder: Path

    @property
    def corpus(self) -> Path:
        """manifest.csv, manifest.json, rejected.csv."""
        return self.folder / "corpus"

    @property
    def codes(self) -> Path:
        """The codes store."""
        return self.folder / "codes"

    @property
    def generate(self) -> Path:
        """What `python -m slurm` was asked to generate here."""
        return self.folder / "generate.yaml"

    @property
    def planned_corpus(self) -> Path:
        """The manifest that the codes store was planned from: what its jobs read, whatever becomes of the corpus meanwhile."""
        return self.codes / "corpus"

    def frozen(self, digest: str) -> Path:
        """Settings as they were when jobs were submitted: what is asked later does not change what those jobs make."""
        return self.folder / "submissions" / "settings" / f"{digest}.yaml"

    def trained_teacher(self, key: str) -> Path:
        """Checkpoint of a teacher that was trained here, by a key of its settings."""
        return self.folder / "overlays" / f"teacher-{key}.json"

    def overlay_of(self, key: str) -> Path:
        """Which overlay belongs to which settings, by a key of them."""
        return self.folder / "overlays" / f"{key}.json"

    @property
    def baselines(self) -> Run:
        """Records of the systems that depend on no point."""
        return Run(self.folder / "baselines")

    def teacher(self, identity: str) -> Run:
        """Records of one teacher."""
        return Run(self.folder / "teachers" / identity)

    @property
    def report(self) -> Path:
        """index.html, figures, summary.csv."""
        return self.folder / "report"

    def overlay(self, name: str) -> Path:
        """A teacher overlay store."""
        return self.folder / "overlays" / name

    def run(self, signature: str, seed: int, *, debug: bool = False) -> Run:
        """One point of a sweep with one seed; debug runs lie apart, out of the analysis' sight."""
        return Run(self.folder / ("debug" if debug else "points") / f"{signature}-s{seed}")


@dataclass(frozen=True)
class Run:
    """One run folder."""

    folder: Path

    @property
    def config(self) -> Path:
        """The resolved config."""
        return self.folder / "config.yaml"

    @property
    def evaluated(self) -> Path:
        """The same of the evaluation, which may be another commit's or machine's."""
        return self.folder / "evaluated.json"

    @property
    def provenance(self) -> Path:
        """Commit, versions, machine, times of the training."""
        return self.folder / "provenance.json"

    @property
    def last(self) -> Path:
        """The resumable training state."""
        return self.folder / "checkpoints" / "last.safetensors"

    @property
    def model(self) -> Path:
        """The EMA weights for evaluation."""
        return self.folder / "checkpoints" / "model.safetensors"

    @property
    def best(self) -> Path:
        """The EMA weights that did best in validation."""
        return self.folder / "checkpoints" / "best.safetensors"

    @property
    def scalars(self) -> Path:
        """step,name,value of every loss term."""
        return self.folder / "scalars.csv"

    @property
    def tensorboard(self) -> Path:
        """TensorBoard's event files."""
        return self.folder / "tensorboard"

    @property
    def records(self) -> Path:
        """The evaluation records."""
        return self.folder / "records.parquet"

    @property
    def status_file(self) -> Path:
        """State, step, error."""
        return self.folder / "status.json"

    def sample(self, utterance: str, system: str) -> Path:
        """A listening sample."""
        return self.folder / "samples" / utterance / f"{system}.flac"

    def read_status(self) -> dict[str, Any]:
        """Return the status, or an empty one where the run has not begun."""
        return dict(json.loads(self.status_file.read_text())) if self.status_file.exists() else {}

    def write_status(self, state: str, **values: Any) -> None:
        """Update the status; values that are not given stay."""
        status = {**self.read_status(), **values, "state": state, "updated": datetime.now(timezone.utc).isoformat(timespec="seconds")}
        write_text(self.status_file, json.dumps(status, indent=1))

"""The one place that builds paths: the tree of a root folder and of a run in it."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from lcm.errors import LcmError


def sha256(path: Path) -> str:
    """Return the hexadecimal digest of a file's bytes, in bounded memory."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


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

    @property
    def points(self) -> Path:
        """Holds the run folders."""
        return self.folder / "points"

    @property
    def sweeps(self) -> Path:
        """Holds the sweeps that were submitted."""
        return self.folder / "sweeps"

    def sweep(self, name: str) -> SweepFolder:
        """One sweep that was submitted."""
        return SweepFolder(self.sweeps / name)

    def run(self, signature: str, seed: int, *, debug: bool = False) -> Run:
        """One point of a sweep with one seed; debug runs lie apart, out of the analysis' sight."""
        return Run(self.folder / ("debug" if debug else "points") / f"{signature}-s{seed}")


@dataclass(frozen=True)
class SweepFolder:
    """One sweep as it was submitted: its points and what their jobs say before a run folder is known."""

    folder: Path

    @property
    def record(self) -> Path:
        """Points, profile, commit."""
        return self.folder / "sweep.json"

    def config(self, number: int) -> Path:
        """The frozen config of a point."""
        return self.folder / "points" / f"{number:04d}.yaml"

    def log(self, number: int) -> Path:
        """What a point has printed, all its attempts."""
        return self.folder / "logs" / f"{number:04d}.log"

    def prepared(self, number: int) -> Path:
        """How the preparation for a group of points ended, by the point that it was made for."""
        return self.folder / "prepared" / f"{number:04d}.json"

    def preparation_log(self, number: int) -> Path:
        """What that preparation has printed, all its attempts."""
        return self.folder / "logs" / f"prepare-{number:04d}.log"

    def place(self, number: int) -> Path:
        """Which run folder a point has, and its error where it failed before it had one."""
        return self.folder / "places" / f"{number:04d}.json"


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
    def clips(self) -> Path:
        """What the records' utterances are."""
        return self.folder / "clips.csv"

    @property
    def claims(self) -> Path:
        """Who works or worked on this run: numbered, the highest is the owner."""
        return self.folder / "claims"

    @property
    def status_file(self) -> Path:
        """State, step, error."""
        return self.folder / "status.json"

    @property
    def samples(self) -> Path:
        """The last evaluation's listening samples, a folder for each utterance."""
        return self.folder / "samples"

    def sample(self, utterance: str, system: str) -> Path:
        """A listening sample."""
        return self.samples / utterance / f"{system}.flac"

    def read_status(self) -> dict[str, Any]:
        """Return the status, or an empty one where the run has not begun.

        Raises:
            LcmError: It is damaged.
        """
        try:
            return dict(json.loads(self.status_file.read_text(encoding="utf-8")))
        except FileNotFoundError:
            return {}
        except (ValueError, TypeError) as error:
            raise LcmError(f"{self.status_file} is damaged ({error}): remove it and run again; checkpoints stay.") from error

    def write_status(self, state: str, **values: Any) -> None:
        """Update the status; values that are not given stay."""
        status = {**self.read_status(), **values, "state": state, "updated": datetime.now(timezone.utc).isoformat(timespec="seconds")}
        write_text(self.status_file, json.dumps(status, indent=1))

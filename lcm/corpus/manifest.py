"""The manifest: one row for each utterance that is fit to use."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from lcm.corpus.config import CorpusError

SPLITS = ("train", "valid", "test")
_FILES = ("manifest.csv", "manifest.json")


@dataclass(frozen=True)
class Utterance:
    """One recording.

    Attributes:
        utterance: Id, unique in the corpus.
        path: Path relative to the corpus root, with `/`; absolute if the file lies elsewhere.
        speaker: Who speaks.
        split: `train`, `valid` or `test`.
        seconds: Duration.
        sha256: Digest of the file's bytes, hexadecimal.
        sample_rate_hz: Rate of the file.
        bandwidth_hz: Frequency above which it is empty, at most 12,000.
    """

    utterance: str
    path: str
    speaker: str
    split: str
    seconds: float
    sha256: str
    sample_rate_hz: int
    bandwidth_hz: float


COLUMNS = tuple(field.name for field in fields(Utterance))


@dataclass(frozen=True)
class Manifest:
    """The utterances of a corpus.

    Attributes:
        utterances: Sorted by id.
        root: Folder that their paths are relative to.
    """

    utterances: tuple[Utterance, ...]
    root: Path

    @property
    def identity(self) -> str:
        """16 hexadecimal digits over ids, contents and splits; where the files lie does not matter."""
        rows = sorted(f"{u.utterance}\t{u.sha256}\t{u.split}\n" for u in self.utterances)
        return hashlib.sha256("".join(rows).encode()).hexdigest()[:16]

    def split(self, name: str) -> list[Utterance]:
        """Return the utterances of one split.

        Raises:
            CorpusError: There is no such split.
        """
        if name not in SPLITS:
            raise CorpusError(f"Unknown split {name!r}. Valid splits are: {', '.join(SPLITS)}.")
        return [u for u in self.utterances if u.split == name]

    def audio_path(self, utterance: Utterance) -> Path:
        """Return where an utterance's file lies."""
        return self.root / utterance.path

    def write(self, folder: Path | str, notes: Mapping[str, Any] | None = None) -> None:
        """Write manifest.csv and manifest.json, each atomically.

        Args:
            folder: Target folder; it is made.
            notes: JSON-able values to keep in manifest.json beside the root and the identity.
        """
        folder = Path(folder).absolute()
        inside = self.root.is_relative_to(folder)  # then the folder can be moved with its recordings
        root = self.root.relative_to(folder).as_posix() if inside else str(self.root)
        facts = {"root": root, "identity": self.identity, **(notes or {})}
        write_table(folder / _FILES[0], COLUMNS, (asdict(u).values() for u in self.utterances))
        write_text(folder / _FILES[1], json.dumps(facts, indent=2) + "\n")

    @classmethod
    def read(cls, folder: Path | str) -> Manifest:
        """Read what `write` wrote.

        Raises:
            CorpusError: A file is missing, or the two do not belong together.
        """
        folder = Path(folder).absolute()
        facts = read_facts(folder)
        with (folder / _FILES[0]).open(encoding="utf-8", errors="surrogateescape", newline="") as file:
            rows = [_utterance(row) for row in csv.DictReader(file)]
        manifest = cls(tuple(rows), Path(os.path.normpath(folder / facts["root"])))
        if manifest.identity != facts["identity"]:
            found = f"the rows have identity {manifest.identity}, manifest.json says {facts['identity']}"
            raise CorpusError(f"{folder / _FILES[0]} was changed: {found}. Delete the folder and build the corpus again.")
        return manifest


def read_facts(folder: Path) -> dict[str, Any]:
    """Return manifest.json.

    Raises:
        CorpusError: The manifest is missing.
    """
    for name in _FILES:
        if not (folder / name).is_file():
            raise CorpusError(f"{folder / name} is missing: build the corpus into {folder} first.")
    facts: dict[str, Any] = json.loads((folder / _FILES[1]).read_text(encoding="utf-8"))
    return facts


def _utterance(row: Mapping[str, str]) -> Utterance:
    """Parse a row of manifest.csv."""
    numbers = {"seconds": float(row["seconds"]), "sample_rate_hz": int(row["sample_rate_hz"]), "bandwidth_hz": float(row["bandwidth_hz"])}
    return Utterance(**{**{name: row[name] for name in COLUMNS}, **numbers})  # type: ignore[arg-type]  # the numbers replace strings


def write_table(path: Path, columns: Iterable[str], rows: Iterable[Iterable[Any]]) -> None:
    """Write a CSV file atomically; file names that are not UTF-8 survive as bytes."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    write_text(path, text.getvalue())


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    part.write_bytes(text.encode("utf-8", "surrogateescape"))
    part.replace(path)

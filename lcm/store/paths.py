"""Every file name of a store, built in one place.

A store is a folder: plan.json and items-DIGEST.jsonl, shards/; index.json, quarantine.csv when finished; journals/ and progress/ while
it is made.
"""

from __future__ import annotations

import json
import os
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class StorePaths:
    """File names inside one store folder."""

    folder: Path

    @property
    def plan(self) -> Path:
        """What was planned: explicit ranges and everything else but the items."""
        return self.folder / "plan.json"

    def items(self, digest: str) -> Path:
        """Return the file of the planned items, named by its content."""
        return self.folder / f"items-{digest}.jsonl"

    @property
    def index(self) -> Path:
        """What is in the finished store; absent until every shard verifies."""
        return self.folder / "index.json"

    @property
    def quarantine(self) -> Path:
        """Items left out of the finished store, each with its reason."""
        return self.folder / "quarantine.csv"

    @property
    def skips(self) -> Path:
        """Items that a person has set aside: key, reason."""
        return self.folder / "skips.csv"

    @property
    def logs(self) -> Path:
        """One folder per submission."""
        return self.folder / "logs"

    @property
    def shard_folder(self) -> Path:
        """Where the committed shards lie."""
        return self.folder / "shards"

    def shard(self, shard: int, shards: int) -> Path:
        """Return the committed shard's file."""
        return self.shard_folder / self.shard_name(shard, shards)

    @staticmethod
    def shard_name(shard: int, shards: int) -> str:
        """Return the name of a committed shard's file in its folder."""
        return f"shard-{shard:05d}-of-{shards:05d}.h5"

    def shards(self) -> list[Path]:
        """Return the committed shards' files that are there, by name."""
        return sorted(self.shard_folder.glob("shard-*-of-*.h5"))

    @property
    def progress_folder(self) -> Path:
        """Where the heartbeats lie."""
        return self.folder / "progress"

    @property
    def history(self) -> Path:
        """The last heartbeat of every shard of a finished store, a line each: one file instead of thousands."""
        return self.folder / "history.jsonl"

    def part(self, shard: int, attempt: str) -> Path:
        """Return the file that one attempt builds before it claims the shard's name."""
        return self.shard_folder / f".shard-{shard:05d}.{attempt}.part"

    def journals(self, shard: int) -> Path:
        """Return the folder of a shard's journals, one per attempt."""
        return self.folder / "journals" / f"shard-{shard:05d}"

    def journal(self, shard: int, attempt: str) -> Path:
        """Return one attempt's journal."""
        return self.journals(shard) / f"{attempt}.journal"

    def progress(self, shard: int) -> Path:
        """Return the heartbeat file of a shard."""
        return self.progress_folder / f"shard-{shard:05d}.json"


def write_atomically(path: Path, text: str) -> None:
    """Write a small file so that a reader sees the old or the new one, never a half."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex}.part")
    try:
        with part.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def write_json(path: Path, value: Any, *, indent: int | None = None) -> None:
    """Write JSON atomically."""
    write_atomically(path, json.dumps(value, indent=indent, ensure_ascii=False) + "\n")

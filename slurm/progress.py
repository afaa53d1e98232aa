"""The heartbeat file of a shard: how far its task is, for a person and for `status`."""

from __future__ import annotations

import json
import os
import socket
import time
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from pathlib import Path

from lcm.store import write_json


def node_name() -> str:
    """Return the name of this node; SLURM's own, as several nodes may answer to one host name."""
    return os.environ.get("SLURMD_NODENAME") or socket.gethostname()


def now() -> str:
    """Return the time in UTC as ISO 8601, to the second."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


@dataclass
class Progress:
    """How far a shard is.

    Attributes:
        shard: Number of the shard.
        total: Items planned.
        done: Items made, in this attempt and those before it.
        quarantined: Items that could not be made.
        state: `running`, `done` or `failed`.
        clips_per_s: Rate of this attempt.
        error: First line of what failed the shard, else None.
        attempt: Name of the attempt, as of its journal.
        host: Node that it runs on.
        updated: Time of writing, UTC.
    """

    shard: int
    total: int
    done: int = 0
    quarantined: int = 0
    state: str = "running"
    clips_per_s: float = 0.0
    error: str | None = None
    attempt: str = ""
    host: str = field(default_factory=node_name)
    updated: str = field(default_factory=now)

    def age_s(self) -> float:
        """Return the seconds since the file was written."""
        return time.time() - datetime.fromisoformat(self.updated).timestamp()


class Heartbeat:
    """Writes a shard's progress, at most once in `every_s` while it runs.

    Args:
        path: File to write.
        progress: What to write; change its fields and call `beat`.
        every_s: Shortest time in seconds between two writes.
    """

    def __init__(self, path: Path, progress: Progress, *, every_s: float = 1.0) -> None:
        self._path, self.progress, self._every_s = path, progress, every_s
        self._began, self._already = time.monotonic(), progress.done
        self._next = self._began

    def beat(self, state: str = "running", error: str | None = None) -> None:
        """Write the progress now if it is time, and always when the state has changed."""
        changed = state != self.progress.state
        if not changed and time.monotonic() < self._next:
            return
        progress = self.progress
        progress.state, progress.error, progress.updated = state, error, now()
        made = progress.done - self._already
        progress.clips_per_s = round(made / max(time.monotonic() - self._began, 1e-6), 3)
        write_json(self._path, asdict(progress), indent=1)
        self._next = time.monotonic() + self._every_s


def read_progress(path: Path) -> Progress | None:
    """Read a heartbeat file; None where there is none that can be read."""
    try:
        return Progress(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None

"""What run folders say of themselves: status and sign of life, read for thousands in a second."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from lcm.paths import Root, Run

_READERS, _FOLDERS_A_READER = 8, 250  # a shared file system answers in a millisecond; 5,000 files one by one would take 5 s


@dataclass(frozen=True)
class Heard:
    """What one run folder says.

    Attributes:
        says: Its status; empty where there is none.
        problem: Why the status cannot be read; empty where it can, or there is none.
        alive: When the run last gave a sign of life, seconds since the epoch; None where it says nothing of the kind.
    """

    says: dict[str, Any] = field(default_factory=dict)
    problem: str = ""
    alive: float | None = None

    @property
    def state(self) -> str:
        """The state as the run names it; empty where it has not begun."""
        return str(self.says.get("state") or "")

    def number(self, name: str) -> float | None:
        """Return a value of the status as a number; None where it is none."""
        value = self.says.get(name)
        return float(value) if isinstance(value, (int, float)) else None

    def text(self, name: str) -> str:
        """Return a value of the status as text; empty where there is none."""
        return str(self.says.get(name) or "")


def hear(root: Root, names: Collection[str]) -> dict[str, Heard]:
    """Return what run folders say, by their name."""
    todo, folder = sorted(names), root.points
    parts = [todo[start : start + _FOLDERS_A_READER] for start in range(0, len(todo), _FOLDERS_A_READER)]
    if len(parts) < 2:
        return {name: one for part in parts for name, one in _hear(folder, part)}
    with ThreadPoolExecutor(_READERS) as readers:
        return {name: one for part in readers.map(lambda part: _hear(folder, part), parts) for name, one in part}


def seconds(moment: str) -> float | None:
    """Return a time as seconds since the epoch; None where it is none."""
    try:
        return datetime.fromisoformat(moment).timestamp()
    except ValueError:
        return None


def _hear(folder: Path, names: Iterable[str]) -> list[tuple[str, Heard]]:
    return [(name, _one(Run(folder / name))) for name in names]


def _one(run: Run) -> Heard:
    path = run.status_file
    try:
        with open(path, "rb") as file:  # noqa: PTH123  # twice as fast as Path.read_bytes, and there are thousands
            says = json.loads(file.read())
    except FileNotFoundError:
        return Heard()
    except (OSError, ValueError) as error:
        return Heard(problem=_unreadable(path, str(error)))
    if not isinstance(says, dict):
        return Heard(problem=_unreadable(path, "it holds no status"))
    heard = Heard(says)
    if heard.state != "running":
        return heard
    # a job that begins the point again says so in the status, minutes before its process has loaded and taken the claim
    signs = [sign for sign in (_beat(run), seconds(heard.text("updated"))) if sign is not None]
    return Heard(says, alive=max(signs, default=None))


def _unreadable(path: Path, why: str) -> str:
    return f"unreadable: {path} ({why}). Remove it: `retry` then goes on from the point's checkpoint."


def _beat(run: Run) -> float | None:
    """Return when the run's owner, the highest claim, was last heard of; None where it has none."""
    newest, at = -1, None
    with suppress(OSError), os.scandir(run.claims) as entries:
        for entry in entries:
            number, _, kind = entry.name.partition(".")
            if kind in {"json", "beat"} and number.isdigit() and int(number) >= newest:
                with suppress(OSError):
                    changed = entry.stat().st_mtime
                    at = changed if int(number) > newest or at is None else max(at, changed)
                    newest = int(number)
    return at

"""What the doctor says: one line a thing, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "warning", "failure"]


@dataclass(frozen=True)
class Finding:
    """One line of the doctor's report.

    Attributes:
        name: What was examined.
        level: `ok`; `warning`: works, but worse than it could, or could not be examined; `failure`: jobs will fail.
        text: What was found.
        todo: What to do about it; empty where nothing is to be done.
    """

    name: str
    level: Level
    text: str
    todo: str = ""


def ok(name: str, text: str) -> Finding:
    """Return a finding that asks for nothing."""
    return Finding(name, "ok", text)


def warning(name: str, text: str, todo: str) -> Finding:
    """Return a finding that one can live with."""
    return Finding(name, "warning", text, todo)


def failure(name: str, text: str, todo: str) -> Finding:
    """Return a finding that must be put right first."""
    return Finding(name, "failure", text, todo)

"""Items that a person has set aside: a clip that takes its whole process down cannot be quarantined by that process."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from lcm.store import write_atomically


def read_skips(path: Path) -> dict[str, str]:
    """Return the reason by key; empty where there is no such file."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return {row["key"]: row.get("reason") or "set aside by hand" for row in csv.DictReader(file) if row.get("key")}
    except FileNotFoundError:
        return {}


def add_skips(path: Path, keys: list[str], reason: str = "set aside by hand") -> None:
    """Add keys to the file; those that are there keep their reason."""
    skips = {**dict.fromkeys(keys, reason), **read_skips(path)}
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerows([("key", "reason"), *sorted(skips.items())])
    write_atomically(path, text.getvalue())

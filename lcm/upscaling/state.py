"""What is finished in an output folder: `.lcm-upscale.jsonl`, a line a file, readable by people and repaired by being ignored."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from lcm.paths import sha256

NAME = ".lcm-upscale.jsonl"


class State:
    """The finished outputs of a folder.

    A line is written before its file gets its final name, and tells the file's digest: whatever a crash leaves, a line without
    its file is not finished, and a file without its line is not taken for one of these.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / NAME
        self._lines: dict[str, list[dict[str, Any]]] = {}
        try:
            text = self.path.read_text(encoding="utf-8", errors="replace")
        except (FileNotFoundError, NotADirectoryError):
            text = ""
        for line in text.splitlines():
            self._take(line)

    def _take(self, line: str) -> None:
        try:
            entry = json.loads(line)
            self._lines.setdefault(entry["output"], []).append(entry)
        except (ValueError, KeyError, TypeError):  # torn by a crash, or not ours
            return

    def made(self) -> frozenset[Path]:
        """Return the outputs that were made here, absolute."""
        return frozenset((self.folder / name).absolute() for name in self._lines)

    def entry(self, output: Path) -> dict[str, Any] | None:
        """Return the line of an output as it lies there; None where this command has not written it, or it was changed since."""
        known = self._lines.get(self._name(output), [])
        if not known or not output.is_file():
            return None
        digest = sha256(output)
        return next((entry for entry in reversed(known) if entry.get("output_sha256") == digest), None)

    def add(self, output: Path, **told: Any) -> None:
        """Append a line, flushed to the disk. Raises OSError."""
        entry = {"output": self._name(output), **told}
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
        try:
            size = os.fstat(descriptor).st_size
            torn = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
            line = "\n" * torn + json.dumps(entry) + "\n"
            if os.write(descriptor, line.encode()) < len(line):
                raise OSError(28, os.strerror(28))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        self._lines.setdefault(entry["output"], []).append(entry)

    def _name(self, output: Path) -> str:
        return str(output.relative_to(self.folder))

"""From what was asked on the command line to files: files, folders and patterns, each file with its place below the output folder."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

from lcm.upscaling.files import AUDIO_SUFFIXES

_WILD = frozenset("*?[")


@dataclass
class Found:
    """What was found.

    Attributes:
        files: Each file once, in order, with the folder below the output folder that keeps its tree.
        failures: What cannot be used, with the reason.
        notes: What was left out on purpose.
        several: Whether a folder or a pattern was asked for, so that the output is a folder.
    """

    files: dict[tuple[Path, Path], None] = field(default_factory=dict)
    failures: list[tuple[Path, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    several: bool = False


def find(asked: Sequence[str], output: Path, made: frozenset[Path] = frozenset()) -> Found:
    """Find the files of a command line.

    Args:
        asked: Files, folders (the audio files below, hidden ones left out) and patterns with `*`, `?`, `[...]` and `**`.
        output: Where the results go; a folder of results inside an input folder is not read.
        made: Results of earlier runs, absolute: they are no inputs where a folder or a pattern is asked for.
    """
    found = Found(several=len(asked) > 1)
    for text in asked:
        path = Path(text)
        if _holds(path, Path.is_dir):
            _add_folder(found, path, path, (), output, made)
        elif _WILD & set(text) and not _holds(path, Path.exists):
            base, parts = _split(path)
            _add_folder(found, base, path, parts, output, made)
        else:
            found.files[path, Path()] = None
    return found


def _holds(path: Path, what: Callable[[Path], bool]) -> bool:
    """Ask about a path; the answer is no where asking is refused, and opening it will say why."""
    try:
        return what(path)
    except OSError:
        return False


def _split(pattern: Path) -> tuple[Path, tuple[str, ...]]:
    """Return the folder before a pattern's first wildcard, and the parts from there on."""
    first = next(i for i, part in enumerate(pattern.parts) if _WILD & set(part))
    return Path(*pattern.parts[:first]), pattern.parts[first:]


def _add_folder(found: Found, base: Path, asked: Path, parts: tuple[str, ...], output: Path, made: frozenset[Path]) -> None:
    found.several = True
    before = len(found.files)
    depth = len(parts) if parts and "**" not in parts else None
    for path in _walk(base, (), depth, found, output):
        below = path.relative_to(base)
        wanted = _matches(below.parts, parts) if parts else path.suffix.lower() in AUDIO_SUFFIXES
        if wanted and path.absolute() not in made:
            found.files[path, below.parent] = None
    if len(found.files) == before and not any(base in (p, *p.parents) for p, _ in found.failures):
        what = "nothing matches this pattern" if parts else f"no audio files in this folder ({', '.join(sorted(AUDIO_SUFFIXES))})"
        found.failures.append((asked, what))


def _walk(folder: Path, above: tuple[tuple[int, int], ...], depth: int | None, found: Found, output: Path) -> Iterator[Path]:
    """Yield the files below a folder, in order; links are followed, but not round in a circle. Hidden things are left out."""
    try:
        status = folder.stat()
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        found.failures.append((folder, f"not readable ({error.strerror}); check its permissions"))
        return
    own = (status.st_dev, status.st_ino)
    if own in above:
        found.notes.append(f"{shown(folder)}: a link to a folder above it, not followed again")
        return
    for entry in entries:
        path = folder / entry.name
        if entry.name.startswith("."):
            continue
        if not _is_folder(entry):
            yield path
        elif (depth is None or depth > 1) and not (output.exists() and _same(path, output)):
            yield from _walk(path, (*above, own), None if depth is None else depth - 1, found, output)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:
        return False


def _matches(names: tuple[str, ...], parts: tuple[str, ...]) -> bool:
    """Say whether a path's names match a pattern's parts; `**` stands for any number of folders."""
    if not parts:
        return not names
    if parts[0] == "**":
        return _matches(names, parts[1:]) or (bool(names) and _matches(names[1:], parts))
    return bool(names) and fnmatchcase(names[0], parts[0]) and _matches(names[1:], parts[1:])


def shown(path: Path | str) -> str:
    """Return a path as it can be printed on one line: with escapes where it holds a newline or bytes that are no text."""
    text = str(path)
    return text if text.isprintable() else repr(text)

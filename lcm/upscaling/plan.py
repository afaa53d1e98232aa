"""Which output belongs to which input, settled and checked before anything is made."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lcm.audio import AudioError
from lcm.errors import LcmError
from lcm.upscaling.files import AUDIO_SUFFIXES, FORMATS, SUFFIXES, Format, Header, choose_format, read_header
from lcm.upscaling.inputs import Found, find, shown
from lcm.upscaling.state import State

_FOREIGN = frozenset({".m4a", ".aac", ".mp4", ".wma", ".webm", ".mka"})  # taken for a file's suffix, not a folder's
_LISTED = 10


class UsageError(LcmError):
    """The command line asks for what cannot be; nothing was made."""


@dataclass(frozen=True)
class Job:
    """One file to make.

    Attributes:
        header: Of the input.
        form: Format of the output.
        output: Its path.
    """

    header: Header
    form: Format
    output: Path


@dataclass(frozen=True)
class Plan:
    """What is to be made.

    Attributes:
        jobs: In order.
        failures: Inputs that cannot be used, with the reason.
        notes: What was left out on purpose.
        state: What is finished in the output folder.
    """

    jobs: list[Job]
    failures: list[tuple[Path, str]]
    notes: list[str]
    state: State


def make_plan(asked: Sequence[str], output: str, wanted: str | None = None) -> Plan:
    """Find the inputs, read their headers and name their outputs.

    Args:
        asked: Files, folders and patterns.
        output: A folder, or for one input a file.
        wanted: Format of the outputs; None for each input's own.

    Raises:
        UsageError: Outputs collide, or the output does not suit the inputs.
    """
    place = Path(output)
    as_folder = place.is_dir() or output.endswith(("/", os.sep))
    found = find(asked, place, State(place).made() if as_folder else frozenset())
    if as_folder or not _names_a_file(place, found):
        return _collect(found, place, wanted, None)
    return _collect(found, place.parent, _format_of(place, wanted), place)


def _names_a_file(place: Path, found: Found) -> bool:
    """Say whether the output is a file; a folder that does not exist yet has no suffix of audio."""
    suffix = place.suffix.lower()
    if suffix not in AUDIO_SUFFIXES | _FOREIGN and not place.exists():
        return False
    if found.several:
        raise UsageError(f"-o {shown(place)} names one file for a folder, a pattern or several files: give a folder, as in -o OUT/")
    return True


def _format_of(place: Path, wanted: str | None) -> str:
    """Return the format that an output file's suffix stands for."""
    for name, container in FORMATS.items():
        if place.suffix.lower() in SUFFIXES[container]:
            if wanted not in (None, name):
                raise UsageError(f"-o {shown(place)} and --format {wanted} contradict each other: leave one of them out.")
            return name
    raise UsageError(f"-o {shown(place)}: cannot be written; give a folder, or a file with .wav, .flac or .ogg.")


def _collect(found: Found, folder: Path, wanted: str | None, file: Path | None) -> Plan:
    plan = Plan([], list(found.failures), list(found.notes), State(folder))
    for path, below in found.files:
        try:
            header = read_header(path)
            form = choose_format(header, wanted)
            if file is not None and file.suffix.lower() == ".opus" and form.subtype != "OPUS":
                raise AudioError(path, f"{header.subtype}: .opus is written for inputs in Opus alone; give .ogg")
            plan.jobs.append(Job(header, form, file or folder / below / form.name(path)))
        except AudioError as error:
            plan.failures.append((path, error.reason))
    _refuse_collisions(plan.jobs)
    _refuse_inputs(plan)
    return plan


def _refuse_collisions(jobs: list[Job]) -> None:
    """Name the inputs that would become the same output."""
    sources: dict[Path, list[Path]] = {}
    for job in jobs:
        sources.setdefault(Path(os.path.abspath(job.output)), []).append(job.header.path)  # noqa: PTH100 (links are not followed)
    lines = [f"  {shown(o)} from {', '.join(map(shown, several))}" for o, several in sources.items() if len(several) > 1]
    if lines:
        more = [f"  and {len(lines) - _LISTED} more"] if len(lines) > _LISTED else []
        listed = "\n".join(lines[:_LISTED] + more)
        raise UsageError(f"Nothing was made: inputs would become the same output.\n{listed}\nGive their common folder, or run them apart.")


def _refuse_inputs(plan: Plan) -> None:
    """Take out what would be written over an input."""
    inputs = {_identity(job.header.path) for job in plan.jobs}
    for job in list(plan.jobs):
        if job.output.exists() and _identity(job.output) in inputs:
            plan.jobs.remove(job)
            plan.failures.append((job.header.path, f"its output {shown(job.output)} is an input: give another -o"))


def _identity(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_dev, status.st_ino

"""What points have printed, from their logs: one whole, one as it grows, or the last lines of all that run or failed."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path

from lcm.errors import LcmError
from sweeps.sweep.state import WRONG, PointState
from sweeps.sweep.status import Situation, find, look
from sweeps.sweep.table import printable

_LINES = 5  # of each point where none is named
_POINTS = 20
_TAIL_BYTES = 16384
_CHUNK_BYTES = 1 << 20
_GROWS_EVERY_S = 0.5
_LOOK_EVERY_S = 10.0  # squeue


def show(folder: Path, word: str, *, follow: bool = False) -> None:
    """Print a point's log, all its attempts.

    Args:
        folder: A root, or one sweep's folder.
        word: The point, as `status.find` takes it.
        follow: Whether to go on while the point runs or waits, for its evaluation too.

    Raises:
        LcmError: There is no such point.
    """
    situation = look(folder)
    point, read = find(situation.points, word), dict[Path, int]()
    if not _copied(point, read):
        print(printable(why_no_log(point, situation)), file=sys.stderr, flush=True)
    while follow and point.is_at_work:
        looked = time.monotonic()
        while time.monotonic() - looked < _LOOK_EVERY_S:
            time.sleep(_GROWS_EVERY_S)
            _copied(point, read)
        point = find(look(folder).points, point.run or word)
        _copied(point, read)
    if follow:
        print(printable(f"point {point.label} is {point.state}{f': {point.error}' if point.error else ''}"), file=sys.stderr, flush=True)


def last_lines(folder: Path, *, lines: int = _LINES, most: int = _POINTS) -> Iterator[str]:
    """Yield the last lines of each point that runs, failed or is lost, under a line that names it; of so many points at most."""
    situation = look(folder)
    found = sorted((p for p in situation.points if p.state in {"running", *WRONG}), key=lambda point: point.state == "running")
    for point in found[:most]:
        where = " on ".join(word for word in (f"job {point.job}" if point.job else "", point.host) if word)
        yield printable(f"== {point.label}: {point.state}{f', {where}' if where else ''}{f' ({point.log})' if point.log else ''}")
        yield from tail(point.log, lines) if point.log and point.log.is_file() else [printable(why_no_log(point, situation))]
    if len(found) > most:
        yield f"... and {len(found) - most} more points that run, failed or are lost: name one"
    if not found:
        yield "No point runs, failed or is lost; name one to see its log."


def tail(path: Path, lines: int) -> list[str]:
    """Return the last lines of a log, of a progress bar what it showed last; nothing where it cannot be read."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - _TAIL_BYTES))
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return []
    shown = (printable(line.rstrip("\r").rpartition("\r")[2]).rstrip() for line in text.split("\n"))
    return [line for line in shown if line][-lines:]


def why_no_log(point: PointState, situation: Situation) -> str:
    """Say why a point has printed nothing."""
    called = f"Point {point.label} has printed nothing"
    if point.log is None:
        folder = situation.root.points / point.run
        return f"{called} that was kept: no sweep started it, and its output went to whoever did. Its folder: {folder}."
    if point.state == "queued":
        job = situation.queue.jobs.get(point.job)
        waits = f"waits ({job.reason or 'no reason given'})" if job and situation.queue.waits(point.job) else "has not come to it"
        return f"{called} yet: job {point.job} {waits}."
    if point.state == "missing":
        unknown = f", as far as is known: {situation.queue.unknown}" if situation.queue.unknown else ""
        said = f" The last that had it said: {point.error} (job {point.job}, log {point.log})." if point.error else ""
        return f"{called}: no job has it{unknown}.{said} `python -m sweeps retry {situation.root.folder}` submits it."
    return f"{called} to {point.log}. It is {point.state}{f': {point.error}' if point.error else ''}."


def _copied(point: PointState, read: dict[Path, int]) -> bool:
    """Print what a log holds beyond what was printed of it; returns whether there is a log."""
    if point.log is None:
        return False
    try:
        with point.log.open("rb") as file:
            file.seek(read.get(point.log, 0))
            while chunk := file.read(_CHUNK_BYTES):
                _write(chunk)
            read[point.log] = file.tell()
    except FileNotFoundError:
        return False
    except OSError as error:
        raise LcmError(f"The log {point.log} of point {point.label} cannot be read: {error.strerror}.") from error
    return True


def _write(chunk: bytes) -> None:
    """Print bytes as they are; where output is text alone, as in a notebook, as text."""
    sys.stdout.flush()
    if buffer := getattr(sys.stdout, "buffer", None):
        buffer.write(chunk)
    else:
        sys.stdout.write(chunk.decode("utf-8", "replace"))
    sys.stdout.flush()

"""Points as rows: for a terminal, as plain lines for thousands or a pipe, as a DataFrame."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.cells import cell_len
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from slurm.status import duration
from sweeps.sweep.heard import seconds
from sweeps.sweep.notes import notes
from sweeps.sweep.state import STATES, WRONG, PointState
from sweeps.sweep.status import Situation, read

if TYPE_CHECKING:
    import pandas as pd

MOST = 200  # rows of a table that a person reads
_WRONG_NAMED = 5
_STYLES = {"done": "green", "trained": "green", "running": "cyan", "lost": "red", "failed": "red", "missing": "yellow", "stopped": "yellow"}
_URGENT = ("failed", "lost", "running", "stopped", "missing", "trained", "queued", "done")
_LEFT = ("name", "state", "job")  # the others are numbers
_FIRST_TO_GO = ("updated", "loss", "job")  # on a narrow terminal
_NAME_WIDTH = 26  # an override or two; what is longer is folded
Cells = Mapping[str, str]


def frame(folder: Path | str) -> pd.DataFrame:
    """Return the points of a root or of one sweep as a table, a row a point, a column a field of `PointState`, and one a metric.

    Raises:
        LcmError: The folder is neither.
    """
    import pandas as pd

    rows: list[dict[str, Any]] = []
    for point in read(folder):
        fields = {name: value for name, value in vars(point).items() if name not in {"headline", "memberships"}}
        rows.append({**fields, "log": str(point.log or ""), **point.headline})
    return pd.DataFrame(rows, columns=None if rows else [name for name in vars(PointState()) if name not in {"headline", "memberships"}])


def as_lines(situation: Situation, *, every: bool = False, most: int = MOST) -> Iterator[str]:
    """Yield the state as plain lines.

    Args:
        situation: The points.
        every: Whether every point has a row, however many there are.
        most: Otherwise, points above which only those have one that are not done, and at most so many.
    """
    rows = situation.points if every else chosen(situation.points, most)
    cells = {id(point): _cells(point) for point in rows}
    headings = _headings(list(cells.values()))
    width = {h: max(_width(h), *(_width(row.get(h, "")) for row in cells.values())) for h in headings}
    for title, points in _grouped(situation, rows):
        yield title
        if points:
            yield _line({heading: heading for heading in headings}, width)
        for point in points:
            yield _line(cells[id(point)], width)
    yield from _beneath(situation, rows)


def as_renderable(situation: Situation, *, width: int = 80, most: int = MOST) -> RenderableType:
    """Return the state for a terminal of some width: tables, then remarks."""
    rows = chosen(situation.points, most)
    cells = [_cells(point) for point in rows]
    headings = _fitting(_headings(cells), cells, width)
    parts: list[RenderableType] = []
    for title, points in _grouped(situation, rows):
        parts += [Text(title, style="bold"), *([_table(points, headings)] if points else [])]
    return Group(*parts, *(Text(line) for line in _beneath(situation, rows)))


def chosen(points: Sequence[PointState], most: int = MOST) -> list[PointState]:
    """Return the points to show: all where they are few, else those that are not done, what needs a person first."""
    if len(points) <= most:
        return list(points)
    urgent = sorted((point for point in points if point.state != "done"), key=lambda point: _rank(point.state))
    keep = {id(point) for point in urgent[:most]}
    return [point for point in points if id(point) in keep]


def wrong_lines(points: Sequence[PointState]) -> Iterator[str]:
    """Yield a line a point that failed or is lost: which, what happened, in which job, and its log."""
    for point in points:
        if point.state in WRONG:
            where = [f"job {point.job}" if point.job else "", f"log {point.log}" if point.log else f"run {point.run}"]
            yield printable(f"{point.label}: {point.error} ({', '.join(word for word in where if word)})")


def counted(points: Sequence[PointState]) -> str:
    """Return how many points are in each state."""
    counts = Counter(point.state for point in points)
    states = [*STATES, *sorted(set(counts) - set(STATES))]
    return f"{len(points)} point{'' if len(points) == 1 else 's'}: " + (
        ", ".join(f"{counts[state]} {state}" for state in states if counts[state]) or "none yet"
    )


def printable(text: str) -> str:
    """Return text that cannot break a line or steer a terminal."""
    return text if text.isprintable() else "".join(letter if letter.isprintable() else " " for letter in text)


def _grouped(situation: Situation, rows: Sequence[PointState]) -> Iterator[tuple[str, list[PointState]]]:
    """Yield a title and the rows of each sweep that has any points, and of the runs that no sweep started."""
    every, shown = _by_sweep(situation.points), _by_sweep(rows)
    labels = {sweep.name: f"{sweep.name} {sweep.label}".strip() for sweep in situation.sweeps}
    for name, points in every.items():
        yield printable(f"{labels[name] if name else 'in no sweep'}: {counted(points)}"), shown.get(name, [])
    if not every:
        yield counted([]), []


def _by_sweep(points: Sequence[PointState]) -> dict[str, list[PointState]]:
    found: dict[str, list[PointState]] = {}
    for point in points:
        found.setdefault(point.sweep, []).append(point)
    return found


def _beneath(situation: Situation, rows: Sequence[PointState]) -> Iterator[str]:
    left = len(situation.points) - len(rows)
    if left:
        undone = sum(point.state != "done" for point in situation.points) - sum(point.state != "done" for point in rows)
        yield f"not shown: {f'{undone} that are not done and ' if undone else ''}{left - undone} done; --all shows every point"
    wrong = list(wrong_lines(situation.points))
    yield from wrong[:_WRONG_NAMED]
    if len(wrong) > _WRONG_NAMED:
        yield f"... and {len(wrong) - _WRONG_NAMED} more that failed or are lost: --failed"
    yield from map(printable, notes(situation))


def _cells(point: PointState) -> Cells:
    at_work = point.state in {"running", "queued", "lost", "failed"}
    cells = {
        "point": "" if point.number is None else f"{point.number:04d}",
        "name": printable(point.name or point.run),
        "seed": "" if point.seed is None or f"seed={point.seed}" in point.name else str(point.seed),
        "state": point.state,
        "step": "" if point.step is None and point.steps is None else f"{point.step or 0}/{'?' if point.steps is None else point.steps}",
        "loss": "" if point.loss is None else f"{point.loss:.4g}",
        **{name.replace("_", "-"): f"{value:.2f}" for name, value in point.headline.items()},
        "left": "" if point.eta_s is None else duration(point.eta_s),
        "updated": _ago(point) if point.state in {"running", "lost"} else "",
        "job": printable(" ".join(word for word in (point.job, point.host) if word)) if at_work else "",
    }
    return {heading: text for heading, text in cells.items() if text}


def _ago(point: PointState) -> str:
    at = seconds(point.updated)
    return "" if at is None else f"{duration(max(0.0, time.time() - at))} ago"


def _headings(rows: Sequence[Cells]) -> list[str]:
    """Return the headings under which anybody has something that tells it from others, in the order of a row."""
    found = dict.fromkeys(heading for row in rows for heading in row)
    if len({row.get("seed", "") for row in rows}) == 1:
        found.pop("seed", None)
    first, last = ["point", "name", "seed", "state", "step", "loss"], ["left", "updated", "job"]
    return [h for h in [*first, *(h for h in found if h not in {*first, *last}), *last] if h in found]


def _fitting(headings: Sequence[str], rows: Sequence[Cells], width: int) -> list[str]:
    """Return the headings that leave names room on a terminal."""
    wide = {heading: max(_width(text) for text in (heading, *(row.get(heading, "") for row in rows))) + 1 for heading in headings}
    wide["name"] = min(wide.get("name", 0), _NAME_WIDTH)
    for heading in _FIRST_TO_GO:
        if sum(wide.values()) > width:
            wide.pop(heading, None)
    return [heading for heading in headings if heading in wide]


def _table(points: Sequence[PointState], headings: Sequence[str]) -> Table:
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False)
    for heading in headings:
        left = heading in _LEFT
        table.add_column(heading, justify="left" if left else "right", no_wrap=heading != "name", overflow="fold", min_width=4)
    for point in points:
        cells = _cells(point)
        table.add_row(*(Text(cells.get(h, ""), style=_STYLES.get(point.state, "") if h == "state" else "") for h in headings))
    return table


def _rank(state: str) -> int:
    return _URGENT.index(state) if state in _URGENT else 0


def _width(text: str) -> int:
    return len(text) if text.isascii() else cell_len(text)


def _line(cells: Cells, width: Mapping[str, int]) -> str:
    parts = []
    for heading, wide in width.items():
        text = cells.get(heading, "")
        gap = " " * (wide - _width(text))
        parts.append(text + gap if heading in _LEFT else gap + text)
    return "  ".join(parts).rstrip()

"""The reference's table and the honest one, of a root that was trained by `+preset=paper`.

    python -m sweeps.paper R [--clips 200] [--mbd-clips N] [-o FOLDER]

By the reference's protocol the test clips are restored again and timed in batches of two (its 100 batches are 200 clips); the honest half
is read from the records that the points, the teacher and the baselines have left.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from lcm.errors import LcmError
from lcm.paths import write_text
from lcm.speed.notes import DIFFERENCES
from sweeps.paper_root import PaperRoot, paper_root
from sweeps.paper_tables import HONEST, PUBLISHED, Columns, honest, published


def main(words: Sequence[str]) -> None:
    """Parse, measure, print and write."""
    parser = argparse.ArgumentParser(prog="python -m sweeps.paper", description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("root", type=Path, help="root folder of the points")
    parser.add_argument("--clips", type=int, default=200, metavar="N", help="test clips of the reference's protocol (default: %(default)s)")
    parser.add_argument("--mbd-clips", type=int, metavar="N", help="of which MultiBandDiffusion restores; 0: none (default: all)")
    parser.add_argument("-o", "--output", type=Path, metavar="FOLDER", help="write paper.md there")
    asked = parser.parse_args(list(words))
    found = paper_root(asked.root)
    show(found, asked.clips, asked.clips if asked.mbd_clips is None else asked.mbd_clips, asked.output)


def show(found: PaperRoot, clips: int, mbd_clips: int, output: Path | None = None, console: Console | None = None) -> str:
    """Measure, print both tables and write them.

    Returns:
        The Markdown.
    """
    console = console or Console()
    console.width = max(console.width, 130)  # of a table; a file or a pipe has no width of its own
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("loading", total=None)
        theirs = published(found, clips, mbd_clips, tell=lambda text: bar.update(task, description=text))
    tables = (
        (f"As published: {clips} clips at most, batches of two, raw estimates", PUBLISHED, theirs),
        (
            "Honest: the records' test set, codec in every time; x: against our faster sampler of MultiBandDiffusion",
            HONEST,
            honest(found.folder),
        ),
    )
    for title, head, rows in tables:
        _print(console, title, head, rows)
    for line in DIFFERENCES:
        console.print(line, highlight=False, markup=False)
    text = "\n\n".join(["# The reference's experiment", *(_markdown(*table) for table in tables), "\n".join(f"- {x}" for x in DIFFERENCES)])
    if output:
        write_text(output / "paper.md", text + "\n")
    return text + "\n"


def _print(console: Console, title: str, head: Columns, rows: Sequence[Sequence[str]]) -> None:
    view = Table(*head, title=title)
    for row in rows:
        view.add_row(*row)
    console.print(view)


def _markdown(title: str, head: Columns, rows: Sequence[Sequence[str]]) -> str:
    return f"## {title}\n\n" + "\n".join(f"| {' | '.join(line)} |" for line in (head, ["---"] * len(head), *rows))


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except LcmError as error:
        sys.exit(f"error: {error}")

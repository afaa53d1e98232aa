"""One self-contained page for a sweep: python -m analysis.report RUNS -o DIR."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import pandas as pd

from analysis.choose import headline_rows
from analysis.clip_facts import load_clip_facts
from analysis.figures import draw_all, save
from analysis.page import page
from analysis.players import audition
from analysis.points import points
from analysis.table import Results, ResultsError, load, read_words
from analysis.tables import FORMATS, apart, render, wide
from analysis.tables import results as results_table
from analysis.worst import with_cutoffs, worst_clips
from analysis.writing import writing


def build(runs: str | Path, out: str | Path, *, form: str = "html") -> Path:
    """Write the report of a results folder.

    Args:
        runs: results folder, e.g. runs/demo; an optional report.json in it gives title, note, question, student (a signature).
        out: folder for index.html, figures/ and the tables behind it: summary, points, worst, missing (.csv); for another format,
            for the table alone.
        form: "html", "csv", "md" or "latex".

    Returns:
        The file to open.

    Raises:
        ResultsError: nothing can be analysed, the format is not known, or a file cannot be written.
    """
    if form not in FORMATS:
        raise ResultsError(f"Unknown format {form!r}. Formats: {', '.join(FORMATS)}")
    loaded, folder = load(runs), Path(out)
    words = read_words(loaded.root)
    cells = results_table(loaded.table, words.get("student"))
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    if form != "html":
        return _write(folder / f"results.{FORMATS[form]}", render(apart(cells) if form == "csv" else wide(cells), form))
    return _write(folder / "index.html", _html(loaded, cells, words, folder))


def _html(loaded: Results, cells: pd.DataFrame, words: dict[str, str], folder: Path) -> str:
    """Write everything that stands beside the page and return the page."""
    worst = _worst(loaded, words.get("student"))
    tables = {"summary": cells, "points": points(loaded.table), "worst": worst, "missing": loaded.missing}
    for name, table in tables.items():
        _write(folder / f"{name}.csv", table.to_csv(index=False))
    drawn = draw_all(loaded)
    images = {d.name: next((p for p in save(d, folder / "figures") if p.suffix == ".png"), None) for d in drawn}
    return page(loaded, cells, drawn, images, audition(loaded, worst, words.get("student")), words)


def _worst(loaded: Results, named: str | None) -> pd.DataFrame:
    chosen = headline_rows(loaded.table, named)[1]
    runs = loaded.runs.loc[loaded.runs["signature"] == chosen.signature, "run"]
    return with_cutoffs(worst_clips(loaded.table, named), load_clip_facts(loaded, runs))


def _write(path: Path, text: str) -> Path:
    part = path.with_name(f"{path.name}.part")
    with writing(path):
        part.write_text(text, encoding="utf-8")
        part.replace(path)
    return path


def main(arguments: list[str] | None = None) -> int:
    """Parse, build, name the file."""
    parser = argparse.ArgumentParser(prog="python -m analysis.report", description=__doc__)
    parser.add_argument("runs", type=Path, metavar="RUNS", help="results folder, e.g. runs/demo")
    parser.add_argument("-o", "--out", type=Path, metavar="DIR", required=True, help="where to write index.html, figures/ and the tables")
    parser.add_argument("--format", choices=list(FORMATS), default="html", help="html: the page; others: the results table alone")
    given = parser.parse_args(arguments)
    try:
        print(build(given.runs, given.out, form=given.format))
    except ResultsError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

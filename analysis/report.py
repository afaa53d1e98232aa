"""One self-contained page for a sweep: python -m analysis.report RUNS -o DIR."""

from __future__ import annotations

import argparse
import base64
import sys
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd

from analysis.cautions import cautions
from analysis.choose import choose_student, headline_steps, prefer_copy
from analysis.clips import load_clips
from analysis.figures import Drawn, draw_all, save
from analysis.names import UNTRAINED
from analysis.names import metric as describe
from analysis.points import headline_points, points, readable
from analysis.runs import flatten
from analysis.table import Results, ResultsError, current_protocol, load, read_words
from analysis.tables import FORMATS, number, render, wide
from analysis.tables import results as results_table
from analysis.verdict import compare, sentences

TEMPLATES = Path(__file__).parent / "templates"
CLIPS = 4
AUDIO_BYTES = 12_000_000
"""Most audio put into the page: larger pages open slowly."""


def build(runs: str | Path, out: str | Path, *, form: str = "html") -> Path:
    """Write the report of a results folder.

    Args:
        runs: results folder, e.g. runs/demo; an optional report.json in it gives title, note, question, student (a signature).
        out: folder for index.html, figures/, summary.csv and points.csv; for another format, for the table alone.
        form: "html", "csv", "md" or "latex".

    Returns:
        The file to open.

    Raises:
        ResultsError: nothing can be analysed, or the format is not known.
    """
    if form not in FORMATS:
        raise ResultsError(f"Unknown format {form!r}. Formats: {', '.join(FORMATS)}")
    loaded, folder = load(runs), Path(out)
    words = read_words(loaded.root)
    cells = results_table(loaded.table, words.get("student"))
    folder.mkdir(parents=True, exist_ok=True)
    if form != "html":
        return _write(folder / f"results.{FORMATS[form]}", render(wide(cells), form))
    _write(folder / "summary.csv", cells.to_csv(index=False))
    _write(folder / "points.csv", points(loaded.table).to_csv(index=False))
    drawn = draw_all(loaded)
    images = {d.name: next((p for p in save(d, folder / "figures") if p.suffix == ".png"), None) for d in drawn}
    return _write(folder / "index.html", page(loaded, cells, drawn, images, words))


def page(loaded: Results, cells: pd.DataFrame, drawn: list[Drawn], images: dict[str, Path | None], words: dict[str, str]) -> str:
    """Fill the template.

    Args:
        loaded: results.
        cells: the long results table.
        drawn: figures, or the reasons they were skipped.
        images: figure name -> PNG.
        words: title, note, question of report.json.

    Returns:
        The HTML document.
    """
    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters["inline"] = lambda path: base64.b64encode(Path(path).read_bytes()).decode()
    named = words.get("student")
    chosen = choose_student(current_protocol(loaded.table), named)
    comparisons = compare(loaded.table, named)
    return environment.get_template("report.html.j2").render(
        words=words, answers=sentences(comparisons), comparisons=_grid(comparisons), chosen=chosen,
        axes=_axis_values(loaded, chosen.signature), table=_html_table(cells), points=_point_table(loaded),
        figures=[(d, images[d.name]) for d in drawn if images[d.name]], skipped=[d for d in drawn if d.reason],
        clips=_clips(loaded, named), runs=_run_rows(loaded), findings=cautions(loaded, named), provenance=_provenance(loaded),
        protocol=int(loaded.table["protocol"].max()), counts=_counts(loaded),
    )  # fmt: skip


def _write(path: Path, text: str) -> Path:
    part = path.with_name(f"{path.name}.part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)
    return path


def _grid(comparisons: list[Any]) -> dict[str, list[Any]]:
    return {label: [c for c in comparisons if c.label == label] for label in dict.fromkeys(c.label for c in comparisons)}


def _axis_values(loaded: Results, signature: str) -> dict[str, str]:
    own = loaded.runs[loaded.runs["signature"] == signature].head(1)
    return {c.removeprefix("config."): _plain(own[c].iloc[0]) for c in own.columns if c.startswith("config.") and not own[c].isna().all()}


def _plain(value: Any) -> str:
    if value is None or (isinstance(value, float) and pd.isna(value)):
        return ""
    return f"{value:g}" if isinstance(value, float) else str(value).replace(" ", "") if str(value).startswith("[") else str(value)


def _html_table(cells: pd.DataFrame) -> dict[str, Any]:
    """Return header and rows of the results table; each cell has a text, an interval and a number to sort by."""
    texts, (first, second, *metrics) = wide(cells), wide(cells).columns
    rows = []
    for record in texts.to_dict("records"):
        values = [_split(str(record[m])) for m in metrics]
        reference = str(record[first]) in ("sinc", "codec ceiling")
        rows.append({"system": record[first], "copy": record[second], "values": values, "reference": reference})
    hints = {describe(m).label: describe(m).axis for m in cells["metric"].unique()}
    return {"metrics": [(m, hints.get(m, m)) for m in metrics], "rows": rows}


def _point_table(loaded: Results) -> dict[str, Any]:
    """Return header and rows of the table of points: name, steps, seeds, then a number with its interval for each metric."""
    texts = readable(headline_points(loaded.table))
    first, steps, seeds, *metrics = texts.columns
    rows = [
        {"name": row[first], "steps": row[steps], "seeds": row[seeds], "values": [_split(str(row[m])) for m in metrics]}
        for row in texts.to_dict("records")
    ]
    return {"metrics": metrics, "rows": rows}


def _split(text: str) -> dict[str, str]:
    mean, _, ends = text.partition(" ")
    return {"mean": mean, "interval": ends}


def _clips(loaded: Results, named: str | None) -> list[dict[str, Any]]:
    shown, left = [], AUDIO_BYTES
    for utterance, group in load_clips(loaded, named).groupby("utterance", sort=False):
        size = sum(Path(path).stat().st_size for path in group["path"])
        if size <= left and len(group) > 1:
            left -= size
            shown.append({"utterance": utterance, "players": group.to_dict("records")})
        if len(shown) == CLIPS:
            break
    return shown


def _run_rows(loaded: Results) -> dict[str, Any]:
    axes = [c for c in loaded.runs.columns if c.startswith("config.") and loaded.runs[c].nunique(dropna=True) > 1]
    scores = _run_scores(loaded)
    rows = [
        {
            "run": run["run"], "state": run["state"], "seed": _plain(run["seed"]), "error": run["error"] or "",
            "axes": [_plain(run[a]) for a in axes], "scores": [scores.get((run["run"], m), "") for m in ("lsd_hf", "si_sdr")],
        }
        for run in loaded.runs.astype(object).to_dict("records")
    ]  # fmt: skip
    return {"axes": [a.removeprefix("config.") for a in axes], "rows": rows}


def _run_scores(loaded: Results) -> dict[tuple[str, str], str]:
    table = headline_steps(current_protocol(loaded.table))
    own = table[~table["system"].isin(UNTRAINED)]
    means = prefer_copy(own).groupby(["run", "metric"], observed=True)["value"].mean().dropna().reset_index()
    return {(row["run"], row["metric"]): number(row["value"], row["metric"]) for row in means.to_dict("records")}


def _provenance(loaded: Results) -> dict[str, str]:
    seen: dict[str, dict[str, int]] = {}
    for tree in loaded.provenance.values():
        for key, value in flatten(tree).items():
            counts = seen.setdefault(key, {})
            counts[str(value)] = counts.get(str(value), 0) + 1
    return {key: _several(values) for key, values in seen.items()}


def _several(values: dict[str, int]) -> str:
    listed = sorted(values, key=lambda v: -values[v])
    return ", ".join(listed[:3]) + (f" and {len(listed) - 3} more" if len(listed) > 3 else "")


def _counts(loaded: Results) -> dict[str, int]:
    clips = loaded.table[loaded.table["utterance"] != "*"]
    return {"run": len(loaded.runs), "test clip": clips["utterance"].nunique(), "test speaker": clips["speaker"].nunique()}


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

"""The page of the report: what its template is filled with."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2
import markupsafe
import pandas as pd

from analysis.cautions import cautions
from analysis.choose import headline_rows
from analysis.figures import Drawn
from analysis.page_tables import comparison_table, missing_table, plain, points_table, results_table, runs_table
from analysis.parse import flatten
from analysis.players import Audition
from analysis.table import Results
from analysis.verdict import compare, sentences
from lcm.records import WHOLE_SET

TEMPLATES = Path(__file__).parent / "templates"


def page(
    results: Results, cells: pd.DataFrame, drawn: list[Drawn], images: Mapping[str, Path | None], heard: Audition, words: dict[str, str]
) -> str:
    """Fill the template.

    Args:
        results: loaded results.
        cells: the long results table, from `tables.results`.
        drawn: figures, or the reasons they were skipped.
        images: figure name -> PNG.
        heard: what there is to hear, from `players.audition`.
        words: title, note, question, student of report.json.

    Returns:
        The HTML document: no file and no address outside it is needed to read it.
    """
    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters["inline"] = lambda path: base64.b64encode(Path(path).read_bytes()).decode()
    environment.filters["coded"] = _coded
    return environment.get_template("report.html.j2").render(**context(results, cells, words), **_pictures(drawn, images), heard=heard)


def context(results: Results, cells: pd.DataFrame, words: dict[str, str]) -> dict[str, Any]:
    """Return what the page says: answers, tables, warnings, provenance.

    Args:
        results: loaded results.
        cells: the long results table.
        words: title, note, question, student of report.json.

    Returns:
        The template's variables by name.
    """
    named = words.get("student")
    chosen = headline_rows(results.table, named)[1]
    comparisons = compare(results.table, named)
    return {
        "words": words, "answers": [_unbroken(text) for text in sentences(comparisons)], "comparisons": comparison_table(comparisons),
        "chosen": chosen, "axes": _axis_values(results, chosen.signature), "table": results_table(cells),
        "points": points_table(results.table), "runs": runs_table(results), "missing": missing_table(results.missing),
        "findings": cautions(results, named), "provenance": _provenance(results), "protocol": int(results.table["protocol"].max()),
        "counts": _counts(results),
    }  # fmt: skip


def _coded(text: str) -> markupsafe.Markup:
    """Set what stands between backquotes as code."""
    return markupsafe.Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(markupsafe.escape(text))))


def _unbroken(sentence: str) -> str:
    """Keep an interval and its unit on one line."""
    return re.sub(r"\[[^]]*\](?: dB)?", lambda found: found[0].replace(" ", "\u00a0"), sentence)


def _pictures(drawn: list[Drawn], images: Mapping[str, Path | None]) -> dict[str, Any]:
    return {"figures": [(d, images[d.name]) for d in drawn if images.get(d.name)], "skipped": [d for d in drawn if d.reason]}


def _axis_values(results: Results, signature: str) -> dict[str, str]:
    own = results.runs[results.runs["signature"] == signature].head(1)
    return {c.removeprefix("config."): plain(own[c].iloc[0]) for c in own.columns if c.startswith("config.") and not own[c].isna().all()}


def _provenance(results: Results) -> dict[str, str]:
    seen: dict[str, dict[str, int]] = {}
    for tree in results.provenance.values():
        for key, value in flatten(tree).items():
            counts = seen.setdefault(key, {})
            counts[str(value)] = counts.get(str(value), 0) + 1
    return {key: _several(values) for key, values in seen.items()}


def _several(values: dict[str, int]) -> str:
    listed = sorted(values, key=lambda v: -values[v])
    return ", ".join(listed[:3]) + (f" and {len(listed) - 3} more" if len(listed) > 3 else "")


def _counts(results: Results) -> dict[str, int]:
    known = {name: set(results.table[name].unique()) - {WHOLE_SET} for name in ("utterance", "speaker")}
    return {"run": len(results.runs), "test clip": len(known["utterance"]), "test speaker": len(known["speaker"])}

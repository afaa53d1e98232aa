"""What a reader must know before believing the report, beyond what loading the records found."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from analysis.choose import Chosen, headline_rows
from analysis.names import OPTIMISES, UNTRAINED
from analysis.names import metric as describe
from analysis.runs import Finding
from analysis.settings import loss_terms
from analysis.stats import MIN_SEEDS, MIN_SPEAKERS
from analysis.table import Results, current_protocol


def cautions(results: Results, named: str | None = None) -> list[Finding]:
    """List everything to warn of, worst first.

    Args:
        results: loaded results.
        named: signature of the student's point, if its author named one.

    Returns:
        Findings of loading, then of the study's design.
    """
    rows, chosen = headline_rows(results.table, named)
    current = current_protocol(results.table)
    design = [*_seeds(rows), *_point_seeds(current), *_speakers(rows), *_held_out(results.root), *_optimised(rows), *_choice(chosen)]
    return sorted([*results.warnings, *design], key=lambda f: ("error", "warning", "note").index(f.level))


def _seeds(rows: pd.DataFrame) -> list[Finding]:
    trained = rows[~rows["system"].isin([*UNTRAINED, "teacher"])]
    seeds = trained.groupby("system", observed=True)["seed"].nunique()
    few = [f"{system} ({count})" for system, count in seeds.items() if count < MIN_SEEDS]
    if not few:
        return []
    text = f"Fewer than {MIN_SEEDS} seeds: {', '.join(few)}. With one seed an interval holds no variation between trainings."
    return [Finding("warning", text)]


def _point_seeds(table: pd.DataFrame) -> list[Finding]:
    trained = table[~table["system"].isin([*UNTRAINED, "teacher"])]
    seeds = trained.groupby(["system", "signature"], observed=True)["seed"].nunique()
    few = int((seeds < MIN_SEEDS).sum())
    if len(seeds) < 2 or not few:
        return []
    text = f"{few} of {len(seeds)} points have fewer than {MIN_SEEDS} seeds: the trade-off shows them without bars."
    return [Finding("note", text)]


def _speakers(rows: pd.DataFrame) -> list[Finding]:
    count = rows["speaker"][rows["speaker"] != "*"].nunique()
    if count >= MIN_SPEAKERS:
        return []
    return [Finding("warning", f"{count} test speaker{'s' * (count != 1)}, fewer than {MIN_SPEAKERS}: little is known about other voices.")]


def _held_out(root: Path) -> list[Finding]:
    path = root / "corpus" / "manifest.csv"
    if not path.is_file():
        return [Finding("note", "Whether the test speakers were held out is not known here: there is no corpus/manifest.csv.")]
    try:
        manifest = pd.read_csv(path, dtype=str)
        speakers = {split: set(part) for split, part in manifest.groupby("split")["speaker"]}
    except (KeyError, ValueError, OSError) as error:
        return [Finding("warning", f"corpus/manifest.csv cannot be read ({error}): held-out speakers are not checked.")]
    shared = speakers.get("train", set()) & speakers.get("test", set())
    if not shared:
        return []
    text = f"No held-out speakers: {len(shared)} test speaker(s) are in the training split too; results flatter the model."
    return [Finding("warning", text)]


def _optimised(rows: pd.DataFrame) -> list[Finding]:
    """Warn of every system that was trained on a metric which the report shows."""
    shown, parts = set(rows["metric"].unique()), []
    for system, own in rows[~rows["system"].isin([*UNTRAINED, "teacher"])].groupby("system", observed=True):
        terms = loss_terms({str(k): v for k, v in own.iloc[0].items()})
        both = [describe(name).label for term in terms for name in OPTIMISES.get(term, ()) if name in shown]
        if both:
            parts.append(f"{'the student' if system == 'student' else system} was trained on {', '.join(dict.fromkeys(both))}")
    if not parts:
        return []
    return [Finding("warning", f"Optimised metric = reported metric: {'; '.join(parts)}; judge by the others.")]


def _choice(chosen: Chosen) -> list[Finding]:
    if not chosen.on_test:
        return []
    text = f"The student's point was chosen as {chosen.reason}, on the test set itself: its figures are a little too good."
    return [Finding("warning", text)]

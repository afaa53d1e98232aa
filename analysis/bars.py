"""Is the one-step student good enough? Every bar it is held to, checked on the records: python -m analysis.bars ROOT."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from analysis.cells import WHOLE_SET
from analysis.check import MET, MISSED, NOT_MEASURED, SHOWN, Line, check
from analysis.choose import Chosen, choose_student
from analysis.names import metric as describe
from analysis.points import describe_points
from analysis.table import ResultsError, current_protocol, load, read_words, unknown_student
from analysis.tables import COPY, number, render
from analysis.writing import writing


def readable(lines: list[Line]) -> str:
    """Write lines as Markdown: a heading and a table for each question.

    Args:
        lines: what `check` returns.

    Returns:
        Tables of bar, copy, student, rival, worse by, criterion, verdict, note.
    """
    groups = dict.fromkeys(line.bar.group for line in lines)
    parts = [f"## {group}\n\n{render(pd.DataFrame([_row(line) for line in lines if line.bar.group == group]), 'md')}" for group in groups]
    return "\n".join(parts)


def _row(line: Line) -> dict[str, str]:
    steps = f" at {line.bar.steps} steps" if line.bar.steps > 1 else ""
    return {
        "bar": f"{describe(line.bar.metric).label}{steps} against {line.rival}", "copy": COPY[line.bar.copy],
        "student": _number(line.student_mean, line), "rival": _number(line.rival_mean, line), "worse by": _span(line),
        "criterion": line.bar.rule.text, "verdict": line.verdict if line.bar.asked or line.verdict == SHOWN else f"({line.verdict})",
        "note": "; ".join(filter(None, [f"missing: {line.missing}" if line.missing else "", line.note])),
    }  # fmt: skip


def _number(value: float, line: Line) -> str:
    return "" if np.isnan(value) else number(value, line.bar.metric)


def _span(line: Line) -> str:
    worse, metric = line.worsening, line.bar.metric
    if np.isnan(worse.mean):
        return ""
    ends = [worse.mean, worse.low, worse.high]
    mean, low, high = (f"{100 * e:.1f}".replace("-", "−") if line.bar.rule.relative else number(e, metric) for e in ends)
    unit = " %" if line.bar.rule.relative else f" {describe(metric).unit}".rstrip()
    return f"{mean}{unit} [{low}, {high}]" if np.isfinite(worse.low) else f"{mean}{unit}, no interval"


def to_frame(lines: list[Line]) -> pd.DataFrame:
    """Arrange lines for a program: one row per bar, numbers unrounded.

    Args:
        lines: what `check` returns.

    Returns:
        Columns group, rival, metric, low_band_copy, steps, rival_steps, student_mean, rival_mean, worsening, low, high, relative, margin,
        criterion, asked, verdict, missing, note, speakers, method.
    """
    return pd.DataFrame([
        {
            "group": line.bar.group, "rival": line.rival, "metric": line.bar.metric, "low_band_copy": line.bar.copy,
            "steps": line.bar.steps, "rival_steps": line.bar.rival_steps, "student_mean": line.student_mean, "rival_mean": line.rival_mean,
            "worsening": line.worsening.mean, "low": line.worsening.low, "high": line.worsening.high, "relative": line.bar.rule.relative,
            "margin": line.bar.rule.margin, "criterion": line.bar.rule.text, "asked": line.bar.asked, "verdict": line.verdict,
            "missing": line.missing, "note": line.note, "speakers": line.worsening.speakers, "method": line.worsening.method,
        }
        for line in lines
    ])  # fmt: skip


def choose(table: pd.DataFrame, named: str | None, words: dict[str, str]) -> Chosen:
    """Choose the student's point: the one asked for, else the one of report.json, else by the rule of `choose_student`.

    Args:
        table: tidy table.
        named: signature given on the command line, if any.
        words: words of report.json.

    Raises:
        ResultsError: no student has the given signature.
    """
    current = current_protocol(table)
    if named is None:
        chosen, problem = choose_student(current, words.get("student")), unknown_student(current, words.get("student", ""))
        return replace(chosen, reason=f"{chosen.reason}; {problem}") if problem else chosen
    _need(current, "student", named)
    return Chosen(named, "named on the command line")


def _need(table: pd.DataFrame, system: str, signature: str) -> None:
    known = sorted(table["signature"][table["system"] == system].astype(str).unique())
    if signature not in known:
        raise ResultsError(f"No {system} has signature {signature!r}. Signatures: {', '.join(known) or f'none, no {system} was evaluated'}")


HOW = """\
Worse by: how much worse the student is, below 0 better, in the metric's unit or in % of the rival's mean, with its 95 % interval: \
paired by clip, clustered by speaker, over seeds. A bar is met where the interval's upper end is below the margin. The Fréchet \
distance is one number a seed for the whole set: its interval is the t interval over seeds alone. HF bias and fine structure are \
compared by each run's distance from 0 dB and from 1. Systems without seeds are paired with every seed, two step counts of one \
network seed by seed. Intervals are not corrected for the number of bars. Verdicts in brackets stand beside the bars and do not count.
"""


def preamble(table: pd.DataFrame, chosen: Chosen, lines: list[Line]) -> str:
    """Say in a few lines what was measured and how to read it.

    Args:
        table: tidy table.
        chosen: the student's point.
        lines: what `check` returns.
    """
    current = current_protocol(table)
    names = describe_points(current).set_index(["system", "signature"])["label"].to_dict()
    own = current[(current["system"] == "student") & (current["signature"] == chosen.signature)]
    clips = own[own["utterance"] != WHOLE_SET]
    seeds, test = own["seed"].nunique(), f"{clips['utterance'].nunique()} clips of {clips['speaker'].nunique()} speakers"
    flattered = " It was chosen on the evaluated clips themselves, which flatters it." if chosen.on_test else ""
    asked = [line.verdict for line in lines if line.bar.asked]
    return (
        f"Student: {names.get(('student', chosen.signature), 'none')} (`{chosen.signature}`, {chosen.reason}); seeds: {seeds}; {test}; "
        f"protocol {current['protocol'].max()}.{flattered}\n\n"
        f"Of {len(asked)} bars: {', '.join(f'{asked.count(v)} {v}' for v in (MET, MISSED, NOT_MEASURED))}.\n\n{HOW}"
    )


def main(arguments: list[str] | None = None) -> int:
    """Parse, check, print."""
    parser = argparse.ArgumentParser(prog="python -m analysis.bars", description=__doc__)
    parser.add_argument("root", type=Path, metavar="ROOT", help="results folder, e.g. runs/demo")
    parser.add_argument("-o", "--out", type=Path, metavar="FILE", help="write to FILE.md or FILE.csv too")
    parser.add_argument("--student", metavar="SIGNATURE", help="the student's point; default: report.json's, else by rule")
    parser.add_argument("--teacher", metavar="SIGNATURE", help="the teacher; default: the one that fits the student's settings")
    given = parser.parse_args(arguments)
    try:
        print(run(given.root, given.out, given.student, given.teacher))
    except ResultsError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def run(root: Path, out: Path | None = None, student: str | None = None, teacher: str | None = None) -> str:
    """Check the bars of a results folder.

    Args:
        root: results folder.
        out: file to write, .md or .csv, or None.
        student: signature of the student's point, or None.
        teacher: signature of the teacher, or None.

    Returns:
        The Markdown text.

    Raises:
        ResultsError: nothing can be analysed, a signature is not known, or the file has another suffix or cannot be written.
    """
    if out is not None and out.suffix not in (".md", ".csv"):
        raise ResultsError(f"Unknown suffix {out.suffix!r} of {out}: bars are written as .md or .csv")
    table = load(root).table
    chosen = choose(table, student, read_words(root))
    if teacher is not None:
        _need(current_protocol(table), "teacher", teacher)
    lines = check(table, chosen.signature, teacher)
    text = f"{preamble(table, chosen, lines)}\n{readable(lines)}"
    if out is not None:
        with writing(out):
            out.parent.mkdir(parents=True, exist_ok=True)
            out.write_text(text if out.suffix == ".md" else to_frame(lines).to_csv(index=False), encoding="utf-8")
    return text


if __name__ == "__main__":
    raise SystemExit(main())

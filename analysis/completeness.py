"""What a sweep should have and does not: points, seeds, utterances, metrics; what was scored by another protocol or on another test set."""

from __future__ import annotations

import itertools
import math
import shlex
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.names import UNTRAINED
from analysis.runs import Run, has_records
from analysis.settings import config_axes, setting
from lcm.errors import LcmError
from lcm.paths import Root, SweepFolder

COLUMNS = ("kind", "run", "what", "do")
MOST_HOLES = 1 / 3
"""Combinations of a grid that may be missing, as a share, for it to count as a grid that somebody meant to fill."""
AGAIN = "evaluate it again: the command that made it, or `python -m sweeps retry ROOT`"

NAMED = 20
"""Runs on other clips whose clips are named; of more it is said only that they differ."""

Row = tuple[str, str, str, str]
ClipsOf = Callable[[str], frozenset[str]]


def missing(root: Path, runs: Sequence[Run], coverage: pd.DataFrame, clips_of: ClipsOf) -> pd.DataFrame:
    """List what is missing from a sweep.

    Args:
        root: results root.
        runs: its run folders.
        coverage: what `reading.coverage` returns.
        clips_of: returns the utterances of a run, by its name.

    Returns:
        Columns kind ("point", "seed", "utterance", "step count", "metric", "protocol", "test set"), run (name, or "" where there is none),
        what, do.
    """
    rows = [
        *_unfinished(runs), *_never_begun(root, runs), *_seeds(runs, coverage), *_holes(runs, coverage), *_protocols(coverage),
        *_utterances(coverage, clips_of), *_steps(coverage), *_metrics(coverage),
        *_test_sets(runs),
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _unfinished(runs: Sequence[Run]) -> Iterator[Row]:
    for run in runs:
        step = f"at step {run.status.get('step', '?')} of {run.status.get('steps', '?')}"
        if run.state == "failed":
            cause = str(run.status.get("error") or "no reason was written").splitlines()[0]
            yield "point", run.name, f"failed {step}: {cause}", "`python -m sweeps retry ROOT`"
        elif run.unfinished:
            yield "point", run.name, f"{run.state} {step}", "wait, or run its command again; `python -m sweeps status ROOT`"
        elif not has_records(run.folder):
            yield "point", run.name, f"{run.state}, but not evaluated", AGAIN


def _never_begun(root: Path, runs: Sequence[Run]) -> Iterator[Row]:
    """Yield points that were submitted and have no run folder."""
    from sweeps.sweep.record import read_place, read_sweep

    there = {run.folder.name for run in runs}
    for path in sorted(Root(root).sweeps.glob("*/sweep.json")):
        folder = SweepFolder(path.parent)
        try:
            sweep = read_sweep(folder)
        except LcmError as error:
            yield "point", "", f"what sweep {path.parent.name} has submitted is not known: {error}", "move its folder away"
            continue
        for point in sweep.points:
            name = point.run if point.run in there else read_place(folder, point.number).run or point.run
            if name not in there:
                yield "point", name, f"{point.name} (number {point.number} of sweep {sweep.name}) was submitted and has not begun", (
                    "`python -m sweeps status ROOT`, then `python -m sweeps retry ROOT`"
                )


def _trained(coverage: pd.DataFrame) -> pd.DataFrame:
    own = coverage[~coverage["system"].isin([*UNTRAINED, "teacher"])]
    return own.drop_duplicates(["system", "signature", "seed"])[["system", "signature", "seed", "run"]].astype({"signature": str})


def _seeds(runs: Sequence[Run], coverage: pd.DataFrame) -> Iterator[Row]:
    """Yield the seeds that half of a system's points have and another has not; those on the way are listed as points."""
    begun = {run.folder.name for run in runs}
    for system, own in _trained(coverage).groupby("system", observed=True):
        points, usual = own["signature"].nunique(), own["seed"].value_counts()
        expected = set(usual.index[usual >= points / 2])
        for signature, part in own.groupby("signature") if points > 1 else ():
            lacking = sorted(s for s in expected - set(part["seed"]) if f"{signature}-s{s}" not in begun)
            if lacking:
                seeds = ", ".join(map(str, lacking))
                what = f"{system} {signature} has no seed {seeds}, which most points have"
                yield "seed", str(part["run"].iloc[0]), what, f"run its command with seed={seeds.replace(' ', '')}"


def _holes(runs: Sequence[Run], coverage: pd.DataFrame) -> Iterator[Row]:
    """Yield combinations that are missing from a grid most of which is there."""
    students = set(coverage["run"][coverage["system"] == "student"].astype(str))
    own = [run for run in runs if run.name in students and run.config]
    names = config_axes(run.config for run in own)
    values = {axis: [str(setting(run.config, axis)) for run in own] for axis in names}
    axes = [axis for axis in names if len(set(values[axis])) > 1]
    found = set(zip(*(values[axis] for axis in axes), strict=True))
    levels = [sorted(set(values[axis])) for axis in axes]
    size = math.prod(map(len, levels))
    if len(axes) < 2 or size - len(found) > MOST_HOLES * size:
        return
    begun = {tuple(str(setting(run.config, axis)) for axis in axes) for run in runs if run.config}  # what failed is listed as that
    for combination in itertools.product(*levels):
        if combination not in found | begun:
            settings = [f"{axis}={value}" for axis, value in zip(axes, combination, strict=True)]
            yield "point", "", f"the grid has no point {' '.join(settings)}", (
                f"`python -m sweeps.run {' '.join(map(_override, settings))}` and the sweep's other settings"
            )


def _override(setting: str) -> str:
    """Write a setting as a shell and hydra read it: a list without spaces, null for none, quoted where need be."""
    key, _, value = setting.partition("=")
    written = {"None": "null"}.get(value, value.replace(", ", ",") if value.startswith("[") else value)
    return shlex.quote(f"{key}={written}")


def _protocols(coverage: pd.DataFrame) -> Iterator[Row]:
    newest = coverage["protocol"].max()
    for run, version in coverage[coverage["protocol"] < newest].groupby("run", observed=True)["protocol"].max().items():
        yield "protocol", str(run), f"scored by protocol {version}, others by {newest}; never averaged together", AGAIN


def _utterances(coverage: pd.DataFrame, clips_of: ClipsOf) -> Iterator[Row]:
    """Yield runs whose set of clips is not the one that most runs have, and metrics that some clips of a run lack."""
    clips = coverage[coverage["metric"] != "frechet_hf"]
    widest = clips.loc[clips.groupby("run", observed=True)["utterances"].idxmax(), ["run", "set", "utterances"]]
    sets = widest.groupby("set").agg(runs=("run", "size"), size=("utterances", "max"), example=("run", "first"))
    usual = sets.sort_values(["runs", "size"], ascending=False).head(1)
    others = widest[~widest["set"].isin(usual.index)]
    expected = clips_of(str(usual["example"].iloc[0])) if len(others) else frozenset()
    for number, run in enumerate(others["run"].astype(str)):
        yield "utterance", run, _difference(expected, clips_of(run)) if number < NAMED else "scored on other clips than most runs", AGAIN
    full = clips.merge(widest[["run", "utterances"]].rename(columns={"utterances": "all"}), on="run")
    for (run, metric), row in full[full["utterances"] < full["all"]].groupby(["run", "metric"], observed=True).first().iterrows():
        yield "utterance", str(run), f"{row['all'] - row['utterances']} of {row['all']} clips have no {metric}", AGAIN


def _difference(expected: frozenset[str], found: frozenset[str]) -> str:
    lacking, further = sorted(expected - found), sorted(found - expected)
    parts = [f"{len(lacking)} of {len(expected)} clips missing: {_some(lacking, 3)}"] if lacking else []
    parts += [f"{len(further)} clips that most runs do not have: {_some(further, 3)}"] if further else []
    return f"{'; '.join(parts)}; differences use the clips in common"


def _steps(coverage: pd.DataFrame) -> Iterator[Row]:
    """Yield the step counts that half of a trained system's runs were scored at and another was not."""
    own = coverage[~coverage["system"].isin([*UNTRAINED, "teacher"])]
    for system, part in own.groupby("system", observed=True):
        scored = part.groupby("run", observed=True)["steps"].agg(set)
        counts = Counter(steps for found in scored for steps in found)
        expected = {steps for steps, runs in counts.items() if runs >= len(scored) / 2}
        for run, found in scored.items():
            if lacking := ", ".join(map(str, sorted(expected - found))):
                yield "step count", str(run), f"{system} was not scored at {lacking} steps, as most runs were", AGAIN


def _metrics(coverage: pd.DataFrame) -> Iterator[Row]:
    """Yield runs that lack metrics which others of the same system have."""
    pairs = coverage.drop_duplicates(["run", "system", "metric"])
    for _system, own in pairs.groupby("system", observed=True):
        every = set(own["metric"].unique())
        counts = own.groupby("run", observed=True)["metric"].nunique()
        for run in counts.index[counts < len(every)]:
            lacking = sorted(every - set(own["metric"][own["run"] == run]))
            yield "metric", str(run), f"has no {_some(lacking)}, which other runs have", AGAIN


def _test_sets(runs: Sequence[Run]) -> Iterator[Row]:
    """Yield runs whose test set was another by content, though its clips may bear the same names."""
    sets = {run.name: str(value) for run in runs if run.usable and (value := _test_set(run.provenance))}
    usual = pd.Series(sets, dtype=object).mode()
    for name, value in sets.items():
        if value != usual.iloc[0]:
            yield "test set", name, "was trained or scored on other recordings or codes than most runs of this root", AGAIN


def _test_set(provenance: dict[str, Any]) -> str:
    contents = provenance.get("contents")
    known = contents if isinstance(contents, dict) else {}
    return "-".join(str(known[name]) for name in ("manifest", "store") if name in known)


def _some(names: Sequence[str], most: int = 5) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")

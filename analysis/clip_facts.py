"""What was done to each test clip: the clips.csv that an evaluation leaves in its run folder."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import pandas as pd

from analysis.choose import headline_rows
from analysis.table import Results
from lcm.paths import Run
from lcm.records import CLIP_COLUMNS, RecordsError, read_clips

FACTS = ["run", *CLIP_COLUMNS]


def load_clip_facts(results: Results, runs: Iterable[str] | None = None) -> pd.DataFrame:
    """Read which clips were evaluated, and how each was degraded.

    Args:
        results: loaded results.
        runs: names of the runs to read; all where None.

    Returns:
        Columns run, utterance, speaker, seconds, cutoff_hz, bandwidth_hz, family; a run without a readable clips.csv has no rows.
    """
    wanted = None if runs is None else set(runs)
    parts = []
    for run in results.runs[["run", "folder"]].to_dict("records"):
        if wanted is None or run["run"] in wanted:
            with suppress(RecordsError):  # as of a run that was evaluated before there was such a file
                parts.append(read_clips(Run(Path(run["folder"])).clips).assign(run=run["run"]))
    return pd.concat(parts, ignore_index=True)[FACTS] if parts else pd.DataFrame(columns=FACTS)


def with_clip_facts(results: Results) -> pd.DataFrame:
    """Join to the rows that stand for each system what was done to their clips.

    Args:
        results: loaded results.

    Returns:
        The rows of `headline_rows` with seconds, cutoff_hz, bandwidth_hz and family; NaN where a run has no clips.csv.
    """
    rows = headline_rows(results.table)[0]
    facts = load_clip_facts(results, rows["run"].unique()).drop(columns="speaker").drop_duplicates(["run", "utterance"])
    keys = pd.MultiIndex.from_frame(rows[["run", "utterance"]].astype(str))
    joined = facts.set_index(["run", "utterance"]).reindex(keys)
    return rows.assign(**{name: joined[name].to_numpy() for name in joined.columns})

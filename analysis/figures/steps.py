"""The student's quality by its number of network evaluations."""

from __future__ import annotations

from collections import Counter

import pandas as pd
from matplotlib.axes import Axes

from analysis.choose import headline_rows, point_axes, point_rows, prefer_copy, select
from analysis.figures.along import BARS, RECORD, left_out, level_text, levels, rank_of, reach
from analysis.figures.quality import QUALITY, means, need
from analysis.figures.spec import Pair, plot
from analysis.figures.style import SERIES, NotDrawn, footnote, panels, paper, reference_lines
from analysis.gaps import on_shared_clips
from analysis.names import metric as describe
from analysis.settings import as_text
from analysis.stats import summary

STEP_LINES = {
    "config.objective.name": "Objective", "config.blocks.partition": "Codebook blocks", "config.objective.stages": "Curriculum stages",
    "config.objective.n": "Levels of the grid, N", "config.teacher.steps": "Heun steps of the teacher",
}  # fmt: skip
"""What tells the lines apart, the first that varies."""


@plot("By sampling steps")
def metric_by_steps(table: pd.DataFrame) -> Pair:
    """Draw the student's quality for each number of network evaluations, a line per objective or another setting that varies.

    Args:
        table: tidy table with a student scored at two or more step counts.

    Returns:
        The figure; its data has one row per metric, line and step count: of a line the runs that have all of its step counts.

    Raises:
        NotDrawn: the student was evaluated at one step count only, or no run at two.
    """
    need(table, "lsd_hf")
    student = prefer_copy(select(table, system=["student"], metric=QUALITY))
    if student["steps"].nunique() < 2:
        raise NotDrawn("the student was evaluated at one step count only: evaluate with e.g. evaluate.steps=[1,2,4]")
    points = point_rows(student)
    groups = next(([axis] for axis in STEP_LINES if axis in point_axes(points) and points[axis].nunique() <= len(SERIES)), [])
    own, fewer = _same_runs(student, groups)
    own, lacking = on_shared_clips(own)
    if not (own.groupby(groups or "system", observed=True)["steps"].nunique() > 1).any():
        raise NotDrawn("no run has two step counts on clips that all have: evaluate with e.g. evaluate.steps=[1,2,4]")
    data = summary(own[[*RECORD, *groups]], [*groups, "steps", "metric"]).sort_values(["metric", "steps"], kind="stable")
    lines, shown = means(headline_rows(table)[0], QUALITY), [m for m in QUALITY if (data["metric"] == m).any()]
    with paper():
        figure, axes = panels(len(shown))
        for panel, name in zip(axes, shown, strict=True):
            _panel(panel, data[data["metric"] == name], groups, name)
            reference_lines(panel, levels(lines, name))
        if groups:
            handles, labels = axes[0].get_legend_handles_labels()
            columns = len(labels) if sum(map(len, labels)) < 50 else 4
            figure.legend(handles, labels, loc="outside upper center", ncols=columns, title=STEP_LINES[groups[0]], title_fontsize=7.5)
        footnote(figure, f"Student, mean over the sweep's points{' of a line' if groups else ''}.{fewer}{left_out(lacking)} {BARS}")
    return figure, data


def _same_runs(student: pd.DataFrame, groups: list[str]) -> tuple[pd.DataFrame, str]:
    """Keep within each line the same runs at every step count: where none has all, those with the most; and say how many are left out."""
    scored = student[["signature", "seed", "steps", *groups]].drop_duplicates()
    scored = scored.assign(line=as_text(scored[groups]).agg("|".join, axis=1) if groups else "")
    kept = pd.concat([_with_most_steps(part) for _, part in scored.groupby("line")])
    runs, every = (len(part[["signature", "seed"]].drop_duplicates()) for part in (kept, scored))
    if runs == every:
        return student, ""
    keys = ["signature", "seed", "steps"]
    return student.merge(kept[keys], on=keys), f" Runs left out that lack some of a line's step counts: {every - runs}."


def _with_most_steps(scored: pd.DataFrame) -> pd.DataFrame:
    """Keep the runs of a line that have the longest list of step counts, of equally long ones that of most runs."""
    lists = scored.groupby(["signature", "seed"], observed=True)["steps"].agg(lambda steps: tuple(sorted(steps)))
    counts = Counter(lists)
    longest = max(counts, key=lambda steps: (len(steps), counts[steps], steps))
    kept = lists.index[[steps == longest for steps in lists]]
    return scored[pd.MultiIndex.from_frame(scored[["signature", "seed"]]).isin(kept)]


def _panel(panel: Axes, data: pd.DataFrame, groups: list[str], name: str) -> None:
    parts = sorted(data.groupby(groups, observed=True), key=lambda item: rank_of(item[0][0])) if groups else [(("student",), data)]
    for index, (key, part) in enumerate(parts):
        ordered = part.sort_values("steps")
        x = ordered["steps"].to_numpy(float) * 2 ** (0.06 * (index - (len(parts) - 1) / 2))
        panel.errorbar(x, ordered["mean"], yerr=reach(ordered), color=SERIES[index % len(SERIES)], marker="osD^vPX*"[index % 8],
                       markersize=4.5, linewidth=1.1, elinewidth=0.8, capsize=2, label=level_text(key[0]), zorder=3)  # fmt: skip
    steps = sorted(data["steps"].unique())
    panel.set_xscale("log", base=2)
    panel.set_xticks(steps, [str(s) for s in steps])
    panel.minorticks_off()
    panel.margins(x=0.12, y=0.15)
    panel.set_xlabel("Network evaluations (steps)")
    panel.set_ylabel(describe(name).axis)

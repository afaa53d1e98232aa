"""Every figure by name: `NAME(table)` returns a matplotlib Figure; `draw` and `save` work from loaded results, with the data behind it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from analysis.figures.axes import (
    metric_by_axis,
    metric_by_blocks,
    metric_by_discretisation,
    metric_by_loss_weight,
    metric_by_teacher_steps,
)
from analysis.figures.bands import lsd_over_frequency
from analysis.figures.by_clip import per_sample, worst_clips
from analysis.figures.curves import learning_curves, training_loss
from analysis.figures.cutoffs import metric_by_cutoff
from analysis.figures.effects import axis_effects, interaction_heatmap
from analysis.figures.hours import gpu_hours
from analysis.figures.printed import results_table
from analysis.figures.profiles import performance_profiles
from analysis.figures.quality import quality_vs_speed
from analysis.figures.speakers import metric_by_speaker
from analysis.figures.spec import SPECS
from analysis.figures.spectrograms import spectrogram_grid
from analysis.figures.steps import metric_by_steps
from analysis.figures.style import NotDrawn
from analysis.figures.tradeoff import tradeoff
from analysis.table import Results, ResultsError
from analysis.writing import writing

ORDER = (
    results_table, quality_vs_speed, tradeoff, axis_effects, interaction_heatmap, metric_by_blocks, metric_by_loss_weight,
    metric_by_steps, metric_by_discretisation, metric_by_teacher_steps, lsd_over_frequency, metric_by_cutoff, metric_by_speaker,
    performance_profiles, per_sample, worst_clips, spectrogram_grid, training_loss, learning_curves, gpu_hours,
)  # fmt: skip
NAMES = tuple(function.__name__ for function in ORDER)

__all__ = [
    "NAMES", "Drawn", "NotDrawn", "axis_effects", "draw", "draw_all", "gpu_hours", "interaction_heatmap", "learning_curves",
    "lsd_over_frequency", "metric_by_axis", "metric_by_blocks", "metric_by_cutoff", "metric_by_discretisation",
    "metric_by_loss_weight", "metric_by_speaker", "metric_by_steps", "metric_by_teacher_steps", "per_sample",
    "performance_profiles", "quality_vs_speed", "results_table", "save", "spectrogram_grid", "tradeoff", "training_loss", "worst_clips",
]  # fmt: skip


@dataclass(frozen=True)
class Drawn:
    """One figure, or the reason there is none.

    Attributes:
        name: file stem.
        title: heading for a reader.
        figure: the figure, or None.
        data: the table behind it, or None.
        reason: why it was not drawn, "" where it was.
        caption: how to read it, "" where its labels say it all.
    """

    name: str
    title: str
    figure: Figure | None = None
    data: pd.DataFrame | None = None
    reason: str = ""
    caption: str = ""


def check_names(names: list[str]) -> None:
    """Refuse names that no figure has.

    Raises:
        ResultsError: no figure has one of the names.
    """
    unknown = [repr(name) for name in names if name not in NAMES]
    if unknown:
        raise ResultsError(f"Unknown figure {', '.join(unknown)}. Figures: {', '.join(NAMES)}")


def draw(results: Results, name: str) -> Drawn:
    """Draw one figure by name.

    Args:
        results: loaded results.
        name: one of `NAMES`.

    Returns:
        The figure with its data, or the reason it has nothing to show.

    Raises:
        ResultsError: no figure has this name.
    """
    check_names([name])
    spec = SPECS[name]
    try:
        return Drawn(name, spec.title, *spec.pair(spec.source(results)), caption=spec.caption)
    except NotDrawn as reason:
        return Drawn(name, spec.title, reason=str(reason))


def draw_all(results: Results) -> list[Drawn]:
    """Draw every figure; those without anything to show come with their reason."""
    return [draw(results, name) for name in NAMES]


def save(drawn: Drawn, folder: Path) -> list[Path]:
    """Write a figure as PDF and PNG, and the table behind it as CSV.

    Args:
        drawn: a figure that was drawn.
        folder: where to; made if needed.

    Returns:
        The three paths; none for a figure that was not drawn.

    Raises:
        ResultsError: they cannot be written.
    """
    if drawn.figure is None or drawn.data is None:
        return []
    paths = [folder / f"{drawn.name}{suffix}" for suffix in (".pdf", ".png", ".csv")]
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        # Dates and versions are left out, so that the same records give the same bytes.
        drawn.figure.savefig(paths[0], metadata={"CreationDate": None, "Producer": None, "Creator": None})
        drawn.figure.savefig(paths[1], dpi=200, metadata={"Software": None})
        drawn.data.drop(columns="path", errors="ignore").to_csv(paths[2], index=False)
    return paths

"""Every figure by name: drawn from loaded results, and saved with the data behind it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from analysis.clips import load_clips, load_scalars
from analysis.figures.axes import metric_by_axis, metric_by_blocks, metric_by_loss_weight, metric_by_steps
from analysis.figures.files import spectrogram_grid, training_loss
from analysis.figures.quality import per_sample, quality_vs_speed
from analysis.figures.style import NotDrawn
from analysis.figures.tradeoff import CAPTION, tradeoff
from analysis.table import Results, ResultsError

Draw = Callable[[pd.DataFrame], tuple[Figure, pd.DataFrame]]

TABLE_FIGURES: dict[str, tuple[Draw, str]] = {
    "quality_vs_speed": (quality_vs_speed, "Quality against speed"),
    "tradeoff": (tradeoff, "Distortion against distribution"),
    "metric_by_blocks": (metric_by_blocks, "By codebook blocks"),
    "metric_by_loss_weight": (metric_by_loss_weight, "By loss weight"),
    "metric_by_steps": (metric_by_steps, "By sampling steps"),
    "per_sample": (per_sample, "Clip by clip"),
}
FILE_FIGURES: dict[str, tuple[Draw, str]] = {
    "training_loss": (training_loss, "Training loss"),
    "spectrogram_grid": (spectrogram_grid, "Spectrograms"),
}
CAPTIONS = {"tradeoff": CAPTION}
NAMES = (*TABLE_FIGURES, *FILE_FIGURES)

__all__ = [
    "NAMES", "Drawn", "NotDrawn", "draw", "draw_all", "metric_by_axis", "metric_by_blocks", "metric_by_loss_weight",
    "metric_by_steps", "per_sample", "quality_vs_speed", "save", "spectrogram_grid", "tradeoff", "training_loss",
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
    if name not in NAMES:
        raise ResultsError(f"Unknown figure {name!r}. Figures: {', '.join(NAMES)}")
    function, title = (TABLE_FIGURES | FILE_FIGURES)[name]
    try:
        source = results.table if name in TABLE_FIGURES else load_scalars(results) if name == "training_loss" else load_clips(results)
        return Drawn(name, title, *function(source), caption=CAPTIONS.get(name, ""))
    except NotDrawn as reason:
        return Drawn(name, title, reason=str(reason))


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
    """
    if drawn.figure is None or drawn.data is None:
        return []
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{drawn.name}{suffix}" for suffix in (".pdf", ".png", ".csv")]
    # Dates and versions are left out, so that the same records give the same bytes.
    drawn.figure.savefig(paths[0], metadata={"CreationDate": None, "Producer": None, "Creator": None})
    drawn.figure.savefig(paths[1], dpi=200, metadata={"Software": None})
    drawn.data.drop(columns="path", errors="ignore").to_csv(paths[2], index=False)
    return paths

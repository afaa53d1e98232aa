"""Figures from the files beside the records: training curves and spectrograms."""

from __future__ import annotations

import numpy as np
import pandas as pd
import soundfile
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.signal import stft

from analysis.clips import family
from analysis.figures.style import PAGE_IN, SERIES, NotDrawn, footnote, panels, paper, plain_log

LOSS_NAMES = ("loss", "total", "loss/total", "train/loss", "loss_total", "train/loss/total")
GRID = ("ground_truth", "degraded", "student", "teacher")
STAND_INS = {"degraded": ("degraded", "sinc", "degraded_codes")}
LOSS_COLUMNS = 4
SPAN_S = 2.5
"""Seconds shown: longer clips would squeeze the harmonics together in print."""


def training_loss(scalars: pd.DataFrame) -> tuple[Figure, pd.DataFrame]:
    """Draw the training loss of every run, one panel per objective: their scales cannot be compared.

    Args:
        scalars: columns run, step, name, value, objective, from `load_scalars`.

    Returns:
        The figure and the rows drawn, with a running mean in column `smooth`.
    """
    name = next((n for n in LOSS_NAMES if (scalars["name"] == n).any()), None)
    own = scalars["name"] == (name or scalars["objective"])  # without a total, the objective's own term stands for it
    if not own.any():
        raise NotDrawn(f"no run has a scalars.csv with its objective's term or one of: {', '.join(LOSS_NAMES)}")
    data = scalars[own].sort_values(["objective", "run", "step"], ignore_index=True)
    width = max(1, int(data.groupby("run").size().median()) // 20)
    data["smooth"] = data.groupby("run")["value"].transform(lambda v: v.rolling(width, min_periods=1).mean())
    with paper():
        objectives = list(dict.fromkeys(data["objective"]))
        figure, axes = panels(len(objectives), rows=-(-len(objectives) // LOSS_COLUMNS))
        for axis, objective in zip(axes, objectives, strict=True):
            _loss_panel(axis, data[data["objective"] == objective], objective)
        axes[0].set_ylabel("Training loss")
        footnote(figure, f"One line per run, running mean over {width} logged values. Each objective has a scale of its own.")
    return figure, data


def _loss_panel(axis: Axes, data: pd.DataFrame, objective: str) -> None:
    runs = list(dict.fromkeys(data["run"]))
    for index, run in enumerate(runs):
        own = data[data["run"] == run]
        alpha = 0.9 if len(runs) < 6 else 0.55
        axis.plot(own["step"], own["smooth"], linewidth=0.9, color=SERIES[index % len(SERIES)], alpha=alpha)
    if (data["smooth"] > 0).all():
        axis.set_yscale("log")
        plain_log(axis.yaxis)
    axis.set_title(f"{objective} ({len(runs)} run{'s' * (len(runs) > 1)})")
    axis.set_xlabel("Training step")


def spectrogram_grid(clips: pd.DataFrame) -> tuple[Figure, pd.DataFrame]:
    """Draw one utterance 2 x 2: ground truth, degraded, student, teacher, on one colour scale.

    Args:
        clips: columns utterance, system, title, path, from `load_clips`.

    Returns:
        The figure and one row per panel: what was drawn and the level of its 6-11 kHz band, dB.
    """
    shown = _grid_clips(clips)
    spectra = [_spectrogram(row["path"]) for row in shown]
    top = max(s.max() for s, _ in spectra)
    with paper():
        figure = Figure(figsize=(PAGE_IN, 4.2), layout="constrained")
        axes = list(np.ravel(figure.subplots(2, 2, sharex=True, sharey=True)))
        for axis, row, (levels, times) in zip(axes, shown, spectra, strict=False):
            mesh = axis.imshow(levels, origin="lower", aspect="auto", extent=(0, times, 0, 12), cmap="magma", vmin=top - 80, vmax=top,
                               interpolation="nearest", rasterized=True)  # fmt: skip
            axis.grid(visible=False)
            axis.set_title(row["title"])
            axis.set_yticks([0, 3, 6, 9, 12])
        for axis in axes[len(shown) :]:
            axis.set_visible(False)
        for axis in axes[-2:]:
            axis.set_xlabel("Time (s)")
        figure.colorbar(mesh, ax=axes, label="Level (dB)", shrink=0.8, pad=0.01)
        figure.supylabel("Frequency (kHz)", fontsize=8)
        footnote(figure, f"Utterance {shown[0]['utterance']}, first {spectra[0][1]:.1f} s; one colour scale.")
    data = pd.DataFrame(shown)[["utterance", "system", "run"]]
    return figure, data.assign(high_band_db=[_high(levels) for levels, _ in spectra])


def _grid_clips(clips: pd.DataFrame) -> list[dict[str, str]]:
    for _, group in clips.groupby("utterance", sort=False):
        rows = group.to_dict("records")
        picked = [next((r for n in STAND_INS.get(want, (want,)) for r in rows if family(r["system"]) == n), None) for want in GRID]
        found = [row for row in picked if row is not None]
        if len(found) >= 2:
            return [{str(k): v for k, v in row.items()} for row in found]
    raise NotDrawn("no utterance has samples of two or more of: ground truth, degraded (or sinc), student, teacher")


def _spectrogram(path: str) -> tuple[NDArray[np.float64], float]:
    samples, rate = soundfile.read(path, dtype="float64", always_2d=True)
    mono = samples.mean(1)[: int(SPAN_S * rate)]
    _, _, spectrum = stft(mono, rate, nperseg=512, noverlap=384, boundary=None)
    return 20 * np.log10(np.abs(spectrum) + 1e-7), len(mono) / rate


def _high(levels: NDArray[np.float64]) -> float:
    return float(10 * np.log10(np.mean(10 ** (levels[len(levels) // 2 : len(levels) * 11 // 12] / 10))))

"""Spectrograms of one utterance through several systems."""

from __future__ import annotations

import numpy as np
import pandas as pd
import soundfile
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.signal import stft

from analysis.clips import family, load_clips
from analysis.figures.spec import Pair, plot
from analysis.figures.style import PAGE_IN, NotDrawn, footnote, paper

GRID = ("ground_truth", "degraded", "student", "teacher")
STAND_INS = {"degraded": ("degraded", "sinc", "degraded_codes")}
SPAN_S = 2.5
"""Seconds shown: longer clips would squeeze the harmonics together in print."""
Spectrum = tuple[NDArray[np.float64], float]


@plot("Spectrograms", source=load_clips)
def spectrogram_grid(clips: pd.DataFrame) -> Pair:
    """Draw one utterance 2 x 2: ground truth, degraded, student, teacher, on one colour scale.

    Args:
        clips: columns utterance, system, title, path, from `load_clips`.

    Returns:
        The figure; its data has one row per panel: what was drawn and the level of its 6-11 kHz band, dB.

    Raises:
        NotDrawn: no utterance has samples of two of the systems that can be read.
    """
    shown, spectra = _grid_clips(clips)
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


def _grid_clips(clips: pd.DataFrame) -> tuple[list[dict[str, str]], list[Spectrum]]:
    """Choose the first utterance that two of the systems or more have a readable sample of."""
    for _, group in clips.groupby("utterance", sort=False):
        rows = group.to_dict("records")
        picked = [next((r for n in STAND_INS.get(want, (want,)) for r in rows if family(r["system"]) == n), None) for want in GRID]
        known = [row for row in picked if row is not None]
        spectra = [_spectrogram(row["path"]) for row in known] if len(known) >= 2 else []
        found = [(row, spectrum) for row, spectrum in zip(known, spectra, strict=False) if spectrum is not None]
        if len(found) >= 2:
            return [{str(k): v for k, v in row.items()} for row, _ in found], [spectrum for _, spectrum in found]
    raise NotDrawn("no utterance has readable samples of two or more of: ground truth, degraded (or sinc), student, teacher")


def _spectrogram(path: str) -> Spectrum | None:
    """Return levels in dB [bins, frames] and the seconds they cover; None where the file is no audio."""
    try:
        samples, rate = soundfile.read(path, dtype="float64", always_2d=True)
    except (soundfile.SoundFileError, OSError):
        return None
    mono = samples.mean(1)[: int(SPAN_S * rate)]
    _, _, spectrum = stft(mono, rate, nperseg=512, noverlap=384, boundary=None)
    return 20 * np.log10(np.abs(spectrum) + 1e-7), len(mono) / rate


def _high(levels: NDArray[np.float64]) -> float:
    return float(10 * np.log10(np.mean(10 ** (levels[len(levels) // 2 : len(levels) * 11 // 12] / 10))))

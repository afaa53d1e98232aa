"""Loudness normalisation as audiocraft stores audio: what the reference's teacher was scored from.

Shapes: audio [T].
Source: audiocraft 1.3.0, data/audio_utils.py, strategy `loudness`; ITU-R BS.1770-4 as in torchaudio.functional.loudness, whose filters run
here in scipy (torchaudio's own loop takes two seconds for four of audio where its extension does not load).
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import signal
from torch import Tensor

from lcm.audio import SAMPLE_RATE
from lcm.errors import LcmError

HEADROOM_DB = 14.0  # audiocraft's target is -14 LKFS
ENERGY_FLOOR = 2e-3  # quieter audio than this RMS is left alone
BLOCK_S, OVERLAP, BIAS_DB, ABSOLUTE_GATE, RELATIVE_GATE_DB = 0.4, 0.75, -0.691, -70.0, -10.0


def as_stored(audio: Tensor, *, headroom_db: float = HEADROOM_DB) -> Tensor:
    """Scale audio [T] at 24 kHz to -`headroom_db` LKFS, compress it by tanh and clip it, as `audio_write(strategy="loudness")` does.

    Audio of an RMS below 2e-3 keeps its level. Where no loudness is defined (no block above -70 LKFS), audiocraft raises and the
    reference stores the audio as it is; so does this.
    """
    rms = float(audio.square().mean().sqrt())
    if rms < ENERGY_FLOOR or not math.isfinite(level := loudness(audio)):
        return audio.clamp(-1, 1)
    return torch.tanh(10 ** ((-headroom_db - level) / 20) * audio).clamp(-1, 1)


def loudness(audio: Tensor) -> float:
    """Return the gated loudness of one channel [T] at 24 kHz in LKFS; NaN where every block is gated.

    Raises:
        LcmError: The clip is shorter than one block of 0.4 s.
    """
    block = round(BLOCK_S * SAMPLE_RATE)
    if audio.ndim != 1 or len(audio) < block:
        raise LcmError(f"loudness: audio has shape {list(audio.shape)}: expected [T] of at least {block} samples ({BLOCK_S} s at 24 kHz).")
    weighted = audio.double().cpu().numpy()
    for section in _k_weighting():
        weighted = np.clip(signal.sosfilt(section[None], weighted), -1, 1)  # torchaudio's filters clip what they give
    energy = np.square(np.lib.stride_tricks.sliding_window_view(weighted, block)[:: round(block * (1 - OVERLAP))]).mean(-1)
    with np.errstate(divide="ignore"):
        levels = BIAS_DB + 10 * np.log10(energy)
    loud = levels > ABSOLUTE_GATE
    if not loud.any():
        return math.nan
    loud &= levels > _level(energy[loud]) + RELATIVE_GATE_DB
    return _level(energy[loud]) if loud.any() else math.nan


def _level(energy: NDArray[np.float64]) -> float:
    return BIAS_DB + 10 * math.log10(float(energy.mean()))


def _k_weighting() -> NDArray[np.float64]:
    """Return the two biquads as torchaudio designs them: a shelf of 4 dB at 1.5 kHz (Q 0.707) and a high-pass at 38 Hz (Q 0.5)."""
    w, a = 2 * math.pi * 1500.0 / SAMPLE_RATE, 10 ** (4.0 / 40)
    alpha, cosine = math.sin(w) / 2 * math.sqrt(2), math.cos(w)
    root = 2 * math.sqrt(a) * alpha
    shelf = [
        *(a * ((a + 1) + (a - 1) * cosine + root), -2 * a * ((a - 1) + (a + 1) * cosine), a * ((a + 1) + (a - 1) * cosine - root)),
        *((a + 1) - (a - 1) * cosine + root, 2 * ((a - 1) - (a + 1) * cosine), (a + 1) - (a - 1) * cosine - root),
    ]
    w = 2 * math.pi * 38.0 / SAMPLE_RATE
    alpha, cosine = math.sin(w) / 2 / 0.5, math.cos(w)
    high = [(1 + cosine) / 2, -1 - cosine, (1 + cosine) / 2, 1 + alpha, -2 * cosine, 1 - alpha]
    sections: NDArray[np.float64] = np.array([[value / section[3] for value in section] for section in (shelf, high)])
    return sections

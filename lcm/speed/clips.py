"""The clips that are timed: recordings or synthesised speech, band-limited to 6 kHz, of one length. Shapes: audio [N, 1, T] at 24 kHz."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lcm.audio import SAMPLE_RATE, load_mono_24k, resample
from lcm.codec import FRAME_RATE_HZ, HOP
from lcm.degrade import Degradation, apply
from lcm.errors import LcmError

CUTOFF_HZ = 6_000.0
SUFFIXES = (".wav", ".flac", ".ogg", ".mp3")
TEXTS = (
    "She sells sea shells by the sea shore, and the shells she sells are sea shells, I am sure.",
    "A fresh fish is a fine fish, said the fisher, and fetched his basket from the shed.",
)


def clips(count: int, seconds: float, files: Sequence[str] = ()) -> Tensor:
    """Return degraded clips of whole frames [count, 1, T].

    Args:
        count: Number of clips.
        seconds: Length of each, rounded to frames of 1/75 s.
        files: Recordings or folders of them, strung together and cut; few are repeated. None: synthesised speech.

    Raises:
        LcmError: There is nothing in them, or one cannot be read.
    """
    length = max(1, round(seconds * FRAME_RATE_HZ)) * HOP
    voice = np.concatenate([load_mono_24k(path) for path in _paths(files)] if files else _speech())
    voice = np.tile(voice, -(-count * length // len(voice)))[: count * length]
    degraded = [apply(part, Degradation(CUTOFF_HZ)) for part in voice.reshape(count, length)]
    return torch.from_numpy(np.stack(degraded))[:, None]


def _paths(files: Sequence[str]) -> list[Path]:
    found: list[Path] = []
    for file in map(Path, files):
        found += sorted(p for p in file.rglob("*") if p.suffix.lower() in SUFFIXES) if file.is_dir() else [file]
    if not found:
        raise LcmError(f"--audio {' '.join(files)}: no {', '.join(SUFFIXES)} is there. Name recordings or folders of them.")
    return found


def _speech() -> list[NDArray[np.float32]]:
    from lcm.corpus.espeak import Voice, synthesise

    spoken = [synthesise(text, Voice(name)) for text, name in zip(TEXTS, ("en-us+f3", "en-us+m3"), strict=True)]
    return [resample(samples, rate, SAMPLE_RATE) for samples, rate in spoken]

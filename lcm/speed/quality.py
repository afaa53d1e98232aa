"""Scores by the reference's protocol: SI-SDR and STOI against the original, whatever was done to the level.

Source: ASR-LCM-Research, evaluate.py: torchmetrics' SI-SDR without removal of the mean and pystoi's STOI at 24 kHz, both against the
original file, estimates cut or padded to its length; the teacher's audio as `audio_write` has stored it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from statistics import mean

import torch
from torch import Tensor
from torch.nn.functional import pad

from lcm.evaluate import restore
from lcm.loudness import as_stored
from lcm.metrics.speech import si_sdr, stoi
from lcm.systems import Clip, System


def as_published(estimate: Tensor, target: Tensor, *, stored: bool = False) -> dict[str, float]:
    """Return `si_sdr` (dB) and `stoi` of an estimate [T'] against an original [T].

    Args:
        estimate: Audio of any length: it is cut or padded with zeros.
        target: The original.
        stored: Whether the estimate was stored loudness-normalised and compressed before, as the reference's teacher.
    """
    estimate = as_stored(estimate) if stored else estimate
    fitted = pad(estimate, (0, max(0, len(target) - len(estimate))))[: len(target)]
    return {"si_sdr": float(si_sdr(fitted, target)), "stoi": float(stoi(fitted, target))}


@torch.no_grad()
def score(
    system: System, clips: Sequence[Clip], *, stored: bool = False, tell: Callable[[str], object] = lambda _: None
) -> dict[str, float]:
    """Return a system's means over clips by the reference's protocol, without low-band copy; clips that have no value are left out.

    Args:
        system: Whose raw estimates are scored.
        clips: Test clips.
        stored: See `as_published`.
        tell: Called with what is being done.
    """
    scores = []
    for number, clip in enumerate(clips):
        tell(f"{system.name}: clip {number + 1} of {len(clips)}")
        scores.append(as_published(restore(system, clip)[False][0], clip.target, stored=stored))
    return {name: _mean([s[name] for s in scores]) for name in ("si_sdr", "stoi")}


def _mean(values: Sequence[float]) -> float:
    defined = [value for value in values if not math.isnan(value)]
    return mean(defined) if defined else float("nan")

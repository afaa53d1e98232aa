"""The protocol by which the reference published its figures, repeated as it is.

Batches of two clips; `time.time()` around `teacher.generate(emb)` and around the student's logits and argmax, whose inputs are on the
device already; no synchronisation, no warm-up, no encoding, no decoding, no equaliser; the mean over up to 100 batches.

Source: ASR-LCM-Research, evaluate.py and README.md.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import mean

import torch
from torch import Tensor

from lcm.speed.timed import Timed

BATCH, BATCHES = 2, 100
TEACHER_S, STUDENT_S = 61.837, 0.111
TEACHER_BATCH_S, STUDENT_BATCH_S = 33.224, 0.0666
SI_SDR_DB, STOI = {"teacher": -8.47, "student": 3.27}, {"teacher": 0.921, "student": 0.894}


@dataclass
class Published:
    """Seconds of each batch of two that the reference's protocol gives a system."""

    system: Timed
    seconds: list[float] = field(default_factory=list)

    @property
    def mean_s(self) -> float:
        """Mean seconds a batch of two."""
        return mean(self.seconds)


@torch.no_grad()
def measure(
    systems: Sequence[Timed], audio: Tensor, *, repeats: int, slow_repeats: int, tell: Callable[[str], object] = lambda _: None
) -> list[Published]:
    """Time the systems that the protocol can time, batch by batch.

    Args:
        systems: What is timed; without `bare` a system is passed over, and one with two codecs is timed once.
        audio: Clips [N, 1, T], N >= 2.
        repeats: Batches of cheap systems, at most 100.
        slow_repeats: Batches of slow ones.
        tell: Called with each measurement's name before it begins.
    """
    rows = list({(system.key, system.codebooks): Published(system) for system in reversed(systems) if system.bare}.values())[::-1]
    for number in range(min(BATCHES, max(repeats, slow_repeats))):
        for row in rows:
            if number < (slow_repeats if row.system.slow else repeats):
                tell(f"{row.system.label}, as published")
                row.seconds.append(_once(row.system, audio, number))
    return rows


def _once(system: Timed, audio: Tensor, number: int) -> float:
    assert system.inputs is not None  # measure passes over systems without
    assert system.bare is not None
    start = BATCH * number % (len(audio) - BATCH + 1)
    given = system.inputs(audio[start : start + BATCH].to(system.device))
    start_s = time.time()
    system.bare(given)
    return time.time() - start_s  # on a GPU this is when the work was queued

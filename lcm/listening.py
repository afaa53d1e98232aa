"""What an evaluation keeps for listening: the first clips, and those that a system restores worst.

A sample is a system's last variant: with low-band copy where the system is learned.
"""

from __future__ import annotations

import heapq
import math
import shutil

from torch import Tensor

from lcm.audio import SAMPLE_RATE, write
from lcm.paths import Run
from lcm.systems import Clip, System


class Samples:
    """Keep samples of one system in a run folder; of the worst no more is in memory than is asked for.

    Args:
        run: The run folder.
        system: Whose estimates they are.
        first: Number of clips that are written as they come.
        worst: Number of clips with the highest LSD-HF that `finish` writes, original and input beside the estimate.
    """

    def __init__(self, run: Run, system: System, *, first: int, worst: int) -> None:
        self.run, self.system, self.first, self.worst = run, system, first, worst
        self._offered = 0
        self._worst: list[tuple[float, int, Clip, Tensor]] = []  # a heap, the least bad on top

    def offer(self, clip: Clip, estimate: Tensor, lsd_hf: float) -> None:
        """Take the next clip with its estimate [T]; a clip whose LSD-HF is NaN is none of the worst, of equals the first is."""
        if self._offered < self.first:
            self._write(clip, estimate)
        self._offered += 1
        if not math.isnan(lsd_hf):
            keep = heapq.heappush if len(self._worst) < self.worst else heapq.heappushpop
            keep(self._worst, (lsd_hf, -self._offered, clip, estimate))

    def finish(self) -> None:
        """Write the worst of what was offered."""
        for _, _, clip, estimate in self._worst:
            write_originals(self.run, clip)
            self._write(clip, estimate)

    def _write(self, clip: Clip, estimate: Tensor) -> None:
        write(self.run.sample(clip.utterance, sample_name(self.system)), estimate.numpy(), SAMPLE_RATE)


def write_originals(run: Run, clip: Clip) -> None:
    """Write what a sample is heard against: the original and the degraded input."""
    for name, audio in (("ground_truth", clip.target), ("degraded", clip.degraded / clip.gain)):
        write(run.sample(clip.utterance, name), audio.numpy(), SAMPLE_RATE)


def remove_samples(run: Run) -> None:
    """Remove the samples of an earlier evaluation, so that none passes for one of the next."""
    if run.samples.is_symlink():
        run.samples.unlink()  # what it leads to is not this run's to remove
    shutil.rmtree(run.samples, ignore_errors=True)  # NFS keeps the folder of a file that somebody listens to


def sample_name(system: System) -> str:
    """Return the file stem of a system's listening sample."""
    return f"{system.name}-{system.steps}" if system.name in ("student", "flow") else system.name

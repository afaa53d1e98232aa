"""Validation while training: the averaged model restores a few clips of the valid split, with low-band copy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from torch import Tensor

from lcm.codec import Codec
from lcm.corpus import Manifest
from lcm.errors import TrainingError
from lcm.evaluate import EvaluateConfig, restore, test_clips
from lcm.metrics import score
from lcm.model import Model
from lcm.store import Store
from lcm.systems import Clip, model_system

CHOSEN_BY = "lsd_hf"  # the best model is the one with the lowest
METRICS = (CHOSEN_BY, "si_sdr", "mr_stft")


class Validator:
    """Scores a model on fixed clips with fixed noise.

    Args:
        clips: What is restored.
        codec: The frozen codec.
        steps: Network calls of a consistency model, Heun steps of a diffusion teacher.
        seed: Seed of the sampler's noise.
        tell_cutoff: Whether the model is told each clip's cutoff.
    """

    def __init__(self, clips: Sequence[Clip], codec: Codec, *, steps: int = 1, seed: int = 0, tell_cutoff: bool = True) -> None:
        self.clips, self.codec, self.steps, self.seed, self.tell_cutoff = list(clips), codec, steps, seed, tell_cutoff

    def score(self, model: Model) -> tuple[dict[str, float], dict[str, Tensor]]:
        """Return the metrics' means over clips, and each clip's estimate [T] by its utterance."""
        system = model_system(model, self.codec, steps=self.steps, seed=self.seed, tell_cutoff=self.tell_cutoff)
        estimates = [restore(system, clip)[True][0] for clip in self.clips]
        rows = [score(e, c.target, cutoff_hz=c.cutoff_hz, bandwidth_hz=c.bandwidth_hz) for e, c in zip(estimates, self.clips, strict=True)]
        means = {name: _mean([row[name] for row in rows]) for name in METRICS}
        return means, {clip.utterance: estimate for clip, estimate in zip(self.clips, estimates, strict=True)}


def validation_clips(manifest: Manifest, store: Store, count: int, variant: int = 0) -> list[Clip]:
    """Load clips of the valid split in one of their stored degradations, spread evenly over its utterances and so over its speakers.

    Raises:
        TrainingError: The split is empty.
    """
    there = sorted((u for u in manifest.split("valid") if u.utterance in store), key=lambda u: (u.speaker, u.utterance))
    if not there or count < 1:
        raise TrainingError(
            f"train.validate_every is set, but there is nothing to validate on: {len(there)} utterances are in the valid split and "
            f"train.validate_clips={count}. Raise corpus.valid_fraction (with another root), or set train.validate_every=0."
        )
    chosen = [there[i * len(there) // min(count, len(there))] for i in range(min(count, len(there)))]
    return test_clips(replace(manifest, utterances=tuple(chosen)), store, EvaluateConfig(split="valid", variant=variant))


def _mean(values: Sequence[float]) -> float:
    """Return the mean over clips for which the metric is defined; NaN where there is none."""
    defined = [v for v in values if not np.isnan(v)]
    return float(np.mean(defined)) if defined else float("nan")

"""Evaluation: systems and a test set to records.

Every system is scored raw and, if learned, also with gain match and low-band copy. Times are synchronised and warmed up.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import partial

import pandas as pd
import torch
from torch import Tensor

from lcm import degrade
from lcm.audio import SAMPLE_RATE, load_mono_24k
from lcm.codec import Codec
from lcm.corpus import Manifest
from lcm.errors import LcmError
from lcm.listening import Samples, remove_samples
from lcm.lowband import GAIN_BANDS, gain_match, low_band_copy
from lcm.metrics import FrechetDistance, score
from lcm.model import Model
from lcm.paths import Run
from lcm.protocol import PROTOCOL
from lcm.records import CLIP_COLUMNS, WHOLE_SET, Keys, rows, to_frame, write_clips
from lcm.store import Store
from lcm.systems import Clip, System, model_system
from lcm.timing import Stopwatch, warm_up


@dataclass
class EvaluateConfig:
    """What is evaluated.

    Attributes:
        split: `test`, `valid` or `train`.
        steps: Network calls at which a consistency model is sampled.
        teacher_steps: Heun steps of a diffusion model; n steps are 2 n - 1 calls.
        flow_steps: Euler steps at which a flow model is sampled.
        variant: Which stored degradation the clips get: 0 is the fixed one, further ones have random cutoffs and filters.
        gain: What the gain match before the low-band copy compares: `full` (the whole kept band), `edge` (its upper 1.5 kHz) or `none`.
        temperature: Scale of a consistency model's noise, >= 0; below 1 one step moves from a sample towards the mean.
        tell_cutoff: Whether models are told the cutoff; otherwise they get 0 Hz, as in training with data.unknown_cutoff. The
            low-band copy still uses the true one: read the raw scores for what a model alone can do.
        max_utterances: Largest number of clips, the first by id; 0 means all.
        samples: Clips whose audio is kept for listening, the first by id.
        worst: Further clips whose audio is kept: those with a point's highest LSD-HF in the fewest steps, with low-band copy where
            that applies; the original and the input beside them. 0 keeps none. What a root compares its points with keeps none.
        seed: Seed of the samplers' noise, mixed with each utterance's id.
    """

    split: str = "test"
    steps: list[int] = field(default_factory=lambda: [1, 2, 4])
    teacher_steps: int = 18
    flow_steps: list[int] = field(default_factory=lambda: [1, 4, 32])
    variant: int = 0
    gain: str = "none"
    temperature: float = 1.0
    tell_cutoff: bool = True
    max_utterances: int = 0
    samples: int = 3
    worst: int = 10
    seed: int = 0

    def __post_init__(self) -> None:
        if self.samples < 0 or self.worst < 0:
            raise LcmError(f"evaluate.samples={self.samples} and evaluate.worst={self.worst}: expected numbers of clips, 0 for none.")
        if not self.temperature >= 0 or self.gain not in GAIN_BANDS:
            raise LcmError(
                f"evaluate.temperature={self.temperature} and evaluate.gain={self.gain!r}: expected a temperature >= 0 and "
                f"one of {', '.join(GAIN_BANDS)}."
            )


def evaluation_identity(config: EvaluateConfig, store: str) -> str:
    """Return a hash of what the records depend on beside the model."""
    return hashlib.sha256(json.dumps([asdict(config), store, PROTOCOL], sort_keys=True).encode()).hexdigest()[:12]


def test_clips(manifest: Manifest, store: Store, config: EvaluateConfig) -> list[Clip]:
    """Load the test set, degraded by the configured stored variant of each utterance.

    Raises:
        LcmError: The split is empty, or the store has no such variant.
    """
    chosen = sorted((u for u in manifest.split(config.split) if u.utterance in store), key=lambda u: u.utterance)
    if not chosen:
        raise LcmError(f"No utterance is in split {config.split!r}: give more speakers, a test folder, or another evaluate.split.")
    clips = []
    for u in chosen[: config.max_utterances or None]:
        target = load_mono_24k(manifest.audio_path(u))
        degradation = _degradation(store, u.utterance, config.variant)
        pair = (torch.from_numpy(target), torch.from_numpy(degrade.apply(target, degradation)))
        gain = degrade.gain(target, degradation)
        clips.append(Clip(u.utterance, u.speaker, *pair, degradation.cutoff_hz, u.bandwidth_hz, degradation.family, gain))
    return clips


def _degradation(store: Store, utterance: str, variant: int) -> degrade.Degradation:
    known = store.meta(utterance)["degradations"]
    if not 0 <= variant < len(known):
        raise LcmError(f"evaluate.variant={variant}, but the codes store has variants 0 to {len(known) - 1} (degradation.variants).")
    return degrade.Degradation.from_dict(known[variant])


def evaluate_model(model: Model, codec: Codec, manifest: Manifest, store: Store, config: EvaluateConfig, run: Run) -> pd.DataFrame:
    """Return the records of one trained model at every number of steps."""
    steps = {"consistency": config.steps, "diffusion": [config.teacher_steps], "flow": config.flow_steps}.get(model.spec.kind, [1])
    model.to(codec.device)
    temperature = config.temperature if model.spec.kind == "consistency" else 1.0  # an ODE has to start where it was trained to
    of = partial(model_system, model, codec, seed=config.seed, tell_cutoff=config.tell_cutoff, temperature=temperature)
    systems = [of(steps=n) for n in steps]
    return evaluate(systems, test_clips(manifest, store, config), config, run)


def evaluate(systems: Sequence[System], clips: Sequence[Clip], config: EvaluateConfig, run: Run) -> pd.DataFrame:
    """Score systems on clips, write what the clips are, and keep samples; those of an earlier evaluation go first.

    The worst clips are kept for each system at the fewest steps among them.

    Returns:
        Records; signature and seed are left to the caller.
    """
    remove_samples(run)
    write_clips(run.clips, clip_table(clips))
    fewest = min(system.steps for system in systems)
    records: list[dict[str, object]] = []
    for system in systems:
        with torch.no_grad():
            warm_up(partial(system.estimate, clips[0], Stopwatch(system.device)), system.device, repeats=1)
        samples = Samples(run, system, first=config.samples, worst=config.worst if system.steps == fewest else 0)
        records += _score_set(system, clips, config, samples)
        samples.finish()
    return to_frame(records)


def clip_table(clips: Sequence[Clip]) -> pd.DataFrame:
    """Return what clips are, a row each, with the columns of `lcm.records.CLIP_COLUMNS`."""
    facts = [(c.utterance, c.speaker, len(c.target) / SAMPLE_RATE, c.cutoff_hz, c.bandwidth_hz, c.family) for c in clips]
    return pd.DataFrame(facts, columns=list(CLIP_COLUMNS))


def _score_set(system: System, clips: Sequence[Clip], config: EvaluateConfig, samples: Samples) -> list[dict[str, object]]:
    """Score one system on every clip, and the set as a whole; offer its last variant as a sample."""
    cutoff_hz, bandwidth_hz = min(c.cutoff_hz for c in clips), min(c.bandwidth_hz for c in clips)
    variants = (False, True) if system.learned else (False,)
    frechet = {copied: FrechetDistance(cutoff_hz=cutoff_hz, bandwidth_hz=bandwidth_hz) for copied in variants}
    records: list[dict[str, object]] = []
    for clip in clips:
        for copied, (estimate, times) in restore(system, clip, gain=config.gain).items():
            frechet[copied].update(estimate, clip.target)
            values = times | score(estimate, clip.target, cutoff_hz=clip.cutoff_hz, bandwidth_hz=clip.bandwidth_hz)
            records += rows(Keys(system.name, clip.utterance, clip.speaker, system.steps, copied), values)
        samples.offer(clip, estimate, values["lsd_hf"])
    for copied, distance in frechet.items():
        records += rows(Keys(system.name, WHOLE_SET, WHOLE_SET, system.steps, copied), {"frechet_hf": distance.compute().value})
    return records


@torch.no_grad()
def restore(system: System, clip: Clip, *, gain: str = "none") -> dict[bool, tuple[Tensor, dict[str, float]]]:
    """Run one system on one clip.

    Returns:
        The raw estimate [T] at the original's level and its times under False; under True, for learned systems, those with
        gain match and low-band copy.
    """
    watch, seconds = Stopwatch(system.device), len(clip.target) / SAMPLE_RATE
    estimate, degraded = system.estimate(clip, watch) / clip.gain, clip.degraded / clip.gain
    results = {False: (estimate, watch.scores(seconds))}
    if system.learned:
        with watch.section("copy"):
            matched = gain_match(estimate, degraded, clip.cutoff_hz, band=gain)
            copied = low_band_copy(matched, degraded, clip.cutoff_hz)
        results[True] = (copied, watch.scores(seconds))
    return results

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
from lcm.audio import SAMPLE_RATE, load_mono_24k, write
from lcm.codec import Codec
from lcm.corpus import Manifest
from lcm.errors import LcmError
from lcm.lowband import GAIN_BANDS, gain_match, low_band_copy
from lcm.metrics import FrechetDistance, score
from lcm.model import Model
from lcm.paths import Run
from lcm.protocol import PROTOCOL
from lcm.records import WHOLE_SET, Keys, rows, to_frame
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
        samples: Clips whose audio is kept for listening.
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
    seed: int = 0

    def __post_init__(self) -> None:
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
        clips.append(Clip(u.utterance, u.speaker, *pair, degradation.cutoff_hz, u.bandwidth_hz, degradation.family))
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
    """Score systems on clips.

    Returns:
        Records; signature and seed are left to the caller.
    """
    records: list[dict[str, object]] = []
    for system in systems:
        with torch.no_grad():
            warm_up(partial(system.estimate, clips[0], Stopwatch(system.device)), system.device, repeats=1)
        records += _score_set(system, clips, config, run)
    return to_frame(records)


def _score_set(system: System, clips: Sequence[Clip], config: EvaluateConfig, run: Run) -> list[dict[str, object]]:
    """Score one system on every clip, and the set as a whole; keep listening samples of its last variant."""
    cutoff_hz, bandwidth_hz = min(c.cutoff_hz for c in clips), min(c.bandwidth_hz for c in clips)
    variants = (False, True) if system.learned else (False,)
    frechet = {copied: FrechetDistance(cutoff_hz=cutoff_hz, bandwidth_hz=bandwidth_hz) for copied in variants}
    records: list[dict[str, object]] = []
    for number, clip in enumerate(clips):
        for copied, (estimate, times) in restore(system, clip, gain=config.gain).items():
            frechet[copied].update(estimate, clip.target)
            values = times | score(estimate, clip.target, cutoff_hz=clip.cutoff_hz, bandwidth_hz=clip.bandwidth_hz)
            records += rows(Keys(system.name, clip.utterance, clip.speaker, system.steps, copied), values)
        if number < config.samples:
            write(run.sample(clip.utterance, sample_name(system)), estimate.numpy(), SAMPLE_RATE)
    for copied, distance in frechet.items():
        records += rows(Keys(system.name, WHOLE_SET, WHOLE_SET, system.steps, copied), {"frechet_hf": distance.compute().value})
    return records


@torch.no_grad()
def restore(system: System, clip: Clip, *, gain: str = "none") -> dict[bool, tuple[Tensor, dict[str, float]]]:
    """Run one system on one clip.

    Returns:
        The raw estimate [T] and its times under False; under True, for learned systems, those with gain match and
        low-band copy.
    """
    watch, seconds = Stopwatch(system.device), len(clip.target) / SAMPLE_RATE
    estimate = system.estimate(clip, watch)
    results = {False: (estimate, watch.scores(seconds))}
    if system.learned:
        with watch.section("copy"):
            matched = gain_match(estimate, clip.degraded, clip.cutoff_hz, band=gain)
            copied = low_band_copy(matched, clip.degraded, clip.cutoff_hz)
        results[True] = (copied, watch.scores(seconds))
    return results


def sample_name(system: System) -> str:
    """Return the file stem of a system's listening sample."""
    return f"{system.name}-{system.steps}" if system.name in ("student", "flow") else system.name

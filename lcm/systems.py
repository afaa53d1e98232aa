"""The compared systems: each turns a degraded clip into an estimate of the original, timed section by section.

Shapes: audio [T] at 24 kHz; codes [1, K, F].
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lcm import upsample
from lcm.codec import HOP, Codec
from lcm.model import Model
from lcm.store import item_seed
from lcm.timing import Stopwatch


@dataclass(frozen=True)
class Clip:
    """One test utterance.

    Attributes:
        utterance, speaker: Who and what.
        target: The original [T].
        degraded: The band-limited input at 24 kHz [T].
        cutoff_hz: Its bandwidth.
        bandwidth_hz: Where the original's own content ends.
        family: How it was degraded.
        gain: By what the degraded input is amplified against the original. A system's estimate has the input's level; it is
            scaled back before it is scored.
    """

    utterance: str
    speaker: str
    target: Tensor
    degraded: Tensor
    cutoff_hz: float
    bandwidth_hz: float
    family: str = "resample"
    gain: float = 1.0


@dataclass(frozen=True)
class System:
    """One row of the comparison.

    Attributes:
        name: As in the records.
        steps: Student's network calls or teacher's Heun steps; 0 without a network.
        estimate: Restores a clip at its input's level, timing `encode`, `network` and `decode`.
        learned: Whether low-band copy applies: the plain resamplers have the input's band already.
        device: Where it works, for synchronised times.
    """

    name: str
    steps: int
    estimate: Callable[[Clip, Stopwatch], Tensor]
    learned: bool = True
    device: torch.device | str = "cpu"


NAMES = {"consistency": "student", "diffusion": "teacher", "flow": "flow", "regression": "regression", "token_ce": "token_ce"}


def model_system(model: Model, codec: Codec, *, steps: int, seed: int, tell_cutoff: bool = True, temperature: float = 1.0) -> System:
    """Return a trained model as a system: encode, network, decode. Without `tell_cutoff` it has to find the cutoff by itself."""

    def estimate(clip: Clip, watch: Stopwatch) -> Tensor:
        with watch.section("encode"):
            codes = codec.encode(whole_frames(clip.degraded, codec))
        with watch.section("network"):
            seeds = [item_seed(clip.utterance, seed)]
            cutoff_hz = torch.tensor([clip.cutoff_hz if tell_cutoff else 0.0], device=codes.device)
            latents = model.restore(codec, codes, cutoff_hz, steps=steps, seeds=seeds, temperature=temperature)
        with watch.section("decode"):
            return codec.decode(latents, len(clip.target))[0, 0].cpu()

    return System(NAMES[model.spec.kind], steps, estimate, device=codec.device)


def codec_system(codec: Codec, *, ceiling: bool) -> System:
    """Return the codec alone: of the original (`codec_ceiling`) or of the input (`degraded_codes`)."""

    def estimate(clip: Clip, watch: Stopwatch) -> Tensor:
        with watch.section("encode"):
            codes = codec.encode(whole_frames(clip.gain * clip.target if ceiling else clip.degraded, codec))
        with watch.section("decode"):
            return codec.decode(codec.latents(codes), len(clip.target))[0, 0].cpu()

    return System("codec_ceiling" if ceiling else "degraded_codes", 0, estimate, device=codec.device)


def resampler_systems() -> list[System]:
    """Return sinc, linear and zero-order hold, which work on the decimated input."""
    return [_resampler(name, up) for name, up in upsample.UPSAMPLERS.items()]


def _resampler(name: str, up: Callable[[NDArray[Any], int | None], NDArray[np.float32]]) -> System:
    def estimate(clip: Clip, watch: Stopwatch) -> Tensor:
        length = len(clip.target)
        if name == "sinc" and (clip.family, clip.cutoff_hz) != ("resample", upsample.LOW_RATE / 2):
            return clip.degraded  # there is no 12 kHz signal to start from
        half = upsample.decimate(clip.degraded.numpy())
        with watch.section("network"):  # their whole work: there is nothing to encode
            restored = up(half, length)
        return torch.from_numpy(np.ascontiguousarray(restored))

    return System(name, 0, estimate, learned=False)


def whole_frames(audio: Tensor, codec: Codec) -> Tensor:
    """Pad to whole frames, as the codes store does, on the codec's device: [1, 1, 320 F]."""
    return torch.nn.functional.pad(audio.to(codec.device), (0, -len(audio) % HOP))[None, None]

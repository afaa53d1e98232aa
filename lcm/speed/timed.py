"""One system under time: audio in, audio out, in sections; and what the reference's protocol would time of it.

Shapes: audio [B, 1, T] at 24 kHz, codes [B, K, F].
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from lcm.codec import Codec
from lcm.model import Model
from lcm.speed.clips import CUTOFF_HZ
from lcm.timing import Stopwatch

SECTIONS = ("encode", "network", "decode")


@dataclass(frozen=True)
class Timed:
    """A system.

    Attributes:
        key: As in `--only`, or the name of a trained point.
        label: For the table.
        codebooks: Codebooks K of its codes.
        network: Its size in words.
        calls: Network calls a clip.
        codec: `as published` or `fast`.
        run: Restores audio, timing `encode`, `network` and `decode`.
        inputs: What the reference's protocol makes before its clock starts, of audio.
        bare: What it times, of these inputs; None: it has no such row.
        warm: Work that stands for a run where that is too dear to warm up with; None: the run itself.
        slow: Whether it is measured seldom and clip by clip.
        count: Bare work whose floating-point operations, times `count_scale`, are those of a clip; None: not counted.
        count_scale: See `count`.
    """

    key: str
    label: str
    codebooks: int
    network: str
    calls: int
    codec: str
    run: Callable[[Tensor, Stopwatch], Tensor]
    inputs: Callable[[Tensor], Tensor] | None = None
    bare: Callable[[Tensor], object] | None = None
    warm: Callable[[Tensor], object] | None = None
    slow: bool = False
    count: Callable[[Tensor], object] | None = None
    count_scale: float = 1.0
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))


def of_model(model: Model, codec: Codec, *, key: str, label: str, network: str, steps: int = 1, codec_name: str = "as published") -> Timed:
    """Return a model as a system: encode, restore, decode; bare, tokens of a classifier and latents of the others."""

    def restore(codes: Tensor) -> Tensor:
        cutoff_hz = torch.full((len(codes),), CUTOFF_HZ, device=codes.device)
        return model.restore(codec, codes, cutoff_hz, steps=steps, seeds=range(len(codes)))

    def bare(codes: Tensor) -> Tensor:
        return model.network(codes).argmax(-1) if model.spec.kind == "token_ce" else restore(codes)

    def run(audio: Tensor, watch: Stopwatch) -> Tensor:
        with watch.section("encode"):
            codes = codec.encode(audio)
        with watch.section("network"):
            latents = restore(codes)
        with watch.section("decode"):
            return codec.decode(latents, audio.shape[-1])

    calls = codec.n_q if model.spec.kind == "token_ce" else model.calls(steps)
    what = {"codebooks": codec.n_q, "network": network, "calls": calls, "codec": codec_name, "device": codec.device}
    return Timed(key, label, run=run, inputs=codec.encode, bare=bare, count=lambda audio: bare(codec.encode(audio)), **what)  # type: ignore[arg-type]


def of_codec(codec: Codec, codec_name: str) -> Timed:
    """Return the codec alone: what no system with it can fall below."""

    def run(audio: Tensor, watch: Stopwatch) -> Tensor:
        with watch.section("encode"):
            codes = codec.encode(audio)
        with watch.section("decode"):
            return codec.decode(codec.latents(codes), audio.shape[-1])

    return Timed("codec", "codec alone", codec.n_q, "", 0, codec_name, run, device=codec.device)

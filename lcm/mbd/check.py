"""Is the fast path right on this machine, how much faster is it, and what does autocast cost? Against audiocraft's own code in one run."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lcm.audio import load_mono_24k
from lcm.codec import FRAME_RATE_HZ, HOP, Codec
from lcm.mbd.bands import Bands, load_bands
from lcm.mbd.noise import GlobalNoise
from lcm.mbd.sampler import Sampler
from lcm.mbd.schedule import spaced
from lcm.mbd.stock import stock
from lcm.teachers.base import PRECISIONS, TeacherConfig
from lcm.timing import synchronise

CPU_PRECISIONS = ("fp32", "bf16")  # a CPU computes in float16 a hundred times more slowly


@dataclass(frozen=True)
class Agreement:
    """One precision of the fast path beside audiocraft's.

    Attributes:
        precision: Of the U-Nets.
        seconds: Time of the clip.
        stock_seconds: Time of audiocraft in float32.
        largest: Largest difference of a sample of the sum of the four bands, whose deviation is about 1.
        snr_db: Power of audiocraft's signal above that of the difference.
    """

    precision: str
    seconds: float
    stock_seconds: float
    largest: float
    snr_db: float

    def __str__(self) -> str:
        ratio = self.stock_seconds / self.seconds
        speed = f"{self.seconds:.2f} s, {ratio:.2f} x as fast as audiocraft"
        return f"{self.precision}: {speed}; largest difference {self.largest:.1e}, SNR {self.snr_db:.1f} dB"


def check(config: TeacherConfig, codec: Codec, codes: Tensor, *, precisions: tuple[str, ...] = ()) -> Iterator[Agreement]:
    """Compare the sums of the bands for the same noise, clip by clip alone; the first U-Net call of each is not timed.

    Args:
        config: Weights and steps of the teacher.
        codec: The codec.
        codes: Codes [1, K, F], of as many codebooks as the teacher is to be given.
        precisions: Precisions of the fast path; empty: all that the device has. audiocraft runs in float32.

    Yields:
        One result a precision.
    """
    states, condition = config.step_list or spaced(config.steps), codec.latents(codes)
    signal, stock_s = _timed(partial(_theirs, stock(config, codec), condition), states, codec.device)
    for precision in precisions or (CPU_PRECISIONS if codec.device.type == "cpu" else PRECISIONS):
        own, seconds = _timed(partial(_ours, load_bands(config, codec.device), codec, condition, precision), states, codec.device)
        error = own - signal
        snr_db = 10 * torch.log10(signal.square().mean() / error.square().mean().clamp(min=1e-20))
        yield Agreement(precision, seconds, stock_s, error.abs().max().item(), snr_db.item())


def example(codec: Codec, seconds: float, file: Path | None = None) -> Tensor:
    """Return codes [1, K, F] of the beginning of a recording, or of noise."""
    samples = round(seconds * FRAME_RATE_HZ) * HOP
    audio = torch.from_numpy(load_mono_24k(file)) if file else 0.1 * torch.randn(samples, generator=torch.Generator().manual_seed(0))
    return codec.encode(audio[:samples][None, None].to(codec.device))


def _theirs(model: Any, condition: Tensor, states: list[int]) -> Tensor:
    made: Tensor = model.generate(condition, step_list=states)
    return made


def _ours(bands: Bands, codec: Codec, condition: Tensor, precision: str, states: list[int]) -> Tensor:
    return Sampler(bands, codec, states, precision=precision).diffuse(condition, GlobalNoise())


@torch.no_grad()
def _timed(sample: Callable[[list[int]], Tensor], states: list[int], device: torch.device) -> tuple[Tensor, float]:
    """Return a sample for fixed noise, and its seconds after a warm-up of one call a band."""
    sample([states[0], states[-1]])
    torch.manual_seed(0)
    synchronise(device)
    start_s = time.perf_counter()
    made = sample(states)
    synchronise(device)
    return made, time.perf_counter() - start_s

"""MultiBandDiffusion under time: audiocraft's own, and the sampler of `lcm.mbd`.

Shapes: audio [B, 1, T] at 24 kHz, codes [B, K, F], condition [B, 128, F].
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lcm.codec import Codec
from lcm.mbd.bands import codebooks_of
from lcm.mbd.noise import SeededNoise
from lcm.mbd.schedule import spaced
from lcm.mbd.stock import stock
from lcm.speed.config import FULL_CALLS
from lcm.speed.timed import Timed
from lcm.teachers.base import TeacherConfig
from lcm.teachers.mbd import MbdTeacher
from lcm.timing import Stopwatch


def stock_mbd(config: TeacherConfig, codec: Codec) -> Timed:
    """Return audiocraft's MultiBandDiffusion with `config.steps` calls a band; the sections are the lines of its `tokens_to_wav`.

    Raises:
        LcmError: audiocraft or its weights are not there.
    """
    mbd, codebooks = stock(config, codec), config.codebooks or codebooks_of(config.bw)
    states = None if config.steps == FULL_CALLS else spaced(config.steps)

    def run(audio: Tensor, watch: Stopwatch) -> Tensor:
        with watch.section("encode"):
            codes = codec.encode(audio)[:, :codebooks]
        with watch.section("decode"):
            decoded, condition = mbd.codec_model.decode(codes), mbd.get_emb(codes)
        with watch.section("network"):
            generated = mbd.generate(emb=condition, size=decoded.size(), step_list=states)
        with watch.section("decode"):
            equalised: Tensor = mbd.re_eq(wav=generated, ref=decoded)
            return equalised[..., : audio.shape[-1]]

    def bare(condition: Tensor) -> object:
        return mbd.generate(condition, step_list=states)

    def one_call(audio: Tensor) -> object:
        return _one_call([process.model for process in mbd.DPs][:1], codec, audio)

    return Timed(
        "mbd", "MultiBandDiffusion, audiocraft's", codebooks, _size(mbd.DPs), 4 * config.steps, "as published", run,
        inputs=lambda audio: mbd.get_emb(codec.encode(audio)[:, :codebooks]), bare=bare, warm=one_call, slow=True, count=one_call,
        count_scale=len(mbd.DPs) * config.steps, device=codec.device,
    )  # fmt: skip


def fast_mbd(config: TeacherConfig, codec: Codec, own: Codec, codec_name: str) -> Timed:
    """Return MultiBandDiffusion by the sampler of this project; `own` is the codec that encodes and decodes.

    Raises:
        LcmError: audiocraft or its weights are not there.
    """
    teacher = MbdTeacher(config, codec)
    sampler, codebooks = teacher.sampler, teacher.codebooks

    def run(audio: Tensor, watch: Stopwatch) -> Tensor:
        with watch.section("encode"):
            condition = own.latents(own.encode(audio)[:, :codebooks])
        with watch.section("network"):
            generated = sampler.diffuse(condition, SeededNoise(range(len(audio)), own.device))
        with watch.section("decode"):
            equalised: Tensor = sampler.equaliser(generated, own.decode(condition))
            return equalised[..., : audio.shape[-1]]

    def bare(condition: Tensor) -> object:
        return sampler.diffuse(condition, SeededNoise(range(len(condition)), own.device))

    def warm(audio: Tensor) -> object:
        return _one_call([process.model for process in sampler.bands.processes], own, audio)

    return Timed(
        "mbd-fast", "MultiBandDiffusion, ours", codebooks, "the same", 4 * teacher.calls, codec_name, run,
        inputs=lambda audio: own.latents(own.encode(audio)[:, :codebooks]), bare=bare, warm=warm, slow=True, device=own.device,
    )  # fmt: skip


@torch.inference_mode()
def _one_call(unets: list[Any], codec: Codec, audio: Tensor) -> None:
    """Call U-Nets once, to warm up or to count operations."""
    condition = codec.latents(codec.encode(audio))
    for unet in unets:
        unet(torch.randn_like(audio), torch.full((len(audio),), 500, device=audio.device), condition=condition)


def _size(processes: Any) -> str:
    parameters = sum(value.numel() for process in processes for value in process.model.parameters())
    return f"{len(processes)} U-Nets, {parameters / 1e6:.0f} M"

"""MultiBandDiffusion as a system of the comparison: the waveform itself, not what a student's codec keeps of it."""

from __future__ import annotations

from torch import Tensor

from lcm.codec import Codec
from lcm.mbd.noise import SeededNoise
from lcm.store import item_seed
from lcm.systems import Clip, System, whole_frames
from lcm.teachers.mbd import MbdTeacher
from lcm.timing import Stopwatch


def mbd_system(teacher: MbdTeacher, codec: Codec, *, seed: int) -> System:
    """Return the teacher as a system: encode, the four bands' U-Nets, then the codec's decoding and the equaliser."""
    sampler = teacher.sampler

    def estimate(clip: Clip, watch: Stopwatch) -> Tensor:
        with watch.section("encode"):
            codes = codec.encode(whole_frames(clip.degraded, codec))[:, : teacher.codebooks]
        with watch.section("network"):
            condition = codec.latents(codes)
            signal = sampler.diffuse(condition, SeededNoise([item_seed(clip.utterance, seed)], codec.device))
        with watch.section("decode"):
            audio: Tensor = sampler.equaliser(signal, codec.decode(condition))
            return audio[0, 0, : len(clip.target)].cpu()

    return System("mbd", teacher.calls, estimate, device=codec.device)

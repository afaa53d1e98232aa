"""audiocraft's MultiBandDiffusion as it is, around this project's codec: what the fast path is compared and timed with."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from lcm.codec import FRAME_RATE_HZ, Codec
from lcm.mbd import audiocraft
from lcm.mbd.bands import load_bands
from lcm.mbd.released import SAMPLE_RATE
from lcm.teachers.base import TeacherConfig


class CompressionModel(nn.Module):
    """The codec as audiocraft's `MultiBandDiffusion` calls it: codes [B, K, F] of any K that the codec has."""

    sample_rate, frame_rate, channels = SAMPLE_RATE, FRAME_RATE_HZ, 1

    def __init__(self, codec: Codec) -> None:
        super().__init__()
        self.codec = codec

    def encode(self, audio: Tensor) -> tuple[Tensor, None]:
        """Return codes of audio [B, 1, T], and no scale."""
        return self.codec.encode(audio), None

    def decode(self, codes: Tensor, scale: None = None) -> Tensor:
        """Return audio [B, 1, 320 F] of codes."""
        return self.codec.decode(self.codec.latents(codes))

    def decode_latent(self, codes: Tensor) -> Tensor:
        """Return the latents [B, 128, F] of codes."""
        return self.codec.latents(codes)


def stock(config: TeacherConfig, codec: Codec) -> Any:
    """Return audiocraft's `MultiBandDiffusion`: `tokens_to_wav`, `generate`, `get_emb` and `re_eq` are its own code.

    Raises:
        LcmError: audiocraft or the weights are not there.
    """
    processes = list(load_bands(config, codec.device).processes)
    return audiocraft.load().MultiBandDiffusion(DPs=processes, codec_model=CompressionModel(codec))

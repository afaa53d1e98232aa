"""The `mbd` teacher: audiocraft's MultiBandDiffusion decodes the degraded codes to audio, which the student's codec encodes again.

It is a token decoder trained for 2, 4 or 8 codebooks: it adds nothing above the band that the codes hold.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from lcm import checkpoint
from lcm.codec import Codec
from lcm.errors import LcmError
from lcm.mbd.bands import load_bands
from lcm.mbd.noise import SeededNoise
from lcm.mbd.sampler import Sampler
from lcm.mbd.schedule import spaced
from lcm.model import Model
from lcm.teachers.base import TeacherConfig

CODEC = "encodec_24khz"


class MbdTeacher:
    """MultiBandDiffusion at one number of steps. It works on waveforms: students start from another, latent teacher, if one is named.

    Args:
        config: Which weights and steps.
        codec: The codec of the codes that it is given and makes.
        student: The codec of the students, for that latent teacher; None: the same.

    Attributes:
        sampler: The four bands.
        codebooks: Codebooks that it is given, the first of the codes.
        calls: U-Net calls of each band.
        identity: Hash of all that its output depends on beside the codec.

    Raises:
        LcmError: The codec is not the one it was trained for, or has fewer codebooks than it is to be given.
    """

    def __init__(self, config: TeacherConfig, codec: Codec, student: Codec | None = None) -> None:
        if config.weights == "pretrained" and codec.name != CODEC:
            raise LcmError(f"teacher.name=mbd decodes the codes of {CODEC}, the codec is {codec.name}: set codec.name={CODEC}.")
        bands = load_bands(config, codec.device)
        self.codec, self.codebooks = codec, config.codebooks or bands.n_q
        if self.codebooks > codec.n_q:
            raise LcmError(
                f"teacher.name=mbd at bw={config.bw:g} is given {self.codebooks} codebooks, but the codes have {codec.n_q} "
                f"(codec.bandwidth_kbps={codec.bandwidth_kbps:g}): raise that, or lower teacher.bw or teacher.codebooks."
            )
        states = config.step_list or spaced(config.steps)
        self.sampler, self.calls = Sampler(bands, codec, states, precision=config.precision), len(states) - 1
        self._latent, self._student = None if config.checkpoint == "shipped" else Path(config.checkpoint), student or codec
        settings = [bands.identity, self.codebooks, states, config.precision]
        self.identity = f"mbd-{bands.n_q}-{self.calls}-{hashlib.sha256(json.dumps(settings).encode()).hexdigest()[:12]}"

    @cached_property
    def model(self) -> Model | None:
        """The latent teacher, read when it is first asked for: what makes codes does not need it.

        Raises:
            CheckpointError: It is not there, or was trained with another codec than the student's.
        """
        return checkpoint.load_model(self._latent, self._student) if self._latent else None

    @cached_property
    def model_identity(self) -> str:
        """Hash of that teacher's weights; empty without one."""
        return f"latent-{checkpoint.identity(self._latent)}" if self._latent else ""

    def waveform(self, codes: Tensor, seeds: Sequence[int]) -> Tensor:
        """Return audio [B, 1, 320 F] of codes [B, K, F] of clips of one length; one seed a clip."""
        return self.sampler.waveform(codes[:, : self.codebooks], SeededNoise(seeds, self.codec.device))

    def generate(self, codes: Tensor, cutoff_hz: Tensor, seeds: Sequence[int]) -> Tensor:
        """Return the encoder's latents [B, D, F] of that audio, before quantisation: any number of codebooks can be read off them."""
        with torch.no_grad():
            latents: Tensor = self.codec.model.encoder(self.waveform(codes, seeds).clone())  # a tensor of inference mode is for it alone
        return latents

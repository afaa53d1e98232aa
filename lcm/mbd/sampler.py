"""MultiBandDiffusion's sampling without waiting: the result of audiocraft's `tokens_to_wav` for the same noise, clip by clip.

All of a process' numbers are on the device before it starts, the U-Nets' convolutions are laid out for the CPU, bands run side by side
on a GPU, and the codec's decoding and the equaliser work on whole batches. Clips of a batch must be of one length: the U-Net's GroupNorm
runs over time, so padding would change every sample.

Shapes: codes [B, K, F], condition [B, 128, F], audio [B, 1, 320 F] at 24 kHz.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from lcm.codec import HOP, Codec
from lcm.errors import LcmError
from lcm.mbd.bands import Bands
from lcm.mbd.convolutions import speed_up
from lcm.mbd.equaliser import Equaliser
from lcm.mbd.noise import Noise
from lcm.mbd.schedule import ReverseStep, reverse_steps

DTYPES = {"fp16": torch.float16, "bf16": torch.bfloat16}


class Sampler:
    """The four bands with a codec.

    Args:
        bands: The processes; their U-Nets become this sampler's own.
        codec: The codec, on the device of the bands.
        states: States of the chain that are visited, see `lcm.mbd.schedule.spaced`.
        precision: `fp32`, or the autocast `fp16` or `bf16` of the U-Nets.

    Raises:
        LcmError: The states are no falling list, or the codec's latents are not what the U-Nets were built for.
    """

    def __init__(self, bands: Bands, codec: Codec, states: Sequence[int], *, precision: str = "fp32") -> None:
        self.bands, self.codec, self.device = bands, codec, codec.device
        width = bands.processes[0].model.conv_codec.in_channels
        if codec.dimension != width:
            raise LcmError(f"The codec {codec.name} has latents of {codec.dimension} channels, MultiBandDiffusion takes {width}.")
        self.dtype = DTYPES.get(precision)
        self.steps = [reverse_steps(process.schedule, states) for process in bands.processes]
        self.states = torch.tensor(states[:-1], device=self.device)
        self.equaliser = Equaliser().to(self.device)
        if self.dtype is None:
            for process in bands.processes:
                speed_up(process.model)

    @torch.inference_mode()
    def waveform(self, codes: Tensor, noise: Noise) -> Tensor:
        """Return audio of codes of any number of codebooks, as `tokens_to_wav`: diffusion, equalised to the codec's own output."""
        condition = self.codec.latents(codes)
        audio: Tensor = self.equaliser(self.diffuse(condition, noise), self.codec.decode(condition))
        return audio

    @torch.inference_mode()
    def diffuse(self, condition: Tensor, noise: Noise) -> Tensor:
        """Return the sum of the bands, as `MultiBandDiffusion.generate`."""
        like = condition.new_zeros(condition.shape[0], 1, condition.shape[2] * HOP)
        bands = self._on_streams(like, condition, noise) if self.device.type == "cuda" else self._in_turn(like, condition, noise)
        return torch.stack(bands).sum(0)

    def _in_turn(self, like: Tensor, condition: Tensor, noise: Noise) -> list[Tensor]:
        return [self._band(band, like, condition, noise) for band in range(len(self.steps))]

    def _on_streams(self, like: Tensor, condition: Tensor, noise: Noise) -> list[Tensor]:
        """Queue each band on a stream of its own: one clip alone does not fill a GPU."""
        main, made = torch.cuda.current_stream(self.device), []
        for band in range(len(self.steps)):
            stream = torch.cuda.Stream(self.device)
            stream.wait_stream(main)
            with torch.cuda.stream(stream):
                made.append((stream, self._band(band, like, condition, noise)))
        for stream, signal in made:
            main.wait_stream(stream)
            signal.record_stream(main)
        return [signal for _, signal in made]

    def _band(self, band: int, like: Tensor, condition: Tensor, noise: Noise) -> Tensor:
        process = self.bands.processes[band]
        schedule = process.schedule
        current = noise.draw(band, like) * schedule.noise_scale
        for index, step in enumerate(self.steps[band]):
            current = self._step(step, current, self._estimate(process.model, current, index, condition))
            if step.deviation:
                current = current.add_(noise.draw(band, like), alpha=step.deviation)
            if schedule.clip:
                current = current.clamp_(-schedule.clip, schedule.clip)
        signal: Tensor = schedule.sample_processor.return_sample(current)
        return signal

    def _estimate(self, unet: Any, current: Tensor, index: int, condition: Tensor) -> Tensor:
        state = self.states[index].expand(len(current))  # a tensor on the device: a number would be copied there, and waited for
        with torch.autocast(self.device.type, self.dtype or torch.float32, enabled=self.dtype is not None):
            estimate: Tensor = unet(current, state, condition=condition).sample
        return estimate.float()

    @staticmethod
    def _step(step: ReverseStep, current: Tensor, estimate: Tensor) -> Tensor:
        return current.sub(estimate, alpha=step.noise_weight).mul_(step.scale)

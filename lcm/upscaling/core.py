"""Restore the high band of recordings of any rate, length and number of channels, with the input's own band kept.

What a model adds is a signal of its own, what the input lacks of its estimate (`missing`); it is added to the input, so that nothing below
the cutoff changes and nothing moves in time.

Shapes: audio at the input's rate [n, C], at 24 kHz [C, T] here.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from lcm.audio import HOP, SAMPLE_RATE
from lcm.codec import Codec
from lcm.codec_speed import fast
from lcm.errors import LcmError
from lcm.model import Model
from lcm.network import LcmMcb
from lcm.network_speed import fast_model
from lcm.upscaling.bandwidth import Bandwidth, BandwidthMeter
from lcm.upscaling.missing import REACH_FRAMES, missing
from lcm.upscaling.stream import Stream

RATES_HZ = (4_000, 192_000)
PRECISIONS = ("auto", "fp32", "fp16", "bf16")
STRENGTH = 0.7
_TRAINED_HZ = (4_000.0, 8_000.0)  # cutoffs that models are trained for; others are told the nearest
_CODEC_REACH = 40  # frames that the small codec's convolutions and transform see to either side, both ways
_RECURRENT_REACH = 150  # frames after which EnCodec's LSTM has forgotten where it began, to about 1e-4
_ROWS = 8  # channels computed together


@dataclass(frozen=True)
class Result:
    """A restored recording.

    Attributes:
        waveform: With the layout of the input, at `sample_rate`.
        sample_rate: In Hz.
        cutoff_hz: Where the input's content ended.
        passed: Whether the input was returned as it is: it is full-band.
    """

    waveform: NDArray[np.float32]
    sample_rate: int
    cutoff_hz: float
    passed: bool


class Upscaler:
    """A model with its codec, ready to restore.

    Args:
        model: A trained model of any kind that restores in steps.
        codec: Its codec, on the device to work on.
        steps: Network calls a part.
        seed: Seed of the noise, which is keyed to the absolute frame: the same recording is restored the same.
        precision: `auto` (float32 on a CPU, else float16), or that of the network's autocast.
        chunk_s: Seconds restored at once; memory grows with them, the result does not depend on them.
        strength: Factor of what is added, 0 to 1. Measured on 20 clips at 12 kHz: 1.0, 0.8, 0.7, 0.6 give LSD-HF 1.46, 1.48, 1.51, 1.54
            and an SI-SDR 1.1, 0.8, 0.6, 0.5 dB below that of sinc (`tests/benchmarks/robustness.py --strength`).

    Raises:
        LcmError: A setting is out of range.
    """

    def __init__(
        self,
        model: Model,
        codec: Codec,
        *,
        steps: int = 1,
        seed: int = 0,
        precision: str = "auto",
        chunk_s: float = 20.0,
        strength: float = STRENGTH,
    ) -> None:
        if precision not in PRECISIONS or steps < 1 or not chunk_s > 0 or not 0 <= strength <= 1:
            raise LcmError(
                f"precision={precision!r}, steps={steps}, chunk_s={chunk_s}, strength={strength}: expected one of {', '.join(PRECISIONS)}, "
                "1 or more, above 0, 0 to 1."
            )
        self.strength = strength
        self.model, self.codec = fast_model(model.to(codec.device).eval()), fast(codec)
        self.steps, self.seed, self.chunk_s, self.device = steps, seed, chunk_s, codec.device
        half = "fp32" if codec.device.type == "cpu" else "fp16"
        self.dtype = {"fp16": torch.float16, "bf16": torch.bfloat16}.get(half if precision == "auto" else precision)
        network = model.network.receptive_frames if isinstance(model.network, LcmMcb) else 0
        self.reach = network + _CODEC_REACH + REACH_FRAMES + (_RECURRENT_REACH if codec.name == "encodec_24khz" else 0)

    @classmethod
    def load(cls, source: str = "shipped", *, device: str = "auto", **settings: Any) -> Upscaler:
        """Load a model.

        Args:
            source: `shipped`, the path of a model or of a folder with one, or the name of a repository on the Hugging Face hub.
            device: `auto`, `cpu`, `cuda`, ...
            settings: As for the constructor.

        Raises:
            LcmError: The model cannot be found or used, or the device is not there.
        """
        from lcm.pretrained import from_pretrained

        model, codec = from_pretrained(source, device=device)
        return cls(model, codec, **settings)

    @staticmethod
    def output_rate(sample_rate: int) -> int:
        """Return the rate of what is made: 24 kHz, or the input's where that is higher.

        Raises:
            LcmError: The rate is out of range.
        """
        low, high = RATES_HZ
        if not low <= sample_rate <= high:
            raise LcmError(f"A sample rate of {sample_rate} Hz: expected {low} to {high} Hz. Is it the recording's?")
        return max(SAMPLE_RATE, sample_rate)

    def __call__(self, waveform: NDArray[Any], sample_rate: int, *, cutoff_hz: float | None = None) -> Result:
        """Restore a recording.

        Args:
            waveform: [T] or [C, T], floating point, full scale 1.0.
            sample_rate: In Hz, 4,000 to 192,000.
            cutoff_hz: Where its content ends; None: measured.

        Raises:
            LcmError: The shape, type, rate or cutoff is impossible, or a sample is not finite.
        """
        samples = _as_blocks(waveform)
        rate = self.output_rate(sample_rate)
        found = measure(samples, sample_rate)
        if cutoff_hz is not None:
            found = replace(found, cutoff_hz=cutoff_hz, full_band=False)
        if found.full_band:
            return Result(np.array(waveform, dtype=np.float32), sample_rate, found.cutoff_hz, passed=True)
        stream = self.stream(sample_rate, samples.shape[1], cutoff_hz=found.cutoff_hz, gain=found.gain)
        restored = np.concatenate([stream.push(samples), stream.finish()])
        layout = restored[:, 0] if waveform.ndim == 1 else restored.T
        return Result(np.ascontiguousarray(layout), rate, found.cutoff_hz, passed=False)

    def stream(self, sample_rate: int, channels: int, *, cutoff_hz: float, gain: float = 1.0, chunk_s: float | None = None) -> Stream:
        """Begin to restore a recording that comes block by block.

        Args:
            sample_rate: Of the input, in Hz.
            channels: Of the input.
            cutoff_hz: Where its content ends, 1,000 to 12,000 Hz.
            gain: Factor that brings the recording to a level the model knows; undone in what is added (`Bandwidth.gain`).
            chunk_s: Seconds restored at once; less means less latency and more work. None: the upscaler's.

        Raises:
            LcmError: A value is out of range.
        """
        if not 1_000 <= cutoff_hz <= SAMPLE_RATE / 2:
            raise LcmError(f"cutoff_hz={cutoff_hz:g}: expected 1,000 to {SAMPLE_RATE // 2:,} Hz, where the recording's content ends.")
        frames = max(1, round((chunk_s or self.chunk_s) * SAMPLE_RATE / HOP))
        return Stream(
            lambda audio, start: self.added(audio, start, cutoff_hz=cutoff_hz, gain=gain),
            sample_rate,
            self.output_rate(sample_rate),
            channels,
            frames=frames,
            reach=self.reach,
        )

    @torch.inference_mode()
    def added(self, audio: NDArray[np.float32], start: int, *, cutoff_hz: float, gain: float = 1.0) -> NDArray[np.float32]:
        """Return what is to be added to a part of a recording.

        Args:
            audio: [C, T] at 24 kHz.
            start: Absolute frame of its first sample.
            cutoff_hz: Where the recording's content ends.
            gain: As for `stream`.

        Returns:
            [C, T].
        """
        rows = torch.from_numpy(np.ascontiguousarray(audio))
        parts = [self._rows(rows[i : i + _ROWS].to(self.device), start, cutoff_hz, gain) for i in range(0, len(rows), _ROWS)]
        made: NDArray[np.float32] = torch.cat(parts).cpu().numpy()
        return made

    def _rows(self, audio: Tensor, start: int, cutoff_hz: float, gain: float) -> Tensor:
        length, heard = audio.shape[1], audio * gain
        codes = self.codec.encode(F.pad(heard, (0, -length % HOP))[:, None])
        told = min(max(cutoff_hz, _TRAINED_HZ[0]), _TRAINED_HZ[1])
        cutoffs = torch.full((len(audio),), told, device=self.device)
        with torch.autocast(self.device.type, self.dtype or torch.float32, enabled=self.dtype is not None):
            latents = self.model.restore(self.codec, codes, cutoffs, steps=self.steps, seeds=[self.seed], start=start)
        estimate = self.codec.decode(latents.float(), length)[:, 0]
        return self.strength / gain * missing(estimate, heard, cutoff_hz)


def measure(samples: NDArray[np.float32], sample_rate: int) -> Bandwidth:
    """Return the bandwidth of a whole recording [n, C]."""
    meter = BandwidthMeter(sample_rate)
    meter.add(samples)
    return meter.result()


def _as_blocks(waveform: NDArray[Any]) -> NDArray[np.float32]:
    """Return a waveform [T] or [C, T] as [n, C] in float32.

    Raises:
        LcmError: It is none, or holds what is no sample.
    """
    if waveform.ndim not in (1, 2) or (waveform.ndim == 2 and waveform.shape[0] == 0):
        raise LcmError(f"A waveform of shape {list(waveform.shape)}: expected [T], or [C, T] with at least one channel.")
    if not np.issubdtype(waveform.dtype, np.floating):
        raise LcmError(
            f"A waveform of {waveform.dtype}: expected floating point with full scale 1.0. Divide whole numbers by their full scale."
        )
    samples: NDArray[np.float32] = np.atleast_2d(waveform).T.astype(np.float32)
    check_finite(samples)
    return samples


def check_finite(samples: NDArray[np.float32], first: int = 0) -> None:
    """Refuse samples [n, C] that are no numbers.

    Args:
        samples: The samples.
        first: Absolute number of the first one, for the message.

    Raises:
        LcmError: It names how many there are, and where the first is.
    """
    bad = ~np.isfinite(samples)
    if bad.any():
        at, channel = np.argwhere(bad)[0]
        raise LcmError(
            f"{int(bad.sum())} samples are not finite, the first is {samples[at, channel]} at sample {first + int(at)} of channel "
            f"{int(channel)}. Repair the recording, or set them to 0."
        )

"""Training batches: random crops from the codes store, by a generator keyed to (seed, step).

A step's batch depends on the seed and the step alone, so a resumed run and a run on two processes see the same clips.
Shapes: codes [B, K, F], audio [B, T], mask [B, F].
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lcm.codec import HOP
from lcm.errors import TrainingError
from lcm.schedule import frame_noise
from lcm.store import Store

Waveforms = Callable[[str], NDArray[np.float32]]


@dataclass
class DataConfig:
    """How crops are drawn.

    Attributes:
        crop_frames: Length of a crop, 75 frames a second.
        context_frames: Frames at either end of a crop that the waveform losses leave out: their decoder context is cut.
        target: `hr` (the original's codes), `teacher` (the overlay's) or `mix` (a coin per crop). Audio losses compare with
            the original whatever the target.
        variants: How many of the stored degradations are drawn from, the fixed one first; 0 means all.
        unknown_cutoff: Share of crops whose cutoff is not told (0 Hz), so that the model also serves inputs of unknown bandwidth.
    """

    crop_frames: int = 128
    context_frames: int = 20
    target: str = "hr"
    variants: int = 0
    unknown_cutoff: float = 0.0


@dataclass
class Batch:
    """One batch.

    Attributes:
        lr_codes: Degraded audio's codes [B, K, F].
        target_codes: Codes the student is to reach [B, K, F].
        cutoff_hz: Bandwidth of the degraded audio [B]; 0 where it is not told.
        mask: True where a frame is real [B, F].
        audio: The original's samples [B, 320 F], or [B, 0] where no loss needs them.
        from_teacher: Whether the target is the teacher's, [B].
        noise: Noise that the teacher's target was sampled from [B, D, F], or [B, 0, F] where it is not asked for.
        latents: The teacher's output before requantising [B, D, F], or [B, 0, F].
    """

    lr_codes: Tensor
    target_codes: Tensor
    cutoff_hz: Tensor
    mask: Tensor
    audio: Tensor
    from_teacher: Tensor
    noise: Tensor
    latents: Tensor

    def to(self, device: torch.device) -> Batch:
        """Move every tensor."""
        return replace(self, **{f.name: getattr(self, f.name).to(device) for f in fields(self)})


class CropSource:
    """Draws batches of crops.

    Args:
        store: The codes store.
        keys: Utterances to draw from.
        config: Crop settings.
        overlay: Teacher overlay, needed for targets other than `hr`.
        waveforms: Reads an utterance's 24 kHz samples [T]; None where no loss needs audio.
        codebooks: Codebooks K of the student, the first of those stored; None reads all.
        pairs: Whether batches carry the teacher's noise and latents; the overlay then holds its latents.

    Raises:
        TrainingError: There are no utterances, the target is unknown, or its overlay is missing.
    """

    def __init__(
        self,
        store: Store,
        keys: Sequence[str],
        config: DataConfig,
        *,
        overlay: Store | None = None,
        waveforms: Waveforms | None = None,
        pairs: bool = False,
        codebooks: int | None = None,
    ) -> None:
        if not keys:
            raise TrainingError("The corpus' train split is empty: nothing to train on (corpus.test_fraction, corpus.valid_fraction).")
        if config.target not in ("hr", "teacher", "mix"):
            raise TrainingError(f"data.target={config.target!r} is unknown: choose hr, teacher or mix.")
        if config.target != "hr" and overlay is None:
            raise TrainingError(f"data.target={config.target} needs a teacher that generates: set teacher.name=latent (`original` is hr).")
        stored = min(len(store.meta(k)["degradations"]) for k in keys)
        if not 0 <= config.variants <= stored:
            raise TrainingError(f"data.variants={config.variants}: expected 0 to {stored}, what the store has (degradation.variants).")
        self.store, self.keys, self.config, self.overlay, self.pairs = store, list(keys), config, overlay, pairs
        self.codebooks = codebooks
        self.waveforms = lru_cache(maxsize=2048)(waveforms) if waveforms else None
        self._weights = torch.tensor([float(store.frames(k)) for k in self.keys])

    def batch(self, size: int, *, seed: int, step: int, rank: int = 0, world: int = 1) -> Batch:
        """Draw this rank's part of a global batch.

        Args:
            size: Global batch size; divisible by `world`.
            seed: Seed of the run.
            step: Number of the step.
            rank: Which part.
            world: Number of parts.
        """
        generator = torch.Generator().manual_seed((seed * 1_000_003 + step * 97 + 13) % (2**63))
        chosen = torch.multinomial(self._weights, size, replacement=True, generator=generator).tolist()
        draws = torch.rand(size, 4, generator=generator).tolist()
        local = size // world
        crops = [self._crop(self.keys[k], *d) for k, d in list(zip(chosen, draws, strict=True))[rank * local : (rank + 1) * local]]
        return Batch(*(torch.stack(parts) for parts in zip(*crops, strict=True)))

    def _crop(self, key: str, place: float, variant: float, coin: float, told: float) -> tuple[Tensor, ...]:
        degradations = self.store.meta(key)["degradations"]
        index = int(variant * min(self.config.variants or len(degradations), len(degradations)))
        length = self.config.crop_frames
        start = int(place * (max(0, self.store.frames(key) - length) + 1))
        lr = self._codes(self.store, key, f"lr{index}", start)
        teacher = self.config.target == "teacher" or (self.config.target == "mix" and coin < 0.5)
        source = (self.overlay, f"{key}|{index}", "codes") if teacher and self.overlay else (self.store, key, "hr")
        target = self._codes(*source, start)
        mask = torch.arange(length) < lr.shape[1]
        cutoff = torch.tensor(0.0 if told < self.config.unknown_cutoff else float(degradations[index]["cutoff_hz"]))
        pair = self._pair(f"{key}|{index}", start) if teacher and self.pairs else self._no_pair()
        return self._pad(lr), self._pad(target), cutoff, mask, self._audio(key, start), torch.tensor(teacher), *pair

    def _pair(self, key: str, start: int) -> tuple[Tensor, Tensor]:
        """Return the noise and the latents of a teacher's sample, [D, F] each; the noise is drawn again from its stored seed."""
        assert self.overlay is not None  # checked with the target
        length = min(self.config.crop_frames, self.overlay.frames(key) - start)
        latents = torch.from_numpy(self.overlay.read(key, "latents", start, start + length).astype(np.float32)).t()
        noise = frame_noise(latents.shape[0], length, seed=int(self.overlay.meta(key)["seed"]), start=start)
        return self._pad(noise), self._pad(latents)

    def _no_pair(self) -> tuple[Tensor, Tensor]:
        width = self.overlay.streams["latents"].width if self.pairs and self.overlay else 0
        empty = torch.zeros(width, self.config.crop_frames)
        return empty, empty

    def _codes(self, store: Store, key: str, stream: str, start: int) -> Tensor:
        codes = store.read(key, stream, start, min(store.frames(key), start + self.config.crop_frames))
        return torch.from_numpy(codes[:, : self.codebooks].astype(np.int64)).t()

    def _pad(self, codes: Tensor) -> Tensor:
        return torch.nn.functional.pad(codes, (0, self.config.crop_frames - codes.shape[1]))

    def _audio(self, key: str, start: int) -> Tensor:
        if self.waveforms is None:
            return torch.zeros(0)
        crop = torch.from_numpy(self.waveforms(key)[start * HOP : (start + self.config.crop_frames) * HOP])
        return torch.nn.functional.pad(crop, (0, self.config.crop_frames * HOP - len(crop)))

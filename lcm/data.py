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
from lcm.store import Store

Waveforms = Callable[[str], NDArray[np.float32]]


@dataclass
class DataConfig:
    """How crops are drawn.

    Attributes:
        crop_frames: Length of a crop, 75 frames a second.
        context_frames: Frames at either end of a crop that the waveform losses leave out: their decoder context is cut.
        target: `hr` (the original's codes), `teacher` (the overlay's) or `mix` (a coin per crop).
    """

    crop_frames: int = 128
    context_frames: int = 20
    target: str = "hr"


@dataclass
class Batch:
    """One batch.

    Attributes:
        lr_codes: Degraded audio's codes [B, K, F].
        target_codes: Codes the student is to reach [B, K, F].
        cutoff_hz: Bandwidth of the degraded audio [B].
        mask: True where a frame is real [B, F].
        audio: The original's samples [B, 320 F], or an empty tensor where no loss needs them.
    """

    lr_codes: Tensor
    target_codes: Tensor
    cutoff_hz: Tensor
    mask: Tensor
    audio: Tensor

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

    Raises:
        TrainingError: There are no utterances, the target is unknown, or its overlay is missing.
    """

    def __init__(
        self, store: Store, keys: Sequence[str], config: DataConfig, *, overlay: Store | None = None, waveforms: Waveforms | None = None
    ) -> None:
        if not keys:
            raise TrainingError("The corpus' train split is empty: nothing to train on (corpus.test_fraction, corpus.valid_fraction).")
        if config.target not in ("hr", "teacher", "mix"):
            raise TrainingError(f"data.target={config.target!r} is unknown: choose hr, teacher or mix.")
        if config.target != "hr" and overlay is None:
            raise TrainingError(f"data.target={config.target} needs a teacher overlay: set teacher.steps, so that one is generated.")
        self.store, self.keys, self.config, self.overlay = store, list(keys), config, overlay
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
        draws = torch.rand(size, 3, generator=generator).tolist()
        local = size // world
        crops = [self._crop(self.keys[k], *d) for k, d in list(zip(chosen, draws, strict=True))[rank * local : (rank + 1) * local]]
        return Batch(*(torch.stack(parts) for parts in zip(*crops, strict=True)))

    def _crop(self, key: str, place: float, variant: float, coin: float) -> tuple[Tensor, ...]:
        degradations = self.store.meta(key)["degradations"]
        index, length = int(variant * len(degradations)), self.config.crop_frames
        start = int(place * (max(0, self.store.frames(key) - length) + 1))
        lr = self._codes(self.store, key, f"lr{index}", start)
        teacher = self.config.target == "teacher" or (self.config.target == "mix" and coin < 0.5)
        source = (self.overlay, f"{key}|{index}", "codes") if teacher and self.overlay else (self.store, key, "hr")
        target = self._codes(*source, start)
        mask = torch.arange(length) < lr.shape[1]
        cutoff = torch.tensor(float(degradations[index]["cutoff_hz"]))
        return self._pad(lr), self._pad(target), cutoff, mask, self._audio(key, start)

    def _codes(self, store: Store, key: str, stream: str, start: int) -> Tensor:
        codes = store.read(key, stream, start, min(store.frames(key), start + self.config.crop_frames))
        return torch.from_numpy(codes.astype(np.int64)).t()

    def _pad(self, codes: Tensor) -> Tensor:
        return torch.nn.functional.pad(codes, (0, self.config.crop_frames - codes.shape[1]))

    def _audio(self, key: str, start: int) -> Tensor:
        if self.waveforms is None:
            return torch.zeros(0)
        crop = torch.from_numpy(self.waveforms(key)[start * HOP : (start + self.config.crop_frames) * HOP])
        return torch.nn.functional.pad(crop, (0, self.config.crop_frames * HOP - len(crop)))

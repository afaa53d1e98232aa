"""Producers for the stores: degraded and original codes of a corpus, and a teacher's codes for them.

Each works on batches of equal frame counts; an item's result depends on its key and the seed alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lcm import degrade
from lcm.audio import load_mono_24k
from lcm.codec import HOP, Codec, CodecConfig, best_device, load_codec
from lcm.corpus import Manifest, Utterance
from lcm.degrade import DegradationConfig
from lcm.errors import LcmError
from lcm.store import Record, Store, item_seed
from lcm.teachers import Teacher, TeacherConfig, load_teacher


@dataclass
class CodesProducer:
    """Encodes each utterance and its degraded variants.

    Attributes:
        manifest: The corpus.
        codec: Which codec.
        degradation: Which variants.
        seed: Seed of the random variants.
        batch: Utterances encoded together; 0 is 8 on a GPU and 1 on a CPU, which gains nothing from more.
        rows: Rows of a batch; set by the worker.
        expects: Identity that the codec must have; empty: any.
    """

    manifest: Manifest
    codec: CodecConfig
    degradation: DegradationConfig
    seed: int = 0
    batch: int = 0
    rows: int = 1
    expects: str = ""

    @property
    def batch_size(self) -> int:
        """Utterances encoded together."""
        return self.batch or default_batch()

    def prepare(self) -> None:
        """Load the codec once a task."""
        self._codec = load_codec(self.codec).to(best_device())
        _check_identity("codec", self._codec.identity, self.expects)
        self._by_key = {u.utterance: u for u in self.manifest.utterances}

    def produce(self, keys: Sequence[str]) -> list[Record]:
        """Return one record a key: streams `hr`, `lr0`, `lr1`, ..., each [F, K] int16."""
        waves = [load_mono_24k(self.manifest.audio_path(self._by_key[k])) for k in keys]
        variants = [degrade.draw(self.degradation, k, self.seed) for k in keys]
        originals = [degrade.levelled(w, v[0]) for w, v in zip(waves, variants, strict=True)]
        streams = {"hr": _encode(self._codec, originals, self.rows)}
        for i in range(len(variants[0])):
            degraded = [degrade.apply(w, v[i]) for w, v in zip(waves, variants, strict=True)]
            streams[f"lr{i}"] = _encode(self._codec, degraded, self.rows)
        return [
            Record(
                key, {name: codes[row] for name, codes in streams.items()}, self._meta(self._by_key[key], len(waves[row]), variants[row])
            )
            for row, key in enumerate(keys)
        ]

    def _meta(self, utterance: Utterance, samples: int, variants: Sequence[degrade.Degradation]) -> dict[str, Any]:
        return {
            "speaker": utterance.speaker,
            "split": utterance.split,
            "samples": samples,
            "bandwidth_hz": utterance.bandwidth_hz,
            "degradations": [v.to_dict() for v in variants],
        }


@dataclass
class OverlayProducer:
    """Runs a teacher over the degraded codes of a codes store.

    Attributes:
        folder: The codes store.
        codec: Which codec.
        teacher: Which teacher.
        batch: Clips sampled together; 0 is 8 on a GPU and 1 on a CPU.
        latents: Whether to store fp16 latents beside the codes.
        rows: Rows of a batch; set by the worker.
        expects: Identity that the teacher must have; empty: any.
    """

    folder: str
    codec: CodecConfig
    teacher: TeacherConfig
    batch: int = 0
    latents: bool = False
    rows: int = 1
    expects: str = ""

    @property
    def batch_size(self) -> int:
        """Clips sampled together."""
        return self.batch or default_batch()

    def prepare(self) -> None:
        """Load codec, teacher and store once a task."""
        self._codec, self._store = load_codec(self.codec).to(best_device()), Store(self.folder)
        self._teacher: Teacher | None = load_teacher(self.teacher, self._codec)
        _check_identity("teacher", self._teacher.identity if self._teacher else "original", self.expects)

    def produce(self, keys: Sequence[str]) -> list[Record]:
        """Return one record a key `utterance|variant`: stream `codes` [F, K] int16, and `latents` [F, D] float16 if asked."""
        assert self._teacher is not None  # `original` has no overlay: the pipeline never asks for one
        parts = [key.rsplit("|", 1) for key in keys]
        codes = torch.stack([torch.from_numpy(self._store.read(u, f"lr{i}").astype(np.int64)).t() for u, i in parts])[:, : self._codec.n_q]
        cutoffs = [float(self._store.meta(u)["degradations"][int(i)]["cutoff_hz"]) for u, i in parts]
        seeds = [item_seed(key, self.teacher.seed) for key in keys]
        place = _padded(len(keys), self.rows)  # the rows beyond the keys are computed and dropped
        device = self._codec.device
        every = self._teacher.generate(codes[place].to(device), torch.tensor(cutoffs, device=device)[place], [seeds[i] for i in place])
        latents = every[: len(keys)]
        restored = self._codec.requantise(every)[: len(keys)].transpose(1, 2).cpu().numpy().astype(np.int16)
        return [
            Record(key, self._streams(restored[i], latents[i]), {"seed": seeds[i], "steps": self.teacher.steps})
            for i, key in enumerate(keys)
        ]

    def _streams(self, codes: np.ndarray[Any, Any], latents: Tensor) -> dict[str, np.ndarray[Any, Any]]:
        return {"codes": codes, "latents": latents.t().cpu().numpy().astype(np.float16)} if self.latents else {"codes": codes}


def _check_identity(what: str, found: str, planned: str) -> None:
    """Refuse to mix what two sets of weights make in one store.

    Raises:
        LcmError: The identity is not the planned one.
    """
    if planned and found != planned:
        raise LcmError(f"The {what} is {found}, the store is planned for {planned}: its file has changed. Restore it, or use a new root.")


def default_batch() -> int:
    """Return how many clips to compute together where nothing is asked."""
    return 8 if torch.cuda.is_available() else 1


def _padded(count: int, rows: int) -> list[int]:
    """Return the places of a batch of `rows` rows: each item once, then the last again. See `slurm.attempt.Producer`."""
    return [*range(count), *[count - 1] * (rows - count)]


def frames_of(samples: int) -> int:
    """Return the codec frames of a clip."""
    return -(-samples // HOP)


def _encode(codec: Codec, waves: Sequence[np.ndarray[Any, np.dtype[np.float32]]], rows: int) -> np.ndarray[Any, np.dtype[np.int16]]:
    """Encode clips of one frame count, each padded with zeros to whole frames, into [B, F, K]; computed in a batch of `rows` rows."""
    lengths = {frames_of(len(w)) for w in waves}
    if len(lengths) > 1:
        raise LcmError(f"Clips of {sorted(lengths)} frames came in one batch: a recording has changed since the manifest was made.")
    length = lengths.pop() * HOP
    batch = torch.from_numpy(np.stack([np.pad(w, (0, length - len(w))) for w in waves]))[:, None]
    every = codec.encode(batch[_padded(len(waves), rows)].to(codec.device))
    return every[: len(waves)].transpose(1, 2).cpu().numpy().astype(np.int16)

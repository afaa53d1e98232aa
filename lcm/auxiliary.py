"""Auxiliary loss terms of a batch: which part of each clip a term sees, and the mean over clips.

Shapes: state [B, N * D, F], latents [B, D, F], audio [B, 320 F], mask [B, F].
"""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import Tensor

from lcm.blocks import Blocks
from lcm.codec import HOP, Codec
from lcm.data import Batch
from lcm.errors import LcmError
from lcm.losses import AUDIO_TERMS, token_ce
from lcm.lowband import low_band_copy
from lcm.network import Prediction

AUDIBLE = 1e-3
"""Root mean square, -60 dB: a quieter target is silence, to which no relative error has a meaning."""

COPIED = frozenset({"waveform_l1", "si_sdr"})
"""Terms that `copied` is for. Not the spectral ones: where estimate and target differ by rounding alone, the sign of the
rounding would be the gradient of a log spectrum's L1 distance, and one process and two would part."""

MINIMUM_FRAMES = {name: 26 if name == "pesq" else 7 for name in AUDIO_TERMS}
"""Shortest region of a term: the largest STFT window, 2048 samples; PESQ's longest average spans 20 of its windows, 8064."""


def auxiliary(
    names: Collection[str],
    codec: Codec,
    blocks: Blocks,
    prediction: Prediction,
    batch: Batch,
    *,
    context: int,
    anchor: Tensor | None,
    copied: bool = False,
) -> dict[str, Tensor]:
    """Return the unweighted auxiliary terms that are asked for, each a scalar: the mean over clips of per-clip losses.

    An audio term sees a clip from `context` frames after the crop's start to `context` frames before its last real frame,
    where the decoder's context is whole; each clip is decoded at its own length, so that padding reaches nothing. A clip
    without such a region, or whose target is silent there, is left out: it counts as 0, so that the weight of a clip does
    not depend on its neighbours in the batch or on how the batch is split over processes.

    Args:
        names: Terms; nothing is computed for others.
        codec: The frozen codec.
        blocks: Of the student.
        prediction: Of the student.
        batch: Codes, masks, cutoffs and the original's audio.
        context: Frames at either end that audio terms leave out.
        anchor: What the state is a residual to [B, N, D, F], or None.
        copied: Whether the waveform terms hear the original's low band in place of the estimate's.

    Raises:
        LcmError: A term needs what the objective or the batch does not give: logits, a trained state, or audio.
    """
    terms = {}
    if "token_ce" in names:
        if prediction.logits is None:
            raise LcmError("losses.token_ce needs token logits, which this objective does not give: set losses.token_ce=0.")
        terms["token_ce"] = token_ce(prediction.logits, batch.target_codes, batch.mask).mean()
    audio = [name for name in AUDIO_TERMS if name in names]
    if audio:
        _check_audio(audio, prediction, batch)
        with torch.autocast(prediction.state.device.type, enabled=False):  # rounding to bf16 is louder than the high band
            latents = blocks.to_latents(prediction.state.float(), anchor)
            terms |= _audio_terms(audio, codec, latents, batch, context, copied=copied)
    return terms


def _audio_terms(names: list[str], codec: Codec, latents: Tensor, batch: Batch, context: int, *, copied: bool) -> dict[str, Tensor]:
    lengths = batch.mask.sum(1).tolist()
    sums = dict.fromkeys(names, 0.0 * latents.sum())  # in the graph, also where every clip is left out
    for frames in sorted(set(lengths)):
        fitting = [name for name in names if frames - 2 * context >= MINIMUM_FRAMES[name]]
        if not fitting:
            continue
        rows = torch.tensor([i for i, length in enumerate(lengths) if length == frames], device=latents.device)
        inner = slice(context * HOP, (frames - context) * HOP)
        estimate = codec.decode(latents[rows, :, :frames])[:, 0, inner]
        target = batch.audio[rows, inner].float()
        heard = with_low_band(estimate, target, batch.cutoff_hz[rows]) if copied and set(fitting) & COPIED else estimate
        audible = target.square().mean(-1).sqrt() >= AUDIBLE
        for name in fitting:
            values = AUDIO_TERMS[name](heard if name in COPIED else estimate, target, batch.cutoff_hz[rows])
            sums[name] = sums[name] + torch.where(audible, values, 0.0).sum()
    return {name: total / len(lengths) for name, total in sums.items()}


def with_low_band(estimate: Tensor, target: Tensor, cutoff_hz: Tensor) -> Tensor:
    """Replace the band below each clip's cutoff by the target's, as `low_band_copy` does; where it is not told (0), nothing."""
    rows, parts = [], []
    for cutoff in cutoff_hz.unique().tolist():
        at = (cutoff_hz == cutoff).nonzero()[:, 0]
        rows.append(at)
        parts.append(low_band_copy(estimate[at], target[at], cutoff) if cutoff > 0 else estimate[at])
    return torch.cat(parts)[torch.cat(rows).argsort()]


def _check_audio(names: list[str], prediction: Prediction, batch: Batch) -> None:
    wanted = ", ".join(f"losses.{name}" for name in names)
    if batch.audio.shape[1] != HOP * batch.mask.shape[1]:
        raise LcmError(
            f"{wanted}: the batch carries {batch.audio.shape[1]} samples of audio a clip, expected {HOP * batch.mask.shape[1]}: "
            "give CropSource its `waveforms`."
        )
    if torch.is_grad_enabled() and not prediction.state.requires_grad:
        raise LcmError(f"{wanted}: this objective predicts tokens and no latents, so no gradient would reach it: set these weights to 0.")


def check_region(names: Collection[str], *, crop_frames: int, context: int) -> None:
    """Refuse crops that leave no region for an audio term, which would then be 0 for ever.

    Raises:
        LcmError: A crop is too short for a term; the shortest that serves is named.
    """
    for name in names:
        if name in AUDIO_TERMS and crop_frames - 2 * context < MINIMUM_FRAMES[name]:
            raise LcmError(
                f"losses.{name} sees data.crop_frames={crop_frames} less data.context_frames={context} at either end: "
                f"set data.crop_frames to at least {2 * context + MINIMUM_FRAMES[name]}."
            )

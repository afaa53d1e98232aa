"""A one-step model and the small codec as programs without this package: torch.export (.pt2) or ONNX (.onnx).

Three programs, each for one clip of any length: `encoder`, audio [1, 1, 320 F] to codes [1, K, F]; `network`, codes, cutoff_hz [1] and
standard normal noise [1, N * D, F] (`lcm.schedule.frame_noise`) to latents [1, D, F]; `decoder`, latents to audio [1, 1, 320 F].
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lcm.attention import WindowedAttention, _heads, rotate
from lcm.codec import HOP, Codec
from lcm.codec_speed import fast
from lcm.errors import LcmError
from lcm.model import Model

MAX_FRAMES = 4096
"""The longest clip: attention is one masked product over all frames, so memory grows with the square; work in parts of 20 s."""
_KINDS = ("consistency", "regression")
_FRAMES = 96  # of the example that programs are traced with


@dataclass(frozen=True)
class Part:
    """One program: what it computes, example inputs by name, and which of their axes are as long as the clip, in frames or samples."""

    name: str
    module: nn.Module
    inputs: dict[str, Tensor]
    lengths: dict[str, int]


def export(source: str | Path, out: Path, *, frames: int | None = None) -> list[Path]:
    """Write a model's programs.

    Args:
        source: As for `lcm.pretrained.from_pretrained`.
        out: FILE.pt2 or FILE.onnx; FILE-encoder, FILE-network and FILE-decoder are written beside it.
        frames: Fixes the length, in frames of 1/75 s; None: 2 to `MAX_FRAMES`.

    Raises:
        LcmError: The model does not restore in one call, its codec is not `encodec_small`, a setting is out of range, or ONNX's packages
            are missing.
    """
    from lcm.pretrained import from_pretrained

    if out.suffix not in (".pt2", ".onnx"):
        raise LcmError(f"{out}: expected FILE.pt2 (torch.export) or FILE.onnx (ONNX).")
    if frames is not None and not 2 <= frames <= MAX_FRAMES:
        raise LcmError(f"--frames {frames}: expected 2 to {MAX_FRAMES}.")
    missing = [name for name in ("onnx", "onnxscript") if find_spec(name) is None] if out.suffix == ".onnx" else []
    if missing:
        raise LcmError(
            f"To write {out}, {' and '.join(missing)} must be installed: `pip install lcm-superres[onnx]`. FILE.pt2 needs neither."
        )
    out.parent.mkdir(parents=True, exist_ok=True)
    written = []
    for part in parts(*from_pretrained(source, device="cpu"), frames or _FRAMES):
        written.append(out.with_name(f"{out.stem}-{part.name}{out.suffix}"))
        _write(part, written[-1], dynamic=frames is None)
    return written


def parts(model: Model, codec: Codec, frames: int = _FRAMES) -> Iterator[Part]:
    """Yield the three programs as modules, with inputs of `frames` frames.

    Raises:
        LcmError: The model does not restore in one call, or its codec is not `encodec_small`.
    """
    if codec.name != "encodec_small" or model.spec.kind not in _KINDS:
        raise LcmError(
            f"A {model.spec.kind} model over {codec.name} cannot be exported: expected one of {', '.join(_KINDS)} over encodec_small, "
            "such as the shipped one."
        )
    channels = len(model.spec.partition) * codec.dimension
    codes, noise = torch.zeros(1, codec.n_q, frames, dtype=torch.long), torch.zeros(1, channels, frames)
    given = {"codes": codes, "cutoff_hz": torch.full((1,), 6000.0), "noise": noise}
    quick = fast(codec)
    yield Part("encoder", _Encoder(quick, codec), {"audio": torch.zeros(1, 1, HOP * frames)}, {"audio": HOP})
    yield Part("network", _OneStep(model, codec), given, {"codes": 1, "noise": 1})
    yield Part("decoder", quick.model.decoder, {"latents": torch.zeros(1, codec.dimension, frames)}, {"latents": 1})


def _write(part: Part, file: Path, *, dynamic: bool) -> None:
    frames = torch.export.Dim("frames", min=2, max=MAX_FRAMES)
    axes: Any = {k: {2: part.lengths[k] * frames} if dynamic and k in part.lengths else None for k in part.inputs}
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporters' own insides
        program = torch.export.export(part.module.eval(), (), part.inputs, dynamic_shapes=axes)
        partial = file.with_name(f".{file.name}")
        if file.suffix == ".pt2":
            torch.export.save(program, partial)
        else:
            written: Any = torch.onnx.export(
                program, dynamo=True, verbose=False, input_names=list(part.inputs), output_names=[_OUT[part.name]]
            )
            written.save(str(partial), external_data=False)
    partial.replace(file)


_OUT = {"encoder": "codes", "network": "latents", "decoder": "audio"}


class _Quantiser(nn.Module):
    """The codebooks alone, with the codec's own sums over them."""

    codebook_latents: Any = Codec.codebook_latents
    latents: Any = Codec.latents
    requantise: Any = Codec.requantise

    def __init__(self, codec: Codec) -> None:
        super().__init__()
        self.tables = nn.ParameterList([nn.Parameter(table.clone(), requires_grad=False) for table in codec.embeddings])

    @property
    def embeddings(self) -> list[Tensor]:
        return list(self.tables)


class _Encoder(nn.Module):
    """Audio to codes."""

    def __init__(self, quick: Codec, codec: Codec) -> None:
        super().__init__()
        self.encoder, self.quantiser = quick.model.encoder, _Quantiser(codec)

    def forward(self, audio: Tensor) -> Tensor:
        codes: Tensor = self.quantiser.requantise(self.encoder(audio))
        return codes


class _OneStep(nn.Module):
    """Codes, cutoff and noise to latents in one call."""

    def __init__(self, model: Model, codec: Codec) -> None:
        super().__init__()
        self.spec, self.blocks, self.quantiser = model.spec, model.blocks, _Quantiser(codec)
        network: Any = copy.deepcopy(model.network)
        self.network = network
        for layer in network.layers:
            layer.attention = _Dense(layer.attention)
            layer.cross = None if layer.cross is None else _Dense(layer.cross)

    def forward(self, codes: Tensor, cutoff_hz: Tensor, noise: Tensor) -> Tensor:
        codec: Any = self.quantiser
        sigma = self.spec.schedule.sigma_max
        start = sigma * noise if self.spec.kind == "consistency" else 0 * noise
        condition, anchor = self.blocks.condition(codec, codes), self.blocks.anchor(codec, codes)
        state = self.network(start, start.new_full((1,), sigma), condition, cutoff_hz).state
        if self.spec.output == "tokens":
            return codec.latents(self.blocks.to_codes(codec, state, anchor))  # type: ignore[no-any-return]  # the quantiser stands for the codec
        return self.blocks.to_latents(state, anchor)


class _Dense(nn.Module):
    """WindowedAttention of all frames at once, for its loop over pieces has no symbolic length."""

    def __init__(self, attention: WindowedAttention) -> None:
        super().__init__()
        self.inner = attention

    def forward(self, x: Tensor, mask: Tensor | None = None, context: Tensor | None = None) -> Tensor:
        q, k, v = (_heads(part, self.inner.heads) for part in self.inner._project(x, context))
        place = torch.arange(x.shape[1], device=x.device)
        allowed = (place[:, None] - place[None]).abs() <= self.inner.window
        mixed = F.scaled_dot_product_attention(rotate(q), rotate(k), v, attn_mask=allowed)
        attended: Tensor = self.inner.out(mixed.transpose(1, 2).flatten(2))
        return attended

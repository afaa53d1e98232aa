"""Trained models as files: find one, load it with its codec; pack, describe and publish one.

A model is a safetensors file and, beside it, its card as JSON (`card.json`, or NAME.json for NAME.safetensors). Nothing is unpickled.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from lcm import checkpoint
from lcm.codec import Codec, CodecConfig, best_device, load_codec
from lcm.errors import CheckpointError, LcmError
from lcm.model import Model, ModelSpec
from lcm.paths import Run
from lcm.pretrained.card import kbps_of, read_config
from lcm.pretrained.find import CARD, MODEL, SHIPPED, card_of, locate

__all__ = ["CARD", "MODEL", "SHIPPED", "card_of", "from_pretrained", "locate"]


def from_pretrained(source: str | Path = "shipped", *, device: str | torch.device = "auto") -> tuple[Model, Codec]:
    """Load a model in evaluation mode, with the codec it was trained with.

    Args:
        source: `shipped`; the path of a model, as runs write it; a folder with `model.safetensors`, or a run's; or `owner/name` on the
            Hugging Face hub.
        device: `auto` (the GPU if there is one), `cpu`, `cuda`, `cuda:1`, ...

    Returns:
        The model and its codec, on the device.

    Raises:
        LcmError: There is no such model, file or device; the file is damaged, or its codec is not to be had here.
    """
    where = usable_device(device)
    file = locate(source)
    card = card_of(file)
    _check_sum(file, card)
    spec = checkpoint.load_spec(file)
    codec = load_codec(_codec_config(file, card, spec))
    if codec.identity != spec.codec:
        raise CheckpointError(
            f"{file} was trained with codec {spec.codec}, but {codec.name} at {codec.bandwidth_kbps:g} kbps is {codec.identity} here. "
            f"If it was another codec, its card must say so ({CARD}: codec.name); if not, the weights here are not the same."
        )
    return checkpoint.load_model(file, codec.to(where)), codec


def _codec_config(file: Path, card: dict[str, Any], spec: ModelSpec) -> CodecConfig:
    """Return the codec that the card names, or the config of the run that the file lies in; else the small one."""
    config = Run(file.parent.parent).config
    told = card.get("codec") or (read_config(config).get("codec") if file.parent.name == "checkpoints" and config.exists() else None) or {}
    named = {k: told[k] for k in ("name", "folder", "weights") if told.get(k)}
    return CodecConfig(bandwidth_kbps=kbps_of(spec), **named)


def usable_device(device: str | torch.device) -> torch.device:
    """Return the device of a name.

    Raises:
        LcmError: It is unknown, or not there.
    """
    if device == "auto":
        return best_device()
    try:
        found = torch.device(device)
        torch.zeros(1, device=found)
    except (RuntimeError, AssertionError) as error:  # a build without CUDA asserts
        raise LcmError(
            f"Device {str(device)!r} cannot be used ({str(error).splitlines()[0]}): name auto, cpu or a GPU such as cuda."
        ) from error
    return found


def _check_sum(file: Path, card: dict[str, Any]) -> None:
    told, found = card.get("identity"), checkpoint.identity(file)
    if told and told != found:
        raise CheckpointError(f"{file} is {found}, but the card beside it belongs to {told}: fetch or pack both again, or remove the card.")

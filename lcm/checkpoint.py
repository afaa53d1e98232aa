"""Checkpoints: one safetensors file with JSON in its header. Atomic, readable by anyone, no pickle."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from lcm.codec import Codec
from lcm.errors import CheckpointError
from lcm.model import Model, ModelSpec


def save(path: Path, tensors: dict[str, Tensor], header: dict[str, Any]) -> None:
    """Write tensors and a JSON header so that the file is either whole or not there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    ready = {k: v.detach().cpu().contiguous().clone() for k, v in tensors.items()}
    save_file(ready, part, metadata={"json": json.dumps(header)})
    with part.open("rb") as file:
        os.fsync(file.fileno())
    part.replace(path)


def load(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read a checkpoint.

    Raises:
        CheckpointError: It is missing, damaged or not one of this project's.
    """
    if not path.exists():
        raise CheckpointError(f"There is no checkpoint at {path}.")
    try:
        with safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {})["json"])
            return {k: file.get_tensor(k) for k in file.keys()}, header  # noqa: SIM118  # safe_open is no mapping
    except (SafetensorError, KeyError, json.JSONDecodeError) as error:
        raise CheckpointError(f"{path} is no checkpoint of this project or is damaged ({error}). Delete it, or fetch it again.") from error


def save_model(path: Path, model: Model, header: dict[str, Any] | None = None) -> None:
    """Write a model for evaluation."""
    save(path, model.state_dict(), {"spec": model.spec.to_dict(), **(header or {})})


def load_model(path: Path, codec: Codec) -> Model:
    """Rebuild a model in evaluation mode.

    Raises:
        CheckpointError: The file is unusable, or was trained with another codec.
    """
    tensors, header = load(path)
    spec = _spec(path, header)
    if spec.codec != codec.identity:
        raise CheckpointError(
            f"{path} was trained with codec {spec.codec}, but the codec in use is {codec.name} ({codec.identity}): "
            "use its codec settings, or train with this one."
        )
    model = Model(spec, codec)
    model.load_state_dict({k: v.float() if v.dtype == torch.float16 else v for k, v in tensors.items()})
    return model.to(codec.device).eval().requires_grad_(False)


def load_spec(path: Path) -> ModelSpec:
    """Return what a model's file says of the model.

    Raises:
        CheckpointError: The file is unusable or holds no model.
    """
    return _spec(path, load(path)[1])


def _spec(path: Path, header: dict[str, Any]) -> ModelSpec:
    if "spec" not in header:
        raise CheckpointError(f"{path} holds no model but {sorted(header)}: name a model, such as checkpoints/model.safetensors.")
    try:
        return ModelSpec.from_dict(header["spec"])
    except (TypeError, KeyError) as error:
        raise CheckpointError(f"{path} was written by another version ({error}): use that one, or train again.") from error


def save_half(model: Path, out: Path) -> None:
    """Write a model's file again in half precision; it is loaded as float32.

    Raises:
        CheckpointError: The file is unusable.
    """
    tensors, header = load(model)
    save(out, {k: v.half() if v.dtype == torch.float32 else v for k, v in tensors.items()}, header)


def identity(path: Path) -> str:
    """Return a hash of the file's content: it stands for the path in signatures."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def main() -> None:
    """Write a model in half precision, as shipped weights are: python -m lcm.checkpoint MODEL -o OUT."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("-o", "--out", type=Path, required=True)
    args = parser.parse_args()
    save_half(args.model, args.out)


if __name__ == "__main__":
    main()

"""What a released file must hold, and the check of one: names, shapes, values."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lcm.errors import CheckpointError
from lcm.mbd.released import CODEC_DIM, SAMPLE_RATE

STATISTICS = ("counts", "sum_x", "sum_x2", "sum_target_x2")  # of a MultiBandProcessor


def unet_shapes(unet: Mapping[str, Any], channels: int, num_steps: int) -> dict[str, tuple[int, ...]]:
    """Return names and shapes of a DiffusionUnet's tensors.

    Args:
        unet: Its config, as `UNET`; without LSTM and transformer, which no released network has.
        channels: Channels of the audio.
        num_steps: Noise levels of the schedule.

    Source: audiocraft 1.3.0, models/unet.py.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    inside, hidden, last = channels, int(unet["hidden"]), int(unet["depth"]) - 1
    for d in range(last + 1):
        for side, index, conv in (("encoders", d, "conv"), ("decoders", last - d, "convtr")):
            name = f"{side}.{index}"
            width = hidden  # an encoder's output and, mirrored, its decoder's input
            shapes |= {f"{name}.{conv}.weight": (hidden, inside, int(unet["kernel"]))} | _norm(f"{name}.norm", width)
            for r in range(int(unet.get("res_blocks", 1))):
                shapes |= _res_block(f"{name}.res_blocks.{r}", width)
        if d == 0:
            shapes["embedding.weight"] = (num_steps, hidden)
        elif unet.get("emb_all_layers", False):
            shapes[f"embeddings.{d - 1}.weight"] = (num_steps, hidden)
        inside, hidden = hidden, min(int(hidden * unet["growth"]), int(unet["max_channels"]))
    return shapes | {"conv_codec.weight": (inside, int(unet["codec_dim"]), 1), "conv_codec.bias": (inside,)}


def _norm(name: str, width: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def _res_block(name: str, width: int) -> dict[str, tuple[int, ...]]:
    convs = {f"{name}.conv{i}.weight": (width, width, 3) for i in (1, 2)} | {f"{name}.conv{i}.bias": (width,) for i in (1, 2)}
    return _norm(f"{name}.norm1", width) | _norm(f"{name}.norm2", width) | convs


def check_package(file: Path, package: Any) -> int:
    """Check the outside of an unpickled file and return its number of bands.

    Raises:
        CheckpointError: A key is missing or not what it should be.
    """
    if not isinstance(package, dict) or not {"sample_rate", "n_bands"} <= package.keys():
        found = sorted(map(str, package))[:6] if isinstance(package, dict) else type(package).__name__
        raise _wrong(file, f"it holds {found}, not 'sample_rate', 'n_bands' and the bands")
    if package["sample_rate"] != SAMPLE_RATE:
        raise _wrong(file, f"its sample rate is {package['sample_rate']} Hz, not {SAMPLE_RATE}: it belongs to another codec")
    bands = package["n_bands"]
    numbered = sorted(k for k in package if isinstance(k, int))
    if not isinstance(bands, int) or bands < 1 or numbered != list(range(bands)):
        raise _wrong(file, f"n_bands is {bands!r}, but the bands in it are {numbered}")
    for i in numbered:
        if not isinstance(package[i], dict) or not {"cfg", "model_state", "processor_state"} <= package[i].keys():
            raise _wrong(file, f"band {i} lacks 'cfg', 'model_state' or 'processor_state'")
    return bands


def check_band(file: Path, i: int, config: Mapping[str, Any], unet: Mapping[str, Tensor], processor: Mapping[str, Tensor]) -> None:
    """Check that a band's tensors are those that its configs describe, and finite.

    Raises:
        CheckpointError: One is missing, left over, of another shape or not finite, or the config describes another network.
    """
    sizes = config["unet"]
    if sizes.get("bilstm") or sizes.get("transformer") or sizes.get("codec_dim") != CODEC_DIM:
        raise _wrong(file, f"band {i} has an LSTM, a transformer or no condition of {CODEC_DIM} channels: {dict(sizes)}")
    if config["schedule"].get("repartition", "power") != "power" or config["schedule"].get("n_bands") is not None:
        raise _wrong(file, f"band {i} has a schedule that audiocraft 1.3.0 does not run: {dict(config['schedule'])}")
    _compare(file, f"band {i}", unet_shapes(sizes, config["channels"], config["schedule"]["num_steps"]), unet)
    if config["processor"].get("use"):
        rows = int(config["processor"].get("n_bands", 8))
        statistics = {k: processor[k] for k in STATISTICS if k in processor}
        _compare(file, f"band {i}'s processor", {k: (1,) if k == "counts" else (rows,) for k in STATISTICS}, statistics)
        if not float(processor["counts"]) > 0:
            raise _wrong(file, f"band {i}'s processor has counted no clip: it would divide by zero")
    for name, tensor in [*unet.items(), *processor.items()]:
        if not bool(torch.isfinite(tensor).all()):
            raise _wrong(file, f"band {i}: {name} holds values that are not finite")


def _compare(file: Path, what: str, wanted: Mapping[str, tuple[int, ...]], found: Mapping[str, Tensor]) -> None:
    if missing := sorted(wanted.keys() - found.keys()):
        raise _wrong(file, f"{what} lacks {len(missing)} tensors, such as {missing[0]}")
    if extra := sorted(found.keys() - wanted.keys()):
        raise _wrong(file, f"{what} has {len(extra)} tensors too many, such as {extra[0]}")
    for name, shape in wanted.items():
        if tuple(found[name].shape) != shape:
            raise _wrong(file, f"{what}: {name} is {tuple(found[name].shape)}, but its config describes {shape}")


def _wrong(file: Path, why: str) -> CheckpointError:
    return CheckpointError(f"{file} is no MultiBandDiffusion of EnCodec 24 kHz as released: {why}. Fetch it again, or name another file.")

"""MultiBandDiffusion's weights: where they are looked for, and how they are read.

Released are `mbd_comp_{2,4,8}.pt` for EnCodec 24 kHz at 1.5, 3 and 6 kbps. Such a file is converted once to safetensors and JSON;
only those are read.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from lcm import hub
from lcm.errors import CheckpointError
from lcm.mbd.convert import convert
from lcm.mbd.pair import Pair
from lcm.mbd.released import (
    CODEBOOKS,
    FILE_BYTES,
    LICENCE,
    PROCESSOR,
    REPOSITORY,
    SCHEDULE,
    UNET,
    UNET_RELEASED,
    file_name,
    own_cache,
)
from lcm.offline import OFFLINE, PREFETCH, offline

__all__ = ["CODEBOOKS", "PROCESSOR", "SCHEDULE", "UNET", "UNET_RELEASED", "Band", "Weights", "locate", "read"]


@dataclass(frozen=True)
class Band:
    """One of the frequency bands, each with a diffusion of its own.

    Attributes:
        schedule: Keywords of `NoiseSchedule`.
        unet: Keywords of `DiffusionUnet`, beside channels and the schedule's number of steps.
        channels: Channels of the audio; 1.
        processor: `use`, and keywords of `MultiBandProcessor` where it is used.
        unet_state: State dict of the U-Net, float32, mapped from the file.
        processor_state: State dict of the processor; empty where none is used.
    """

    schedule: dict[str, Any]
    unet: dict[str, Any]
    channels: int
    processor: dict[str, Any]
    unet_state: dict[str, Tensor]
    processor_state: dict[str, Tensor]


@dataclass(frozen=True)
class Weights:
    """All bands.

    Attributes:
        n_q: EnCodec codebooks that they were trained for.
        sample_rate: 24000 Hz.
        bands: In the order of the file.
        identity: Hash of configs and tensors; the same wherever the files lie.
    """

    n_q: int
    sample_rate: int
    bands: tuple[Band, ...]
    identity: str


def locate(folder: str | None, n_q: int) -> Path:
    """Find the weights for 2, 4 or 8 codebooks: a converted pair, before any file that has yet to be converted.

    Args:
        folder: The only place to look, or None for `$AUDIOCRAFT_CACHE_DIR`, the hub's cache and this package's own.
        n_q: Number of codebooks.

    Returns:
        A `.safetensors` with its JSON beside it, or a `.pt`.

    Raises:
        CheckpointError: Neither is there; it says what to fetch and where to put it.
    """
    places = _places(folder)
    released = [place / file_name(n_q) for place in places if (place / file_name(n_q)).is_file()]
    for pair in [Pair(place, n_q) for place in places] + [Pair(home(file), n_q) for file in released]:
        if pair.exists():
            return pair.tensors
    if released:
        return released[0]
    raise CheckpointError(_absent(folder, n_q, places))


def read(folder: str | None, n_q: int) -> Weights:
    """Read the weights for 2, 4 or 8 codebooks; a released file is converted first, which is said. Nothing is fetched.

    Args:
        folder: As for `locate`.
        n_q: Number of codebooks.

    Raises:
        CheckpointError: There are none, or they are damaged or refused; it says what to do.
    """
    found = locate(folder, n_q)
    pair = Pair(found.parent, n_q)
    if found.suffix == ".pt":
        pair = _converted(found)
    tensors, described = pair.read()
    bands = tuple(_band(config, i, tensors) for i, config in enumerate(described["bands"]))
    return Weights(n_q, int(described["sample_rate"]), bands, str(described["identity"]))


def home(source: Path) -> Path:
    """Return the folder for the converted form of a `.pt`: its own where it may be written to, else one in this package's cache."""
    if os.access(source.parent, os.W_OK):
        return source.parent
    status = source.stat()
    key = hashlib.sha256(f"{source.resolve()} {status.st_size} {status.st_mtime_ns}".encode()).hexdigest()[:16]
    return own_cache() / key


def _converted(source: Path) -> Pair:
    print(f"converting {source} to safetensors, once ({source.stat().st_size:,} bytes)", flush=True)
    made = convert(source, home(source))
    print(*made.lines(), sep="\n", flush=True)
    return made.pair


def _places(folder: str | None) -> list[Path]:
    roots = [Path(folder).expanduser()] if folder else [*hub.caches(), own_cache()]
    return list(_with_snapshots(roots))


def _with_snapshots(roots: list[Path]) -> Iterator[Path]:
    for root in roots:
        yield root
        yield from hub.snapshots(root, REPOSITORY)


def _band(config: dict[str, Any], i: int, tensors: dict[str, Tensor]) -> Band:
    unet, processor = ({k.removeprefix(p): v for k, v in tensors.items() if k.startswith(p)} for p in (f"{i}.unet.", f"{i}.processor."))
    return Band(config["schedule"], config["unet"], int(config["channels"]), config["processor"], unet, processor)


def _absent(folder: str | None, n_q: int, places: list[Path]) -> str:
    name, pair = file_name(n_q), Pair(places[0], n_q)
    bw = next(bw for bw, k in CODEBOOKS.items() if k == n_q)
    halves = [f"{half} lies alone. " for p in places for half in (Pair(p, n_q).tensors, Pair(p, n_q).description) if half.exists()]
    fetch = f"`{PREFETCH}` fetches and converts it on a machine with network" + (f" ({OFFLINE} forbids it here)" if offline() else "")
    return (
        f"MultiBandDiffusion's weights for {bw:g} kbps ({n_q} codebooks) are not in {', '.join(map(str, places))}: neither "
        f"{pair.tensors.name} with {pair.description.name} nor {name} ({FILE_BYTES:,} bytes). {''.join(halves)}{fetch}; "
        f"by hand: {name} from the Hugging Face repository {REPOSITORY}, into {folder or 'a folder that teacher.folder=FOLDER names'}. "
        f"Licence: {LICENCE}."
    )

"""A released `.pt`, once and for all, into safetensors and JSON."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from lcm.errors import CheckpointError
from lcm.mbd import unpickle
from lcm.mbd.layout import check_band, check_package
from lcm.mbd.pair import Pair, band_digests, identity
from lcm.mbd.released import LICENCE, SHA256, file_name
from lcm.paths import alone, sha256


@dataclass(frozen=True)
class Converted:
    """What a conversion wrote."""

    pair: Pair
    identity: str
    published: bool

    def lines(self) -> list[str]:
        """Return a line a file, and one for the whole."""
        files = [f"{file}, {file.stat().st_size:,} bytes" for file in (self.pair.tensors, self.pair.description)]
        origin = "the publisher's file" if self.published else "a file that is NOT the publisher's, by its sha256"
        return [*files, f"MultiBandDiffusion for {self.pair.n_q} codebooks, identity {self.identity}, from {origin}; {LICENCE}"]


def codebooks_of(source: Path) -> int:
    """Return the number of codebooks that a file's name says.

    Raises:
        CheckpointError: It is not named as released.
    """
    found = re.fullmatch(r"mbd_comp_(\d+)\.pt", source.name)
    if found is None:
        names = ", ".join(file_name(k) for k in SHA256)
        raise CheckpointError(f"{source.name} is not named as released, so its number of codebooks is not known: name it one of {names}.")
    file_name(n_q := int(found[1]))
    return n_q


def convert(source: Path, folder: Path | None = None) -> Converted:
    """Convert a released file; a process that comes second waits and converts nothing.

    Args:
        source: `mbd_comp_2.pt`, `mbd_comp_4.pt` or `mbd_comp_8.pt`.
        folder: Where to; None is the file's own folder.

    Raises:
        CheckpointError: The file is missing, refused, damaged or not what was released, or there is no room.
    """
    n_q = codebooks_of(source)
    if not source.is_file():
        raise CheckpointError(f"There is no {source}.")
    pair = Pair(folder or source.parent, n_q)
    with alone(pair.folder):
        return _done(pair, source) or _convert(source, pair)


def _done(pair: Pair, source: Path) -> Converted | None:
    """Return what another process made of this file in the meantime."""
    if not pair.exists():
        return None
    try:
        described = json.loads(pair.description.read_text(encoding="utf-8"))
        if described["source"]["bytes"] != source.stat().st_size or described["source"]["sha256"] != sha256(source):
            return None
        return Converted(pair, str(described["identity"]), bool(described["source"]["published"])) if pair.read() else None
    except (CheckpointError, ValueError, KeyError, TypeError):
        return None  # damaged, or of another format: make it anew


def _convert(source: Path, pair: Pair) -> Converted:
    package = unpickle.load(source)
    bands = [_band(source, i, package[i]) for i in range(check_package(source, package))]
    tensors = _apart({f"{i}.{k}": v for i, (_, band) in enumerate(bands) for k, v in band.items()})
    _room(pair.folder, sum(t.nbytes for t in tensors.values()))
    described = [{**config, "sha256": d} for (config, _), d in zip(bands, band_digests(tensors, len(bands)), strict=True)]
    digest, name = sha256(source), identity(described, package["sample_rate"])
    published = digest == SHA256[pair.n_q]
    origin = {"file": source.name, "bytes": source.stat().st_size, "sha256": digest, "published": published}
    head = {"licence": LICENCE, "n_q": pair.n_q, "sample_rate": package["sample_rate"], "identity": name, "source": origin}
    pair.write(tensors, {**head, "bands": described})
    return Converted(pair, name, published)


def _band(source: Path, i: int, band: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return a band's configs and its tensors, checked."""
    config = _config(source, i, band["cfg"])
    states = [_tensors(source, i, band[key]) for key in ("model_state", "processor_state")]
    check_band(source, i, config, *states)
    return config, {f"{kind}.{k}": v for kind, state in zip(("unet", "processor"), states, strict=True) for k, v in state.items()}


def _config(source: Path, i: int, cfg: Any) -> dict[str, Any]:
    """Return those parts of a training config that the networks are built from, as plain values."""
    from omegaconf import OmegaConf

    try:
        cfg = OmegaConf.create(cfg) if isinstance(cfg, dict) else cfg
        parts = {ours: OmegaConf.to_container(cfg[key], resolve=True) for ours, key in _PARTS.items()}
        found: dict[str, Any] = json.loads(json.dumps({"channels": int(cfg["channels"]), **parts}))
    except Exception as error:  # omegaconf raises its own, and anything for a config whose inside is not one
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(f"{source}: the config of band {i} cannot be read ({reason}). Fetch the file again.") from error
    if missing := [f"{ours}.{k}" for ours, k in _NEEDED if not isinstance(found[ours], dict) or found[ours].get(k) is None]:
        raise CheckpointError(f"{source}: the config of band {i} lacks {', '.join(missing)}. Fetch the file again.")
    return found


_PARTS = {"schedule": "schedule", "unet": "diffusion_unet", "processor": "processor"}
_NEEDED = [
    ("schedule", "num_steps"),
    *(("unet", k) for k in ("hidden", "depth", "kernel", "stride", "growth", "max_channels")),
    ("processor", "use"),
]


def _tensors(source: Path, i: int, state: Any) -> dict[str, Tensor]:
    if not isinstance(state, Mapping) or not all(isinstance(v, Tensor) and v.is_floating_point() for v in state.values()):
        raise CheckpointError(f"{source}: band {i} holds something else than floating-point tensors. Fetch the file again.")
    return {str(k): v.detach().float().contiguous() for k, v in state.items()}


def _apart(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Give each tensor memory of its own, which safetensors asks for; those that have it are not copied."""
    own = {k: v.untyped_storage().nbytes() == v.nbytes for k, v in tensors.items()}
    seen: set[int] = set()
    for name, tensor in tensors.items():
        if not own[name] or tensor.untyped_storage().data_ptr() in seen:
            tensors[name] = tensor.clone()
        seen.add(tensors[name].untyped_storage().data_ptr())
    return tensors


def _room(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed * 1.01:
        raise CheckpointError(
            f"{folder} has {free:,} bytes free; the converted weights take {needed:,}. Make room, or name another folder."
        )

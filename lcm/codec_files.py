"""EnCodec 24 kHz on disk: Meta's own file, or the same model under its Hugging Face name, `facebook/encodec_24khz`."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from lcm import hub
from lcm.compat import import_encodec
from lcm.errors import CodecError
from lcm.offline import OFFLINE, PREFETCH, offline

ENCODEC_FILE = "encodec_24khz-d7cc33bc.th"
REPOSITORY = "facebook/encodec_24khz"
HUB_FILES = ("model.safetensors", "pytorch_model.bin")


def cached() -> Path:
    """Return where Meta's file lies in torch's cache."""
    return Path(torch.hub.get_dir()) / "checkpoints" / ENCODEC_FILE


def find(folder: str | None) -> Path | None:
    """Return the first file of EnCodec 24 kHz there is, Meta's own before the hub's, or None.

    Args:
        folder: The only place to look (files in it, or a hub cache), or None for torch's cache and the hub's.
    """
    return next((file for file in _candidates(folder) if file.is_file()), None)


def encodec_state(folder: str | None, wanted: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Load EnCodec 24 kHz from the folder, the caches, or the network, in this order.

    Args:
        folder: As for `find`.
        wanted: State dict of an `encodec.EncodecModel`: names and shapes.

    Returns:
        A state dict with the same names.

    Raises:
        CodecError: There is none, or it is damaged or another model; it says what to fetch and where to put it.
    """
    file = find(folder)
    if file is None:
        return _fetched(folder)
    if file.name != ENCODEC_FILE:
        return from_hub(file, _opened(file), wanted)
    _check_digest(file)
    return dict(torch.load(file, map_location="cpu", weights_only=True))


def hub_name(name: str) -> str:
    """Return the hub's name of one of the 252 tensors of an `encodec.EncodecModel`.

    Source: transformers, models/encodec/convert_encodec_checkpoint_to_pytorch.py.
    """
    name = name.replace("quantizer.vq.layers.", "quantizer.layers.").replace("._codebook.", ".codebook.")
    name = re.sub(r"^(encoder|decoder)\.model\.", r"\1.layers.", name)
    return name.replace(".conv.conv.", ".conv.").replace(".convtr.convtr.", ".conv.")


def from_hub(file: Path, found: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the hub's tensors to `encodec`'s.

    Args:
        file: Where they come from, for errors.
        found: The hub's tensors, with either of torch's two spellings of weight normalisation.
        wanted: As for `encodec_state`.

    Raises:
        CodecError: A tensor is missing, left over or of another shape.
    """
    plain = {_old_weight_norm(k): v for k, v in found.items()}
    names = {k: _old_weight_norm(hub_name(k)) for k in wanted}
    missing, extra = sorted(set(names.values()) - plain.keys()), sorted(plain.keys() - set(names.values()))
    shapes = [ours for ours, theirs in names.items() if theirs in plain and plain[theirs].shape != wanted[ours].shape]
    if missing or extra or shapes:
        raise CodecError(
            f"{file} is not EnCodec 24 kHz under its hub names: {len(missing)} tensors are missing {missing[:2]}, {len(extra)} left over "
            f"{extra[:2]}, {len(shapes)} of another shape {shapes[:2]}. Name the folder of {REPOSITORY} by codec.folder."
        )
    return {ours: plain[theirs].to(wanted[ours].dtype) for ours, theirs in names.items()}


def _old_weight_norm(name: str) -> str:
    return name.replace("parametrizations.weight.original0", "weight_g").replace("parametrizations.weight.original1", "weight_v")


def _candidates(folder: str | None) -> Iterator[Path]:
    if folder:
        home = Path(folder).expanduser()
        yield from (home / name for name in (ENCODEC_FILE, *HUB_FILES))
    else:
        yield cached()
    for cache in [home] if folder else hub.caches():
        for snapshot in hub.snapshots(cache, REPOSITORY):
            yield from (snapshot / name for name in HUB_FILES)


def _opened(file: Path) -> dict[str, Tensor]:
    try:
        return load_file(file) if file.suffix == ".safetensors" else dict(torch.load(file, map_location="cpu", weights_only=True))
    except OSError:
        raise
    except Exception as error:  # safetensors, zip and unpickler have no common error
        raise CodecError(f"{file} is damaged or no file of weights ({str(error).splitlines()[0]}). Fetch it again.") from error


def _fetched(folder: str | None) -> dict[str, Tensor]:
    local = Path(folder) / ENCODEC_FILE if folder else cached()
    hint = (
        f"Fetch {ENCODEC_FILE} (93,171,529 bytes) on a machine with network and put it at {local}, or name its folder by codec.folder "
        f"(there or in the hub's cache, {REPOSITORY}'s {HUB_FILES[0]} does as well); `python -m lcm.codec` fetches it into the cache."
    )
    if folder:
        raise CodecError(f"{local} does not exist. {hint}")
    if offline():
        raise CodecError(f"{local} does not exist and {OFFLINE} forbids a download. Run `{PREFETCH}` on the login node. {hint}")
    try:
        state = import_encodec().EncodecModel._get_pretrained(ENCODEC_FILE)
    except Exception as error:  # urllib, ssl, socket and torch.hub raise different types for "no network"
        raise CodecError(f"The weights of encodec_24khz are not in the cache and could not be downloaded ({error}). {hint}") from error
    return dict(state)


def _check_digest(file: Path) -> None:
    digest, wanted = hashlib.sha256(file.read_bytes()).hexdigest(), file.stem.split("-")[1]
    if not digest.startswith(wanted):
        raise CodecError(f"{file} is damaged or another file: its sha256 starts with {digest[:8]}, expected {wanted}. Fetch it again.")

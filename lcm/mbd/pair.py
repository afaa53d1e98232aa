"""A converted file: tensors in safetensors, configs and digests in JSON beside them. Nothing in it is ever unpickled."""

from __future__ import annotations

import hashlib
import json
import os
import uuid
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from lcm.errors import CheckpointError
from lcm.mbd.released import file_name

FORMAT = 1


@dataclass(frozen=True)
class Pair:
    """The two files of one folder and number of codebooks."""

    folder: Path
    n_q: int

    @property
    def tensors(self) -> Path:
        """`mbd_comp_N.safetensors`."""
        return self.folder / file_name(self.n_q).replace(".pt", ".safetensors")

    @property
    def description(self) -> Path:
        """`mbd_comp_N.json`; written last, so that it stands for the whole."""
        return self.tensors.with_suffix(".json")

    def exists(self) -> bool:
        """Say whether both files are there."""
        return self.tensors.is_file() and self.description.is_file()

    def write(self, tensors: Mapping[str, Tensor], description: Mapping[str, Any]) -> None:
        """Write both, each atomically, the JSON last."""
        _write(self.tensors, lambda part: save_file(dict(tensors), part))
        text = json.dumps({"format": FORMAT, **description}, indent=1)
        _write(self.description, lambda part: part.write_text(text, encoding="utf-8"))

    def read(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Read both and check that they are whole and belong together.

        Returns:
            Tensors by name, mapped from the file, and the description.

        Raises:
            CheckpointError: One of them is damaged, or they come from different conversions.
        """
        try:
            described: dict[str, Any] = json.loads(self.description.read_text(encoding="utf-8"))
            version, digests = described["format"], [band["sha256"] for band in described["bands"]]
        except (ValueError, KeyError, TypeError) as error:
            raise self._damaged(self.description, f"{type(error).__name__}: {error}") from error
        if version != FORMAT or described.get("identity") != identity(described["bands"], described.get("sample_rate")):
            raise self._damaged(self.description, f"it is of format {version!r}, not {FORMAT}, or was edited")
        try:
            with safe_open(self.tensors, framework="pt") as file:
                tensors = {k: file.get_tensor(k) for k in file.keys()}  # noqa: SIM118  # safe_open is no mapping
        except SafetensorError as error:
            raise self._damaged(self.tensors, str(error)) from error
        for i, (found, wanted) in enumerate(zip(band_digests(tensors, len(digests)), digests, strict=True)):
            if found != wanted:
                raise self._damaged(self.tensors, f"band {i} is not what {self.description.name} describes")
        return tensors, described

    def _damaged(self, file: Path, why: str) -> CheckpointError:
        return CheckpointError(
            f"{file} is damaged ({why}). Remove {self.tensors.name} and {self.description.name} from {self.folder} and run again: "
            f"they are made anew from {file_name(self.n_q)}."
        )


def band_digests(tensors: Mapping[str, Tensor], bands: int) -> list[str]:
    """Return the sha256 of each band's names, types, shapes and values; bands side by side, for hashing 4.6 GB takes its time."""
    by_band: list[list[str]] = [sorted(k for k in tensors if k.startswith(f"{i}.")) for i in range(bands)]
    with ThreadPoolExecutor(max(1, bands)) as pool:  # hashlib lets other threads run
        return list(pool.map(lambda names: _digest({k.partition(".")[2]: tensors[k] for k in names}), by_band))


def identity(described: Sequence[Mapping[str, Any]], sample_rate: Any) -> str:
    """Return a hash of what the networks compute: configs and tensors, wherever the files lie."""
    text = json.dumps([sample_rate, list(described)], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _digest(tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.contiguous().view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _write(path: Path, fill: Callable[[Path], object]) -> None:
    """Fill a file under a name of its own and move it into place: whole or not there, whoever else writes it."""
    part = path.with_name(f"{path.name}.{uuid.uuid4().hex[:12]}.part")
    try:
        fill(part)
        with part.open("rb") as file:
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)

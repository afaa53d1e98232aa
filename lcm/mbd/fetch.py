"""Fetching a released file, on a machine with network. Jobs never do."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import torch

from lcm.errors import CheckpointError
from lcm.mbd.released import FILE_BYTES, REPOSITORY, REVISION, SHA256, file_name, own_cache
from lcm.offline import OFFLINE, offline
from lcm.paths import alone

_HUB = "https://huggingface.co"  # as in the hub's own tools, HF_ENDPOINT names another


def address(n_q: int) -> str:
    """Return where a released file is fetched from: a fixed revision of the publisher's repository."""
    return f"{os.environ.get('HF_ENDPOINT') or _HUB}/{REPOSITORY}/resolve/{REVISION}/{file_name(n_q)}"


def fetch(n_q: int, folder: str | None) -> Path:
    """Fetch a released file where it is missing, check its sha256 and move it into place.

    Args:
        n_q: 2, 4 or 8 codebooks.
        folder: Where to; None is this package's own cache.

    Returns:
        The file.

    Raises:
        CheckpointError: It cannot be fetched, is not the publisher's, or there is no room; it says what to do by hand.
    """
    target = (Path(folder).expanduser() if folder else own_cache()) / file_name(n_q)
    if offline():
        raise CheckpointError(f"{target.name} is not to be fetched here: {OFFLINE} is set. On the login node, unset it.")
    with alone(target.parent):
        if not target.exists():
            _room(target.parent)
            print(f"fetching {target.name} ({FILE_BYTES:,} bytes) from {REPOSITORY} to {target.parent}", flush=True)
            _download(address(n_q), target, SHA256[n_q])
    return target


def _download(url: str, target: Path, sha256: str) -> None:
    try:
        torch.hub.download_url_to_file(url, str(target), hash_prefix=sha256)  # by a partial file of its own, then a move
    except (OSError, RuntimeError) as error:  # urllib and sockets; a wrong digest
        raise CheckpointError(
            f"{target.name} could not be fetched from {url} ({error}). Fetch it by any other means, put it at {target} and run this again."
        ) from error


def _room(folder: Path) -> None:
    free = shutil.disk_usage(folder).free
    if free < 2 * FILE_BYTES:
        raise CheckpointError(
            f"{folder} has {free:,} bytes free; fetching and converting takes {2 * FILE_BYTES:,}. Make room, or name another folder by "
            "teacher.folder=FOLDER."
        )

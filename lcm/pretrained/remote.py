"""The Hugging Face hub: fetch a model, publish one. Only here is the network used."""

from __future__ import annotations

import os
from importlib import import_module
from pathlib import Path
from typing import Any

from lcm import hub
from lcm.errors import CheckpointError, LcmError
from lcm.offline import OFFLINE, offline
from lcm.pretrained.find import CARD, MODEL

_INSTALL = "pip install lcm-superres[hub]"


def fetched(repository: str) -> Path:
    """Return the folder of a repository's model and card: fetched, or from the cache where this process is offline.

    Args:
        repository: `owner/name`.

    Raises:
        CheckpointError: It is neither there nor in the cache; it says what to do.
    """
    cached = [folder for cache in hub.caches() for folder in hub.snapshots(cache, repository) if (folder / MODEL).exists()]
    by_hand = f"Or fetch {MODEL} and {CARD} of {repository} by any other means and name the folder that holds them."
    if offline() or os.environ.get("HF_HUB_OFFLINE") == "1":
        if cached:
            return cached[0]
        raise CheckpointError(
            f"There is no folder {repository} here, nor is it in the hub's cache, and {OFFLINE} or HF_HUB_OFFLINE forbids a download. "
            f"Fetch it on a machine with network, with the same HF_HOME. {by_hand}"
        )
    library = _library()
    if library is None and cached:
        return cached[0]
    if library is None:
        raise CheckpointError(
            f"There is no folder {repository} here; to fetch it from the hub, huggingface_hub is needed: `{_INSTALL}`. {by_hand}"
        )
    try:
        return Path(library.snapshot_download(repository, allow_patterns=[MODEL, CARD]))
    except Exception as error:  # HTTP, network and cache errors have no common type
        raise CheckpointError(
            f"There is no folder {repository} here, and it could not be fetched from the hub ({_first_line(error)}). "
            f"Check the name and the network; a private repository needs `hf auth login`. {by_hand}"
        ) from error


def push(folder: Path, repository: str, *, private: bool = False) -> str:
    """Publish a folder that `pack` wrote.

    Args:
        folder: With `model.safetensors`, `card.json` and `README.md`.
        repository: `owner/name`; made where it is missing.
        private: Whether a repository that is made is private.

    Returns:
        The address of what was published.

    Raises:
        LcmError: The folder is incomplete, huggingface_hub is missing, or the hub refused.
    """
    missing = [name for name in (MODEL, CARD, "README.md") if not (folder / name).exists()]
    if missing:
        raise LcmError(f"{folder} lacks {', '.join(missing)}: make it by `python -m lcm.pretrained pack RUN_FOLDER -o FOLDER`.")
    library = _library()
    if library is None:
        raise LcmError(f"To publish {folder}, huggingface_hub is needed: `{_INSTALL}`.")
    try:
        api = library.HfApi()
        api.create_repo(repository, private=private, exist_ok=True)
        made = api.upload_folder(repo_id=repository, folder_path=folder, allow_patterns=[MODEL, CARD, "README.md"])
    except Exception as error:  # as above
        raise LcmError(
            f"{folder} could not be published as {repository} ({_first_line(error)}). "
            "Log in by `hf auth login` with a token that may write."
        ) from error
    return str(getattr(made, "commit_url", made))


def _library() -> Any:
    """Return huggingface_hub, or None where it is not installed."""
    try:
        return import_module("huggingface_hub")
    except ImportError:
        return None


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__

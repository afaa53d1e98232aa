"""From what a user names to a file of weights and its card."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from lcm.codec import WEIGHTS
from lcm.errors import CheckpointError
from lcm.paths import Run

MODEL, CARD = "model.safetensors", "card.json"
SHIPPED = WEIGHTS / "student_small.safetensors"
_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def locate(source: str | Path) -> Path:
    """Return the file of weights that a source names, fetched if it is on the hub.

    Args:
        source: `shipped`, a file, a folder with a model or of a run, or `owner/name` on the hub.

    Raises:
        CheckpointError: There is none, or it is no safetensors file.
    """
    path = SHIPPED if source == "shipped" else Path(source).expanduser()
    if path.is_dir():
        return _inside(path)
    if path.exists():
        if path.suffix != ".safetensors":
            raise CheckpointError(
                f"{path} is no .safetensors file: pickled checkpoints may run code when they are read and are never opened. "
                f"Name a {MODEL}, as runs write it."
            )
        return path
    if source == "shipped":
        raise CheckpointError(f"The shipped model is not at {path}: reinstall the package, or name a model of your own.")
    if isinstance(source, str) and _REPOSITORY.fullmatch(source) and path.suffix != ".safetensors":
        from lcm.pretrained.remote import fetched

        return _inside(fetched(source))
    raise CheckpointError(
        f"There is no model at {source}: expected `shipped`, a {MODEL}, a folder that holds one, or `owner/name` on the Hugging Face hub."
    )


def _inside(folder: Path) -> Path:
    for file in (folder / MODEL, Run(folder).model):
        if file.exists():
            return file
    raise CheckpointError(f"{folder} holds neither {MODEL} nor checkpoints/{MODEL}: name another folder, or the file itself.")


def card_of(file: Path) -> dict[str, Any]:
    """Return the card beside a file of weights; an empty one where there is none.

    Raises:
        CheckpointError: It is damaged.
    """
    card = file.with_name(CARD) if file.name == MODEL else file.with_suffix(".json")
    if not card.exists():
        return {}
    try:
        return dict(json.loads(card.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise CheckpointError(f"The card {card} cannot be read ({error}): fetch it or pack the model again, or remove it.") from error

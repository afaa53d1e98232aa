"""What the settings of a run say: its auxiliary losses, and values that older configurations do not name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np


def setting(config: Mapping[str, Any], key: str) -> Any:
    """Return one setting of a flattened configuration; a loss that it does not name is off."""
    return config.get(key, 0.0 if config and loss_term(key) else None)


def loss_term(key: str) -> str:
    """Return the auxiliary loss that a setting switches on by its weight or share: "losses.auto.mr_stft" -> "mr_stft", else ""."""
    name = key.removeprefix("config.")
    return "" if name == "losses.auto_every" or not name.startswith("losses.") else name.removeprefix("losses.").removeprefix("auto.")


def loss_terms(config: Mapping[str, Any], keys: Iterable[str] | None = None) -> dict[str, float]:
    """List the auxiliary losses that are on.

    Args:
        config: settings by dotted key, with or without the prefix "config.".
        keys: settings to look at; all where none are given.

    Returns:
        Term -> its weight, or its share where that is calibrated (`losses.auto`).
    """
    values = {key: config.get(key) for key in (config if keys is None else keys) if loss_term(key)}
    numbers = {key: value for key, value in values.items() if isinstance(value, (int, float)) and not isinstance(value, bool)}
    return {loss_term(key): float(value) for key, value in numbers.items() if np.isfinite(value) and value != 0}

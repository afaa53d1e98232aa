"""What the settings of a run say: its auxiliary losses, and values that older configurations do not name."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

FIXED_AXES = ("objective.name", "blocks.partition", "train.steps")
NOT_AXES = (
    "seed", "train.seed", "root", "shards", "jobs", "debug", "scratch", "train.checkpoint_every", "train.wandb",
    "evaluate.samples", "evaluate.worst",
)  # fmt: skip
"""Settings that change no result."""


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
    return {loss_term(key): number for key, value in values.items() if (number := _number(value))}


def config_axes(configs: Iterable[Mapping[str, Any]]) -> list[str]:
    """List the dotted keys worth a column: those that vary between runs, and a few fixed ones.

    Args:
        configs: flattened configurations.

    Returns:
        Keys in the order they first appear; seeds are left out, they have a column of their own. Losses that are on stay.
    """
    levels: dict[str, set[Any]] = {}
    total, named = 0, Counter[str]()
    for config in filter(None, configs):
        total += 1
        named.update(config.keys())
        for key, value in config.items():
            levels.setdefault(key, set()).add(value)
    return [key for key, found in levels.items() if key not in NOT_AXES and (key in FIXED_AXES or _matters(key, found, named[key] < total))]


def _matters(key: str, found: set[Any], partly: bool) -> bool:
    """Tell whether values vary, counting what runs that do not name the key have, or switch a loss on."""
    absent = {setting({"": None}, key)} if partly else set()
    return len({str(value) for value in found | absent}) > 1 or bool(loss_terms({key: max(found, key=_size)}))


def _size(value: Any) -> float:
    return abs(_number(value))


def _number(value: Any) -> float:
    """Return a finite number as a float, 0 for anything else."""
    try:
        return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value) else 0.0
    except OverflowError:  # a whole number that no float can hold
        return 0.0


def text(value: Any) -> str:
    """Return a setting as text: numbers without trailing zeros, lists without spaces, "none" where there is none."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "none"
    return f"{value:g}" if isinstance(value, float) else str(value).replace(" ", "")


def as_text(settings: pd.DataFrame) -> pd.DataFrame:
    """Return settings as text; unlike `astype(str)`, which leaves what is missing as it is, in every version of pandas.

    Args:
        settings: any columns.
    """
    columns = {name: [text(value) for value in settings[name].astype(object)] for name in settings.columns}
    return pd.DataFrame(columns, index=settings.index, dtype=object)

"""The signature of a point: a hash of what decides its result.

Every path is replaced by its content's identity; seed and site settings are kept apart; only differences from the
defaults are hashed, so that a new field with its default leaves old signatures alone.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from sweeps.config import Config, to_dict

DEFAULTS = 2  # raise it when a default's value changes: a test pins the defaults to it
SITE = (
    *("root", "seed", "shards", "jobs", "scratch", "debug", "train.checkpoint_every"),
    # how the work is laid out: the same global batch gives the same curve to rounding
    *("train.devices", "train.accumulate", "train.activation_checkpointing", "train.estimate"),
    *("train.validate_every", "train.validate_clips"),
    *("corpus", "degradation", "codec", "teacher", "evaluate"),  # their contents' identities stand for them
)


def flatten(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested dictionaries as one with dotted keys."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        name = f"{prefix}{key}"
        flat.update(flatten(value, f"{name}.") if isinstance(value, dict) else {name: value})
    return flat


def signature(config: Config, contents: dict[str, str]) -> str:
    """Return the point's signature, 12 hex digits.

    Args:
        config: The resolved config.
        contents: Identities of what its paths lead to: codec, codes store, teacher, overlay.
    """
    default = flatten(to_dict(Config()))
    different = {k: v for k, v in flatten(to_dict(config)).items() if v != default.get(k) and not _is_site(k)}
    canonical = json.dumps({"defaults": DEFAULTS, "contents": contents, "config": different}, sort_keys=True)
    return hashlib.sha256(canonical.encode()).hexdigest()[:12]


def _is_site(key: str) -> bool:
    return any(key == name or key.startswith(f"{name}.") for name in SITE)

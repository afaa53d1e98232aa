"""The signature of a point: a hash of what decides its result.

Every path is replaced by its content's identity; seed and site settings are kept apart; only differences from the
defaults are hashed, so that a new field with its default leaves old signatures alone.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from typing import Any

from sweeps.config import Config, to_dict

DEFAULTS = 2  # raise it when a default's value changes: a test pins the defaults to it
SITE = (
    *("root", "seed", "shards", "jobs", "scratch", "debug", "train.checkpoint_every", "train.wandb"),
    # how the work is laid out: the same global batch gives the same curve to rounding
    *("train.devices", "train.accumulate", "train.activation_checkpointing", "train.estimate"),
    *("train.validate_every", "train.validate_clips"),
    *("corpus", "degradation", "codec", "teacher", "evaluate"),  # their contents' identities stand for them
)

ASKED = ("seed", "corpus", "degradation", "codec", "teacher", "evaluate")  # of these, what two points of one root may differ in


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
    default = _default()
    different = {k: v for k, v in flatten(to_dict(config)).items() if v != default.get(k) and not _is_site(k)}
    canonical = json.dumps({"defaults": DEFAULTS, "contents": contents, "config": different}, sort_keys=True)
    return hashlib.sha256(canonical.encode()).hexdigest()[:12]


def signatures(config: Config, contents: dict[str, str]) -> dict[str, str]:
    """Return the signatures that a point may get, by the precision it is trained in: several where that is found out on its node."""
    auto = config.train.precision == "auto"
    precisions = ("32-true", "16-mixed", "bf16-mixed") if auto else (config.train.precision,)
    return {name: signature(replace(config, train=replace(config.train, precision=name)), contents) for name in precisions}


def key(config: Config) -> str:
    """Return a hash of all that a point is and is evaluated by, as far as its config says; of one root, two with one key are the same."""
    asked = {name: value for name, value in flatten(to_dict(config)).items() if not _is_site(name) or name.split(".")[0] in ASKED}
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:12]


def _default() -> dict[str, Any]:
    return flatten(to_dict(Config()))


def _is_site(key: str) -> bool:
    return any(key == name or key.startswith(f"{name}.") for name in SITE)

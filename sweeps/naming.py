"""What a person calls a point: its differences from the defaults."""

from __future__ import annotations

import json
from typing import Any

from sweeps.config import Config, to_dict
from sweeps.identity import SITE, flatten

_SHOWN = "teacher"  # which teacher tells points of one root apart; corpus, degradation and codec are one root's own


def point_name(config: Config) -> str:
    """Return a point's name such as `blocks.partition=[4,4] objective.stages=2`; `default` where it differs in nothing.

    Args:
        config: The config as it was asked for. Seed, site settings and what a whole root has in common are left out.
    """
    default = flatten(to_dict(Config()))
    different = {key: value for key, value in flatten(to_dict(config)).items() if value != default.get(key) and not _is_left_out(key)}
    return " ".join(f"{key}={_text(value)}" for key, value in different.items()) or "default"


def _is_left_out(key: str) -> bool:
    return any(key == name or key.startswith(f"{name}.") for name in SITE if name != _SHOWN)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))

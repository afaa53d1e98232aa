"""Thousands of configurations that are nearly equal, parsed in the time of a few: a top-level block is parsed once for each text it has."""

from __future__ import annotations

import json
import re
from functools import lru_cache
from typing import Any

import yaml

_BLOCK = re.compile(r"^(?=[A-Za-z_][\w.]*:(?:[ \n]|$))", re.MULTILINE)
_WHOLE = re.compile(r"^(?:---|\.\.\.|%|[\[{&*!|>?])|[&*][A-Za-z]|[|>][+-]?\d*$", re.MULTILINE)
"""What lets a block depend on another, or lines of it look like the start of one: then the document is parsed as a whole."""


def parse_config(text: str) -> dict[str, Any]:
    """Parse a config.yaml and flatten it to dotted keys.

    Args:
        text: a YAML document whose top is a mapping.

    Returns:
        Dotted key -> str, number, bool or None; lists as their JSON text. {} where the document is no mapping.

    Raises:
        yaml.YAMLError: it is not YAML.
    """
    blocks = [block for block in _BLOCK.split(text) if block.strip()]
    if not _WHOLE.search(text):
        parsed = [_parse_block(block) for block in blocks]
        if all(found is not None for found in parsed):
            return {key: value for found in parsed if found for key, value in found}
    tree = yaml.safe_load(text)
    return flatten(tree) if isinstance(tree, dict) else {}


@lru_cache(maxsize=20_000)
def _parse_block(block: str) -> tuple[tuple[str, Any], ...] | None:
    """Return the flattened items of a block that holds one key; None where it is anything else."""
    try:
        tree = yaml.safe_load(block)
    except yaml.YAMLError:  # it makes sense with its neighbours alone
        return None
    if tree is None and all(not line or line.startswith("#") for line in block.splitlines()):
        return ()
    return tuple(flatten(tree).items()) if isinstance(tree, dict) and len(tree) == 1 else None


def flatten(tree: Any, prefix: str = "") -> dict[str, Any]:
    """Flatten nested mappings to dotted keys; lists become their JSON text, so that they can be compared.

    Args:
        tree: a parsed YAML document.
        prefix: dotted key of `tree` itself.

    Returns:
        Dotted key -> str, number, bool or None.
    """
    if isinstance(tree, dict):
        return {k: v for key, sub in tree.items() for k, v in flatten(sub, f"{prefix}.{key}" if prefix else str(key)).items()}
    if isinstance(tree, (list, tuple, set)):
        return {prefix: json.dumps(list(tree), default=str)}
    return {prefix: tree}

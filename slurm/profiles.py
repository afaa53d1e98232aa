"""Find and read cluster profiles: YAML files, one over another, with words of the command line over both.

YAML's traps are closed here: `time: 12:00:00` stays a time, `umask: 002` stays a mask, `on` and `no` are words.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from lcm.errors import LcmError

FOLDERS = "LCM_CLUSTERS"  # environment variable: folders of profiles, separated as in PATH
_SHIPPED = Path(__file__).parent / "clusters"


class ClusterError(LcmError):
    """A cluster profile is unknown, or a value in it is; the message names both and what there is instead."""


class _Loader(yaml.SafeLoader):  # type: ignore[misc]  # yaml carries no types
    """YAML whose plain words are what they look like: 1.1 reads 12:00:00 as 43200, 002 as 2 and `on` as true."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 (the base's own is one too)


for _tag, _pattern, _first in (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?(0|[1-9][0-9]*)", "-+0123456789"),
    ("float", r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", "-+0123456789."),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
):
    # `002` must not fall through from int to float, hence the look-ahead
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(rf"^(?![-+]?0[0-9])(?:{_pattern})$"), list(_first))


def profile_folders() -> list[Path]:
    """Return where profiles are looked for, first match first: `LCM_CLUSTERS`, the user's own, those that ship."""
    named = [Path(folder).expanduser() for folder in os.environ.get(FOLDERS, "").split(os.pathsep) if folder]
    return [*named, Path.home() / ".config" / "lcm" / "clusters", _SHIPPED]


def find_profile(name: str) -> Path:
    """Return the file of a profile.

    Args:
        name: Name of a profile, or a path that ends in .yaml.

    Raises:
        ClusterError: There is none; those that exist are named with their folders.
    """
    if name.endswith((".yaml", ".yml")):
        path = Path(name).expanduser()
        if path.is_file():
            return path
        raise ClusterError(f"No cluster profile at {path.absolute()}. Copy template.yaml from {_SHIPPED} there and fill it in.")
    for folder in profile_folders():
        if (path := folder / f"{name}.yaml").is_file():
            return path
    there = "\n".join(f"  {folder}: {', '.join(names)}" for folder in profile_folders() if (names := _names(folder)))
    every = [known for folder in profile_folders() for known in _names(folder)]
    raise ClusterError(
        f"No cluster profile {name!r}.{did_you_mean(name, every)} There are:\n{there}\n"
        f"For one of your own copy {_SHIPPED / 'template.yaml'} to ~/.config/lcm/clusters/{name}.yaml, or give a path that ends in .yaml."
    )


def read_profile(name: str, overrides: Sequence[str], valid: Collection[str]) -> tuple[dict[str, Any], str]:
    """Read a profile over the one that it names as its `base`, with words over both.

    Args:
        name: As for `find_profile`.
        overrides: Words such as `partition=high`, `flags.reservation=night`, `setup=[module load cuda]`.
        valid: Names of the fields.

    Returns:
        Values by field, and where they come from, for error messages.

    Raises:
        ClusterError: The file cannot be read, has unknown keys, or a word is none of the form KEY=VALUE.
    """
    path = find_profile(name)
    values = _read(path, valid, ())
    for word in overrides:
        _override(values, word, valid)
    return {"name": path.stem, **values}, str(path) + (f" with {' '.join(overrides)}" if overrides else "")


def check_keys(keys: Collection[Any], valid: Collection[str], where: str) -> None:
    """Refuse keys that are not fields.

    Raises:
        ClusterError: One is not; it is named with the nearest and all valid ones.
    """
    for key in keys:
        if key not in valid:
            raise ClusterError(f"Unknown key {key!r} in {where}.{did_you_mean(str(key), valid)} Valid keys: {', '.join(sorted(valid))}.")


def did_you_mean(word: str, known: Collection[str]) -> str:
    """Return ` Did you mean ...?` for the nearest known word, or nothing."""
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f" Did you mean {near[0]!r}?" if near else ""


def _names(folder: Path) -> list[str]:
    return sorted(path.stem for path in folder.glob("*.yaml")) if folder.is_dir() else []


def _read(path: Path, valid: Collection[str], above: tuple[Path, ...]) -> dict[str, Any]:
    if path in above:
        raise ClusterError(f"The cluster profile {path} is its own base ({' -> '.join(map(str, (*above, path)))}). Give it another name.")
    values = _parse(_text(path), str(path))
    if values is None:
        values = {}
    if not isinstance(values, dict):
        raise ClusterError(f"The cluster profile {path} holds a {type(values).__name__}, expected lines of `key: value`.")
    base = values.pop("base", None)
    check_keys(values, valid, f"the cluster profile {path}")
    return {**(_read(find_profile(str(base)), valid, (*above, path)) if base else {}), **values}


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ClusterError(f"The cluster profile {path} cannot be read: {error}.") from error


def _parse(text: str, where: str) -> Any:
    try:
        return yaml.load(text, _Loader)  # a SafeLoader
    except yaml.YAMLError as error:
        raise ClusterError(f"{where} is not YAML: {error}") from error


def _override(values: dict[str, Any], word: str, valid: Collection[str]) -> None:
    key, equals, text = word.partition("=")
    if not equals:
        raise ClusterError(f"{word!r} is not of the form KEY=VALUE, such as partition=high.")
    name, dot, inner = key.strip().partition(".")
    check_keys([name], valid, f"{word!r}")
    value = _parse(text, repr(word))
    if not dot:
        values[name] = "" if value is None else value
    elif isinstance(values.get(name) or {}, dict):
        values[name] = {**(values.get(name) or {}), inner: value}
    else:
        raise ClusterError(f"{word!r}: {name} holds {values[name]!r}, which has no {inner!r} inside.")


def words(texts: Sequence[str]) -> Iterator[str]:
    """Yield the items of comma-separated lists, without blanks. Commas inside brackets, as in `node[1,3]`, separate nothing."""
    for text in texts:
        yield from (item.strip() for item in re.split(r",(?![^\[]*\])", text) if item.strip())

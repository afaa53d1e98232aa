"""Who speaks, and what an utterance is called, read from paths."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from pathlib import PurePosixPath

MAX_ID_BYTES = 160  # ids name folders, which most file systems limit to 255 bytes
_PREFIX_SHARE = 0.8  # with more prefixes than this a file they number the files rather than name speakers
_FOLDERS_EACH = 1.5  # prefixes found in more folders than this are words or counters, such as `001_` in each


def match_speakers(relative_paths: Sequence[str], pattern: str) -> list[str | None]:
    """Return the pattern's group `speaker` for each path, None where it does not match."""
    matches = [re.search(pattern, path) for path in relative_paths]
    return [(match["speaker"] or None) if match else None for match in matches]


def guess_speakers(paths_in_folders: Sequence[str]) -> tuple[list[str], str]:
    """Guess who speaks in each file of a tree, from the paths alone.

    The speaker is the part of the file's name before the first `_`, as in `p225_001.wav` or
    `1089_134691_000052.wav`, if every name has one, several files share one, and the same one
    rarely appears in different folders. Otherwise it is the name of the folder that the file lies in.
    This is a guess: where it is wrong, state a `speaker_pattern`.

    Args:
        paths_in_folders: Paths with `/` that begin with the name of their root.

    Returns:
        A speaker for each path, and the rule in words.
    """
    paths = [PurePosixPath(path) for path in paths_in_folders]
    prefixes = [path.stem.split("_")[0] if "_" in path.stem else "" for path in paths]
    places = {(prefix, str(path.parent)) for prefix, path in zip(prefixes, paths, strict=True)}
    distinct = len(set(prefixes))
    if all(prefixes) and 1 < distinct <= _PREFIX_SHARE * len(paths) and len(places) <= _FOLDERS_EACH * distinct:
        return prefixes, "the file name up to the first '_'"
    return [path.parent.name for path in paths], "the folder that the file lies in"


def utterance_ids(wished: Sequence[str], keys: Sequence[str]) -> list[str]:
    """Make ids unique and fit to name a folder.

    Args:
        wished: An id for each file, perhaps shared.
        keys: What tells the files apart; an id that is shared or shortened gets eight digits of its hash.

    Returns:
        An id for each file, whatever the order of the files.
    """
    clean = [safe_name(name) for name in wished]
    seen: dict[str, int] = {}
    for name in clean:
        seen[name] = seen.get(name, 0) + 1
    return [name if seen[name] == 1 and _fits(name) else _with_hash(name, key) for name, key in zip(clean, keys, strict=True)]


def safe_name(name: str) -> str:
    """Replace what a folder's name, a key or a record cannot hold: slashes, `|`, `*`, control characters, a leading dot."""
    text = name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    text = re.sub(r"[/\\|*\x00-\x1f\x7f]", "_", text)
    return "_" + text[1:] if text[:1] in {".", ""} else text


def _fits(name: str) -> bool:
    return len(name.encode()) <= MAX_ID_BYTES


def _with_hash(name: str, key: str) -> str:
    """Cut a name to a length that fits and add a hash of its key."""
    head = name.encode()[: MAX_ID_BYTES - 9].decode("utf-8", "ignore")
    return f"{head}~{hashlib.sha256(key.encode('utf-8', 'surrogateescape')).hexdigest()[:8]}"

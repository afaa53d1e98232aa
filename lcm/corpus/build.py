"""From recordings to a manifest: list, inspect, split, write, summarise."""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import track
from rich.table import Table

from lcm.audio import AudioError
from lcm.corpus.config import CorpusConfig, CorpusError
from lcm.corpus.inspection import Limits, Recording, inspect
from lcm.corpus.manifest import SPLITS, Manifest, Utterance, read_facts, write_table
from lcm.corpus.sources import Candidate, Listing, list_candidates
from lcm.corpus.splits import Item, assign, limit

VERSION = 1  # raise it when the same files and settings would give another manifest
_MAX_THREADS = 8


def build(config: CorpusConfig, out: Path | str, console: Console | None = None) -> Manifest:
    """Build a corpus, or return it if neither the settings nor the files have changed.

    Writes manifest.csv, manifest.json and rejected.csv, and prints a summary.

    Args:
        config: What to read.
        out: Folder of the corpus; it is made.
        console: Where the summary goes; default: standard output.

    Returns:
        The manifest.

    Raises:
        CorpusError: The source cannot be read, or nothing is left to train or test on.
    """
    out, console = Path(out).absolute(), console or Console()
    listing = list_candidates(config, out)
    state = _state(config, listing)
    if _is_current(out, state):
        console.print(f"Corpus: nothing to do, {escape(str(out))} is current.", highlight=False)
        manifest = Manifest.read(out)
    else:
        manifest = _build(config, listing, out, state, console)
    print_summary(manifest, read_facts(out), console)
    return manifest


def current(config: CorpusConfig, out: Path | str) -> Manifest | None:
    """Return a corpus where neither the settings nor the files have changed since it was built; None otherwise. Nothing is written.

    Raises:
        CorpusError: The source cannot be read.
    """
    out = Path(out).absolute()
    if not (out / "manifest.json").is_file():
        return None
    return Manifest.read(out) if _is_current(out, _state(config, list_candidates(config, out))) else None


def _build(config: CorpusConfig, listing: Listing, out: Path, state: str, console: Console) -> Manifest:
    """Inspect, split and write."""
    (out / "manifest.json").unlink(missing_ok=True)  # from here to the end the folder holds no whole corpus
    limits = Limits(config.min_sample_rate_hz, config.min_bandwidth_hz, config.max_utterance_seconds)
    recordings, refused = _inspect_all(listing.candidates, limits, console)
    rejected = sorted(listing.rejected + [(_relative(c.path, listing.root), reason) for c, reason in refused])
    write_table(out / "rejected.csv", ("path", "reason"), rejected)
    counts = dict(sorted(Counter(reason.split(":")[0] for _, reason in rejected).items()))
    if not recordings:
        raise CorpusError(_nothing_left(config, listing, out, counts))
    items = [Item(c.utterance, c.speaker, r.seconds, c.split) for c, r in recordings]
    splits, warnings = assign(items, config.valid_fraction, config.test_fraction, config.seed)
    _check_splits(config, splits, len(items))
    kept = limit(items, splits, config.max_seconds) if config.max_seconds is not None else set(splits)
    rows = [_utterance(c, r, splits[c.utterance], listing.root) for c, r in recordings if c.utterance in kept]
    manifest = Manifest(tuple(sorted(rows, key=lambda row: row.utterance)), listing.root)
    left_out = len(items) - len(rows)
    facts = {"source": config.source, "rejected": counts, "left_out": left_out, "notes": listing.notes}
    manifest.write(out, {**facts, "warnings": warnings + _copies(manifest), "state": state})
    return manifest


def _inspect_all(
    candidates: Sequence[Candidate], limits: Limits, console: Console
) -> tuple[list[tuple[Candidate, Recording]], list[tuple[Candidate, str]]]:
    """Inspect every candidate; threads suffice, for decoding and hashing release the interpreter's lock."""

    def look(candidate: Candidate) -> Recording | str:
        try:
            return inspect(candidate.path, limits)
        except AudioError as error:
            return error.reason

    threads = min(_MAX_THREADS, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1)
    with ThreadPoolExecutor(threads) as pool:
        results = list(track(pool.map(look, candidates), "Inspecting recordings", len(candidates), console=console, transient=True))
    pairs = list(zip(candidates, results, strict=True))
    return [(c, r) for c, r in pairs if isinstance(r, Recording)], [(c, r) for c, r in pairs if isinstance(r, str)]


def _utterance(candidate: Candidate, recording: Recording, split: str, root: Path) -> Utterance:
    """Return the manifest's row."""
    return Utterance(candidate.utterance, _relative(candidate.path, root), candidate.speaker, split, **asdict(recording))


def _relative(path: Path, root: Path) -> str:
    """Return a path relative to the root where it lies inside."""
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.as_posix()


def _state(config: CorpusConfig, listing: Listing) -> str:
    """Return a digest of the settings and of every file's path, size and time of change."""
    rows: list[Any] = [VERSION, asdict(config), sorted(listing.rejected)]
    for candidate in sorted(listing.candidates, key=lambda c: c.utterance):
        try:
            stat = candidate.path.stat()
            rows.append([str(candidate.path), candidate.utterance, stat.st_size, stat.st_mtime_ns])
        except OSError:
            rows.append([str(candidate.path), candidate.utterance])
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()[:16]


def _is_current(out: Path, state: str) -> bool:
    """Whether the corpus in a folder was built from this state."""
    if not all((out / name).is_file() for name in ("manifest.csv", "manifest.json", "rejected.csv")):
        return False
    return read_facts(out).get("state") == state


def _copies(manifest: Manifest) -> list[str]:
    """Warn of files that are byte for byte the same in more than one split."""
    places: dict[str, set[str]] = {}
    for row in manifest.utterances:
        places.setdefault(row.sha256, set()).add(row.split)
    number = sum(len(splits) > 1 for splits in places.values())
    return [f"{number} recording(s) are in more than one split as identical files. Remove the copies."] if number else []


def _check_splits(config: CorpusConfig, splits: dict[str, str], total: int) -> None:
    """Refuse a corpus without training or test speech."""
    needed = ["train", *(["test"] if config.test_fraction or config.test_root else [])]
    if missing := [name for name in needed if name not in splits.values()]:
        raise CorpusError(f"No recording is left for the {' and the '.join(missing)} split: {total} usable in all. Add recordings.")


def _nothing_left(config: CorpusConfig, listing: Listing, out: Path, counts: dict[str, int]) -> str:
    """Say why there is no corpus."""
    if not counts:
        return f"No recording in {listing.root} for source {config.source!r}. Is it the right folder, with .wav, .flac, .ogg or .mp3 files?"
    reasons = ", ".join(f"{number} {reason}" for reason, number in counts.items())
    return f"Every recording in {listing.root} was rejected ({reasons}). Reasons for each file are in {out / 'rejected.csv'}."


def print_summary(manifest: Manifest, facts: dict[str, Any], console: Console) -> None:
    """Print what a corpus holds.

    Args:
        manifest: The corpus.
        facts: Its manifest.json.
        console: Where to print.
    """
    table = Table(title=f"Corpus {facts.get('source', '')} {manifest.identity}", title_justify="left")
    for heading in ("split", "speakers", "utterances", "minutes"):
        table.add_column(heading, justify="left" if heading == "split" else "right")
    for name in SPLITS:
        rows = manifest.split(name)
        table.add_row(name, str(len({u.speaker for u in rows})), str(len(rows)), f"{sum(u.seconds for u in rows) / 60:.1f}")
    console.print(table)
    rejected = facts.get("rejected", {})
    detail = ", ".join(f"{number} {reason}" for reason, number in rejected.items())
    console.print(f"Rejected: {sum(rejected.values())}" + (f" ({detail}), see rejected.csv" if rejected else ""), highlight=False)
    if facts.get("left_out"):
        console.print(f"Left out beyond max_seconds: {facts['left_out']}", highlight=False)
    for kind, colour in (("notes", "dim"), ("warnings", "yellow")):
        for line in facts.get(kind, ()):
            console.print(f"[{colour}]{kind[:-1].capitalize()}:[/] {escape(line)}", highlight=False)

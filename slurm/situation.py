"""The state of the stores of a folder with what submissions and logs add: what waits in the queue, and how silent jobs ended."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lcm.store import StorePaths
from slurm.history import read_all_progress
from slurm.last_words import last_words, words_of
from slurm.scheduler import SchedulerError
from slurm.status import Status, read_status, remarks
from slurm.submission import Submissions
from slurm.submit import busy_shards, live_jobs

Live = Mapping[str, Collection[str]]
_NAMED = 5


@dataclass(frozen=True)
class Situation:
    """One store's state.

    Attributes:
        status: What its folder says.
        silent: Last logged line of the job of each shard that is missing without a heartbeat.
        notes: What a person should know beside the table, a line each.
    """

    status: Status
    silent: dict[int, str]
    notes: list[str]

    @property
    def errors(self) -> dict[int, str]:
        """Error of each shard that failed, whether or not its job could say so itself."""
        return dict(sorted({**self.silent, **self.status.errors}.items()))


def situations(stores: Sequence[Path]) -> list[Situation]:
    """Return the situation of each store."""
    live: dict[Path, tuple[Live, str]] = {}
    found = []
    for store in stores:
        place = place_of(store)
        if place not in live:
            live[place] = _live(place)
        found.append(_situation(store, place, *live[place]))
    return found


def place_of(store: Path) -> Path:
    """Return the folder that holds a store's submissions: itself, or the root that it is part of."""
    return next((place for place in (store, *store.parents[:2]) if Submissions(place).folder.is_dir()), store)


def stage_of(store: Path, place: Path) -> str:
    """Return what submissions call a store."""
    if store == place:
        return "fill"
    return "codes" if store.name == "codes" else "overlay"


def _live(place: Path) -> tuple[Live, str]:
    """Return the live jobs; where SLURM does not answer, none and why: status must not depend on it."""
    try:
        return live_jobs(place), ""
    except SchedulerError as error:
        return {}, f"what waits in the queue is not known: {error}"


def _situation(store: Path, place: Path, live: Live, unknown: str) -> Situation:
    stage = stage_of(store, place)
    status = read_status(store, queued=busy_shards(place, stage, live))
    heard = {progress.shard for progress in read_all_progress(StorePaths(store))} if "missing" in status.states else set()
    missing = {shard for shard, state in enumerate(status.states) if state == "missing" and shard not in heard}
    silent = last_words(place, stage, missing, live) if missing and not unknown else {}
    notes = [*([unknown] if unknown else []), *remarks(status), *_said(silent)]
    if not status.finished and not unknown:
        notes += [f"{other}: {line}" for other in (f"merge {stage}", "teacher") if (line := words_of(place, other, live))]
    return Situation(status, silent, notes)


def _said(silent: Mapping[int, str]) -> list[str]:
    """Return each line once with its shards."""
    by_line: dict[str, list[int]] = {}
    for shard, line in sorted(silent.items()):
        by_line.setdefault(line.partition(" (job ")[0], []).append(shard)
    lines = [f"{len(shards)} shards, the first {shards[0]}, ended before they began: {silent[shards[0]]}" for shards in by_line.values()]
    return lines[:_NAMED]

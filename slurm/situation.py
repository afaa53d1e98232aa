"""The state of the stores of a folder with what submissions and logs add: what waits in the queue, and how silent jobs ended."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from lcm.paths import Root
from lcm.store import StorePaths
from slurm import scheduler
from slurm.history import read_all_progress
from slurm.last_words import last_words, words_of
from slurm.scheduler import SchedulerError
from slurm.status import Status, read_status, remarks
from slurm.submission import Submissions
from slurm.submit import busy_shards

Live = Mapping[str, Collection[str]]
_NAMED = 5
_LEAST_FREE_BYTES = 8_000_000


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
    live: dict[Path, tuple[Live, Collection[str] | None, str]] = {}
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


def targets_of(store: Path, place: Path) -> list[str]:
    """Return the keys of the settings that submissions to a store carry."""
    stage = stage_of(store, place)
    if stage != "overlay":
        return sorted({s.target for s in Submissions(place) if s.stage == stage} | {""})
    return [path.stem for path in sorted(store.parent.glob("*.json")) if _leads_to(path, store)]


def _leads_to(path: Path, store: Path) -> bool:
    try:
        return bool(json.loads(path.read_text(encoding="utf-8")).get("folder") == store.name)
    except (OSError, ValueError, AttributeError):
        return False


def _live(place: Path) -> tuple[Live, Collection[str] | None, str]:
    """Return a place's live jobs and all of this user's; where SLURM does not answer none, unknown, and why: status must not need it."""
    submissions = Submissions(place)
    try:
        jobs = scheduler.live_jobs() if any(s.kind == "slurm" for s in submissions) else None
    except SchedulerError as error:
        return {}, None, f"what waits in the queue is not known: {error}"
    return submissions.live(jobs or {}), jobs, ""


def _situation(store: Path, place: Path, live: Live, alive: Collection[str] | None, unknown: str) -> Situation:
    stage, targets = stage_of(store, place), targets_of(store, place)
    busy = {shard for target in targets for shard in busy_shards(place, stage, live, target)}
    status = read_status(store, queued=busy, alive=alive)
    heard = {progress.shard for progress in read_all_progress(StorePaths(store))} if "missing" in status.states else set()
    missing = {shard for shard, state in enumerate(status.states) if state == "missing" and shard not in heard}
    silent = last_words(place, stage, targets, missing, live) if missing and not unknown else {}
    notes = [*_room(store), *([unknown] if unknown else []), *remarks(status), *_said(silent)]
    if not unknown and (not status.finished or (stage == "codes" and _lacks_overlay(place))):
        notes += [f"{other}: {line}" for other in (f"merge {stage}", "teacher") if (line := words_of(place, other, targets, live))]
    if stage == "codes":
        notes += _ahead(place, live)
    return Situation(status, silent, notes)


def _ahead(root: Path, live: Live) -> list[str]:
    """Say what of a root is not in the table yet: jobs beside those of the codes, and an overlay that is still to be planned."""
    submissions, jobs = Submissions(root), Counter[str]()
    for name, ids in live.items():
        jobs[submissions.read(name).stage] += len(ids)
    del jobs["codes"]
    queue = [f"jobs that wait or run: {', '.join(f'{stage} {count}' for stage, count in jobs.items())}"] if jobs else []
    return [*queue, *(["the overlay is planned when the codes are merged and the teacher is there"] if _lacks_overlay(root) else [])]


def _lacks_overlay(root: Path) -> bool:
    """Say whether a root is to hold an overlay and none has been planned: then what was to plan it has something to say."""
    try:
        asked = yaml.safe_load(Root(root).generate.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return False
    overlays = Root(root).overlay("any").parent
    return bool(asked["teacher"]["name"] != "original") and not any(overlays.glob("*/plan.json"))


def _room(store: Path) -> list[str]:
    """Say so where the disk is full: heartbeats cannot be written then, and what the table says may be old."""
    try:
        free = shutil.disk_usage(store).free
    except OSError:
        return []
    return [f"no room on the disk of {store}: {free / 1e6:.1f} MB left; make room, then submit again"] if free < _LEAST_FREE_BYTES else []


def _said(silent: Mapping[int, str]) -> list[str]:
    """Return each line once with its shards."""
    by_line: dict[str, list[int]] = {}
    for shard, line in sorted(silent.items()):
        by_line.setdefault(line.partition(" (job ")[0], []).append(shard)
    lines = [f"{len(shards)} shards, the first {shards[0]}, ended before they began: {silent[shards[0]]}" for shards in by_line.values()]
    return lines[:_NAMED]

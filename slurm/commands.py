"""One function an act: words and flags in, lines on the terminal and an exit code out."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from lcm.errors import LcmError
from lcm.paths import Root
from lcm.store import StorePaths
from slurm.cli import folder_of
from slurm.status import as_table

if TYPE_CHECKING:
    from slurm.situation import Situation

_WATCH_S = 3.0


def plan(words: Sequence[str], _: set[str]) -> int:
    """Print what would run."""
    from slurm.config import store_and_rest
    from slurm.report import report

    folder, rest = store_and_rest(words)
    Console(highlight=False).print(*report(folder, rest), sep="\n", soft_wrap=True, markup=False)
    return 0


def submit(words: Sequence[str], _: set[str]) -> int:
    """Submit what is missing."""
    from slurm import acts

    return _with_root(words, lambda folder, rest: acts.submit(folder, rest).lines)


def retry(words: Sequence[str], _: set[str]) -> int:
    """Submit also what was given up."""
    from slurm import acts

    return _with_root(words, lambda folder, rest: acts.submit(folder, rest, retry=True).lines)


def calibrate(words: Sequence[str], _: set[str]) -> int:
    """Measure."""
    from slurm import acts

    limits = [word.partition("=")[2] for word in words if word.startswith("seconds=")]
    words = [word for word in words if not word.startswith("seconds=")]
    try:
        limit_s = float(limits[-1]) if limits else 120.0
    except ValueError:
        raise LcmError(f"seconds={limits[-1]} is no number of seconds.") from None
    code = _with_root(words, lambda folder, rest: acts.calibrate(folder, rest, limit_s=limit_s).lines)
    print("`python -m slurm plan` shows the estimate when it has ended")
    return code


def merge(words: Sequence[str], _: set[str]) -> int:
    """Merge here and now."""
    from slurm import acts

    return _with_root(words, lambda folder, _: acts.merge(folder), alone=True)


def cancel(words: Sequence[str], _: set[str]) -> int:
    """Cancel all jobs."""
    from slurm import acts

    return _with_root(words, lambda folder, _: acts.cancel(folder), alone=True)


def status(words: Sequence[str], flags: set[str]) -> int:
    """Show the state of every store in a folder."""
    from slurm.situation import situations

    stores = _stores(words)
    if "--watch" in flags:
        with Live(_shown(situations(stores)), refresh_per_second=2) as live:
            while True:
                time.sleep(_WATCH_S)
                live.update(_shown(situations(stores)))
    found = situations(stores)
    if "--failed" in flags:
        _say(f"{one.status.folder.name} shard {shard}: {error}" for one in found for shard, error in one.errors.items())
    else:
        Console().print(_shown(found))
    return 1 if any(one.errors for one in found) else 0


def verify(words: Sequence[str], flags: set[str]) -> int:
    """Read every shard of every store in a folder; nothing is changed unless damaged shards are to be set aside."""
    from slurm.verify import set_aside
    from slurm.verify import verify as check

    damaged = 0
    for store in _stores(words):
        problems = check(store)
        damaged += len(problems)
        _say([*problems, f"{store.name}: {f'{len(problems)} problems' if problems else 'every shard that is there is whole'}"])
        if "--set-aside" in flags:
            _say(f"set aside: {path}; submit makes it again" for path in set_aside(store, problems))
    return 1 if damaged else 0


def doctor(words: Sequence[str], flags: set[str]) -> int:
    """Examine cluster, nodes and file system."""
    from slurm.config import configure, store_and_rest
    from slurm.doctor import examine

    folder, rest = store_and_rest(words)
    worst = 0
    config = configure(folder, rest)
    for finding in examine(folder, config.profile(), probe="--no-probe" not in flags, codec=config.codec, teacher=config.teacher):
        todo = f"\n         -> {finding.todo}" if finding.todo else ""
        print(f"{finding.level:8} {finding.name}: {finding.text}{todo}", flush=True)
        worst = max(worst, finding.level == "failure")
    return worst


def prefetch(words: Sequence[str], _: set[str]) -> int:
    """Fetch all weights."""
    from slurm.config import configure, store_and_rest
    from slurm.prefetch import prefetch as fetch

    folder, rest = store_and_rest(words)
    config = configure(folder, rest)
    return _say(fetch(config.codec, config.teacher))


def compare(words: Sequence[str], _: set[str]) -> int:
    """Compare two finished stores."""
    from slurm.compare import compare as difference

    if len(words) != 2:
        raise LcmError("Name two stores: python -m slurm compare STORE STORE.")
    Console().print(difference(folder_of(words[0]), folder_of(words[1])))
    return 0


def _with_root(words: Sequence[str], act: Callable[[Path, list[str]], Iterable[str]], *, alone: bool = False) -> int:
    from slurm.config import ConfigError, store_and_rest

    folder, rest = store_and_rest(words)
    if alone and rest:
        raise ConfigError(f"This act takes store=FOLDER alone; given also: {' '.join(rest)}.")
    return _say(act(folder, rest))


def _say(lines: Iterable[str]) -> int:
    for line in lines:
        print(line, flush=True)
    return 0


def _stores(words: Sequence[str]) -> list[Path]:
    """Return the stores of a folder, which may be a root or itself a store."""
    if len(words) != 1:
        raise LcmError(f"Name one folder by store=FOLDER, not: {' '.join(words) or 'none'}.")
    folder = folder_of(words[0].removeprefix("store=").removeprefix("root="))
    if StorePaths(folder).plan.exists():
        return [folder]
    overlays = Root(folder).overlay("any").parent
    found = [Root(folder).codes, *(sorted(overlays.iterdir()) if overlays.is_dir() else [])]
    stores = [store for store in found if StorePaths(store).plan.exists()]
    if not stores:
        raise LcmError(f"{folder} is not a store, and no store has been planned in it: run `python -m slurm plan store={folder}` first.")
    return stores


def _shown(found: Sequence[Situation]) -> RenderableType:
    notes = [f"{one.status.folder.name}: {note}" for one in found for note in one.notes]
    return Group(as_table([one.status for one in found]), *(Text(note) for note in notes))

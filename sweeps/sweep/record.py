"""A sweep as it was submitted, on disk: its points, the profile of its jobs, the code they run."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from lcm.errors import LcmError
from lcm.paths import Root, SweepFolder, write_text


@dataclass(frozen=True)
class SweepPoint:
    """One point with one seed.

    Attributes:
        number: Its number in the sweep; names its config, log and place.
        name: What a person calls it: the overrides that make it, such as `blocks.partition=[4,4] seed=1`.
        seed: Its seed.
        key: Hash of the frozen config without site settings, and the seed: two points of one root with one key are the same.
        run: Name of its run folder, `SIGNATURE-sSEED`, where that was known at submit; else empty, and its job writes it to its place.
        devices: Processes that train it together.
    """

    number: int
    name: str
    seed: int
    key: str
    run: str = ""
    devices: int = 1


@dataclass(frozen=True)
class Sweep:
    """One sweep.

    Attributes:
        name: Time and a random part; names its folder.
        label: What it is about, such as `ablation=codebook_blocks`.
        created: UTC.
        command: The command line.
        commit: Commit of the code at submit.
        cluster: Name of the cluster profile, and words over it.
        launcher: The launcher's other settings.
        points: Its points, in order.
    """

    name: str
    label: str
    created: str
    command: str
    commit: str
    cluster: list[str]
    launcher: dict[str, Any] = field(default_factory=dict)
    points: list[SweepPoint] = field(default_factory=list)


@dataclass(frozen=True)
class Place:
    """What a point's job knows of it before and beside its run folder.

    Attributes:
        run: Name of its run folder; empty while unknown.
        error: First line of what stopped it before it had one; empty otherwise.
        job: Id of its job.
        host: Node of its job.
        begun: Job that has begun an attempt which has not ended; where that job begins again, the attempt died without a word.
        died: How often in a row that was so without a further checkpoint.
        died_at: Step of the last such death.
        updated: UTC.
    """

    run: str = ""
    error: str = ""
    job: str = ""
    host: str = ""
    begun: str = ""
    died: int = 0
    died_at: int = 0
    updated: str = ""


def write_sweep(root: Root, sweep: Sweep) -> SweepFolder:
    """Write a sweep's record; returns its folder."""
    folder = root.sweep(sweep.name)
    write_text(folder.record, json.dumps(asdict(sweep), indent=1))
    return folder


def read_sweep(folder: SweepFolder) -> Sweep:
    """Read a sweep's record.

    Raises:
        LcmError: There is none, or it is damaged.
    """
    try:
        values = json.loads(folder.record.read_text(encoding="utf-8"))
        return Sweep(**{**values, "points": [SweepPoint(**point) for point in values["points"]]})
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise LcmError(f"The sweep {folder.record} cannot be read: {error}. Move its folder away, or submit the sweep again.") from error


def sweeps_of(root: Root) -> Iterator[Sweep]:
    """Yield the sweeps of a root, oldest first; a folder without a record is one that was never written to its end."""
    for path in sorted(root.sweeps.glob("*/sweep.json")):
        yield read_sweep(SweepFolder(path.parent))


def read_place(folder: SweepFolder, number: int) -> Place:
    """Return what a point's job has said; an empty place where it has not."""
    try:
        return Place(**json.loads(folder.place(number).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return Place()


def write_place(folder: SweepFolder, number: int, **values: Any) -> None:
    """Update what a point's job says; values that are not given stay."""
    from slurm.progress import now

    place = replace(read_place(folder, number), **{**values, "updated": now()})
    write_text(folder.place(number), json.dumps(asdict(place)))


def sweep_and_root(folder: Path) -> tuple[Root, Sequence[Sweep]]:
    """Return the root and the sweeps that a user's folder means: a root, or one sweep's folder in it.

    Raises:
        LcmError: It is neither.
    """
    folder = folder.expanduser().absolute()
    if SweepFolder(folder).record.is_file():
        return Root(folder.parents[1]), [read_sweep(SweepFolder(folder))]
    root = Root(folder)
    if not root.points.is_dir() and not root.sweeps.is_dir():
        raise LcmError(f"{folder} holds no runs: name the root of a sweep (its `root=`), or one sweep's folder in it (ROOT/sweeps/NAME).")
    return root, list(sweeps_of(root))

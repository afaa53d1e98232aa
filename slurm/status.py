"""What a store's folder says of its making: no scheduler is asked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from rich.table import Table

from lcm.store import StorePaths
from slurm.history import read_all_progress
from slurm.progress import Progress
from slurm.shards import Plan, PlanHeader, missing_shards

STALLED_AFTER_S = 300.0
STATES = ("done", "running", "queued", "stopped", "stalled", "failed", "missing")
_FAILURES_OF_A_BAD_NODE = 3
_SHOWN_WHERE_THEY_ARE = ("queued", "stopped", "stalled")  # the table is to fit 80 columns
_NAMED = 5  # shards spelt out in the remarks


class Stall(NamedTuple):
    """A heartbeat that has stopped: where, for how many seconds, and in which job."""

    host: str
    silent_s: float
    job: str


@dataclass(frozen=True)
class Status:
    """The state of a store on disk.

    Attributes:
        folder: The store.
        states: State of each shard, one of `STATES`.
        clips: Items planned.
        clips_done: Items made or quarantined, in committed shards and so far in the others.
        frames: Codec frames planned.
        frames_done: The same of those.
        quarantined: Items that could not be made.
        clips_per_s: Sum of the rates of running tasks.
        eta_s: Seconds that the running tasks need for all that is left; None where none runs.
        gpu_hours: GPU-hours held so far, loading included.
        errors: First line of the error of each failed shard, by its number.
        stalled: Shards whose heartbeat has stopped.
        nodes: Shards done, and attempts failed or dead, of each node.
        finished: Whether the index exists.
    """

    folder: Path
    states: tuple[str, ...]
    clips: int
    clips_done: int
    frames: int
    frames_done: int
    quarantined: int
    clips_per_s: float
    eta_s: float | None
    gpu_hours: float
    errors: dict[int, str]
    stalled: dict[int, Stall]
    nodes: dict[str, tuple[int, int]]
    finished: bool

    @property
    def shards(self) -> dict[str, int]:
        """Number of shards in each of `STATES`."""
        counts = Counter(self.states)
        return {state: counts[state] for state in STATES}

    def bad_nodes(self) -> list[str]:
        """Return the nodes on which tasks keep failing: at least 3 attempts failed or died, and more than shards were done.

        None is bad where none does better: what fails everywhere is not the nodes' fault, and to leave all out would leave nothing.
        """
        bad = {node for node, (done, failed) in self.nodes.items() if failed >= _FAILURES_OF_A_BAD_NODE and failed > done}
        return sorted(bad) if any(done for node, (done, _) in self.nodes.items() if node not in bad) else []


def read_status(
    folder: Path, plan: Plan | PlanHeader | None = None, *, queued: Collection[int] = (), alive: Collection[str] | None = None
) -> Status:
    """Read the state of a store from its folder.

    Args:
        folder: The store.
        plan: Its plan or the header of it where at hand, else it is read.
        alive: Ids of the jobs that have not ended; a shard whose job is none of them does not run, whatever its heartbeat says. None:
            not known.
        queued: Shards in the hands of jobs that wait or run, as far as the caller knows; those that no task has begun show as queued.

    Raises:
        StoreError: The folder holds no plan.
    """
    paths = StorePaths(folder)
    header = plan.header if isinstance(plan, Plan) else plan or PlanHeader.read(paths.plan)
    missing, waiting = set(missing_shards(folder, header)), set(queued)
    heard = {progress.shard: progress for progress in read_all_progress(paths) if progress.shard < header.shards}
    states = tuple(_state(heard.get(n), n in waiting, alive) if n in missing else "done" for n in range(header.shards))
    shares = {shard: _share(heard[shard], states[shard]) for shard in missing if shard in heard}
    frames, frames_done = sum(header.shard_frames), _done(header.shard_frames, missing, shares)
    running = [progress for shard, progress in heard.items() if states[shard] == "running"]
    frames_per_s = sum(progress.clips_per_s * header.frames(progress.shard) / header.clips_of(progress.shard) for progress in running)
    return Status(
        folder=folder,
        states=states,
        clips=header.clips,
        clips_done=round(_done([stop - start for start, stop in header.ranges], missing, shares)),
        frames=frames,
        frames_done=round(frames_done),
        quarantined=sum(p.quarantined for n, p in heard.items() if states[n] in {"done", "running"}),  # others try theirs again
        clips_per_s=sum(progress.clips_per_s for progress in running),
        eta_s=(frames - frames_done) / frames_per_s if frames_per_s > 0 else None,
        gpu_hours=sum(max(progress.held_s, progress.busy_s) * progress.gpus for progress in heard.values()) / 3600,
        errors={n: heard[n].error or "" for n, state in enumerate(states) if state == "failed"},
        stalled={n: Stall(heard[n].host, heard[n].age_s(), heard[n].job) for n, state in enumerate(states) if state == "stalled"},
        nodes=_nodes(heard.values(), states),
        finished=paths.index.exists(),
    )


def as_table(status: Status | Sequence[Status]) -> Table:
    """Return stores' status as a table for a terminal, a row a store; some states are left out where no shard is in them."""
    rows = [status] if isinstance(status, Status) else list(status)
    cells = [_cells(row) for row in rows]
    hidden = {state for state in _SHOWN_WHERE_THEY_ARE if not any(row.shards[state] for row in rows)}
    table = Table(title=str(rows[0].folder) if len(rows) == 1 else None, box=None, padding=(0, 1, 0, 0), pad_edge=False)
    for heading in cells[0]:
        if heading == "store" and len(rows) > 1:
            table.add_column(heading, overflow="fold", min_width=8)
        elif heading != "store" and heading not in hidden:
            table.add_column(heading, justify="right", no_wrap=True)
    for row in cells:
        table.add_row(*(text for heading, text in row.items() if heading not in hidden and (heading != "store" or len(rows) > 1)))
    return table


def remarks(status: Status) -> list[str]:
    """Return what a person should know beside the table, a line each: costs, quarantined clips, stalled shards, failing nodes."""
    lines = [f"{status.gpu_hours:.1f} GPU-hours so far"] if status.gpu_hours else []
    if status.quarantined:
        lines.append(f"{status.quarantined} clips are quarantined: they could not be made")
    lines += [
        f"shard {shard} is stalled: no word from {stall.host} for {duration(stall.silent_s)} (job {stall.job or 'none'})"
        for shard, stall in list(status.stalled.items())[:_NAMED]
    ]
    if len(status.stalled) > _NAMED:
        lines.append(f"... and {len(status.stalled) - _NAMED} more stalled shards")
    for node in status.bad_nodes():
        done, failed = status.nodes[node]
        lines.append(f"node {node} is bad: {failed} attempts failed or died there, {done} shards were done")
    return lines


def duration(seconds: float) -> str:
    """Return a time for people, such as `45 s`, `12 min`, `3.3 h`, `2.2 d`."""
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    if seconds < 99.5 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 48 * 3600 else f"{seconds / 86400:.1f} d"


def _state(progress: Progress | None, queued: bool, alive: Collection[str] | None) -> str:
    """Return the state of a shard that is not committed; a failed one is not queued, though its task may go on with others."""
    if progress is not None and progress.state in {"running", "stopping"}:
        ended = alive is not None and progress.job and progress.job not in alive
        if progress.age_s() <= STALLED_AFTER_S and not ended:
            return "running"
        if progress.state == "running":
            return "stalled"
    if progress is not None and progress.state == "failed":
        return "failed"
    if queued:
        return "queued"
    stopped = progress is not None and progress.state in {"stopped", "stopping"}
    return "stopped" if stopped else "missing"  # done, and then its file was removed


def _share(progress: Progress, state: str) -> float:
    """Return how much of a shard is in its journals; one that was done and lost has none left."""
    if progress.state == "done":
        return 0.0
    made = progress.done + progress.quarantined * (state == "running")
    return min(made / max(progress.total, 1), 1.0)


def _done(sizes: Sequence[int], missing: Collection[int], shares: Mapping[int, float]) -> float:
    return sum(size if n not in missing else size * shares.get(n, 0.0) for n, size in enumerate(sizes))


def _nodes(heard: Iterable[Progress], states: Sequence[str]) -> dict[str, tuple[int, int]]:
    done: Counter[str] = Counter()
    failed: Counter[str] = Counter()
    for progress in heard:
        done[progress.host] += states[progress.shard] == "done" and progress.state == "done"
        failed[progress.host] += states[progress.shard] == "stalled"  # its attempt has not been taken down yet
        failed.update(progress.failed_on)
    return {node: (done[node], failed[node]) for node in sorted(done.keys() | failed.keys())}


def _cells(status: Status) -> dict[str, str]:
    left = "-" if status.eta_s is None else duration(status.eta_s)
    return {
        "store": status.folder.name,
        **{state: str(count) for state, count in status.shards.items()},
        "clips": f"{status.clips_done}/{status.clips}",
        "clips/s": f"{status.clips_per_s:.1f}",
        "ETA": "finished" if status.finished else left,
    }

"""Fill a store on this machine and wait: in this process, or in several through submitit."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from lcm.store import Index, StoreError, StorePaths, build_index, index_is_current, read_index
from slurm.attempt import Producer
from slurm.cluster import Cluster
from slurm.history import fold
from slurm.shards import Plan, adopt_plan, missing_shards
from slurm.site import Site
from slurm.status import read_status
from slurm.submit import submit_shards, wait
from slurm.task import fixed
from slurm.worker import run_shards


def run_plan(
    folder: Path | str,
    plan: Plan,
    producer_factory: Callable[[], Producer],
    *,
    processes: int = 0,
    provenance: Mapping[str, Any] | None = None,
) -> Index:
    """Make everything that a store lacks, then its index. Run again, it makes only what is missing; where all is done, nothing.

    Args:
        folder: The store.
        plan: What it should hold.
        producer_factory: Makes the producer where it is to work; for several processes it must pickle.
        processes: Processes of this machine that share the work; 0 does it in this one.
        provenance: What to note in shards beside the plan's attrs and the circumstances; in this process only.

    Returns:
        The index of the finished store.

    Raises:
        StoreError: The store was begun with another plan, or shards failed or are damaged; each is named.
    """
    folder = Path(folder)
    adopt_plan(folder, plan)
    missing = missing_shards(folder, plan)
    if not missing and index_is_current(folder, plan):
        return read_index(folder)
    StorePaths(folder).index.unlink(missing_ok=True)  # a store with a shard missing is not finished
    with progress_bar(folder, plan):
        if missing and not processes:
            run_shards(folder, plan, missing, producer_factory, provenance, max_barren=0)  # a person is watching: try again
        elif missing:
            here = Site(Cluster(processes=processes), folder.resolve(), max_barren=0)
            _in_processes(folder, plan, missing, producer_factory, here)
    return finish(folder, plan)


def finish(folder: Path, plan: Plan) -> Index:
    """Verify all shards, write the index, and remove what is not needed any more."""
    index = build_index(folder, plan)
    tidy(StorePaths(folder))
    return index


def tidy(paths: StorePaths) -> None:
    """Remove what a finished store does not need: heartbeats but the last, and what tasks left that died after their commit."""
    fold(paths)
    shutil.rmtree(paths.journals(0).parent, ignore_errors=True)
    for part in paths.shard_folder.glob(".*.part"):
        part.unlink(missing_ok=True)


def _in_processes(folder: Path, plan: Plan, missing: list[int], producer_factory: Callable[[], Producer], at: Site) -> None:
    """Run local jobs and wait. What they made is asked of the disk, not of submitit."""
    submission = submit_shards(at, folder.name, missing, fixed(folder, producer_factory))
    wait(submission)
    check_made(folder, plan, at.logs / submission.name)


def check_made(folder: Path, plan: Plan, logs: Path) -> None:
    """Raise an error that names the first shard that was not made, and why."""
    missing = missing_shards(folder, plan)
    if missing:
        errors = read_status(folder, plan).errors
        first = f"shard {next(iter(errors))}: {next(iter(errors.values()))}" if errors else f"shard {missing[0]}: its process died"
        raise StoreError(f"{len(missing)} of {plan.shards} shards of {folder} were not made; the first, {first}. Logs: {logs}. Run again.")


@contextmanager
def progress_bar(folder: Path, plan: Plan) -> Iterator[None]:
    """Show the progress that is on disk, from a thread of its own."""
    over = threading.Event()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("clips"), TimeElapsedColumn())
    with Progress(*columns) as bar:
        task = bar.add_task(folder.name, total=len(plan.items))

        def show() -> None:
            with suppress(OSError):  # the folder may be removed under it
                bar.update(task, completed=read_status(folder, plan).clips_done)

        def follow() -> None:
            while not over.wait(1.0):
                show()

        thread = threading.Thread(target=follow, daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()
            show()

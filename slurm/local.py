"""Run a plan on this machine, in this process or in several through submitit."""

from __future__ import annotations

import shutil
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from lcm.store import Index, StoreError, StorePaths, build_index, index_is_current, read_index
from slurm.shards import Plan, adopt_plan
from slurm.status import read_status
from slurm.worker import Producer, missing_shards, run_shards

EXECUTORS = ("inline", "submitit-local")
_TIMEOUT_MIN = 60 * 24 * 30  # submitit's own default of minutes would end a long task


def run_plan(
    folder: Path | str,
    plan: Plan,
    producer_factory: Callable[[], Producer],
    *,
    executor: str = "inline",
    jobs: int = 1,
    gpus: int = 0,
    provenance: Mapping[str, Any] | None = None,
) -> Index:
    """Make everything that a store lacks, then its index. Run again, it makes only what is missing; where all is done, nothing.

    Args:
        folder: The store.
        plan: What it should hold.
        producer_factory: Makes the producer where it is to work; for `submitit-local` it must pickle.
        executor: `inline` (this process) or `submitit-local` (processes of this machine).
        jobs: Number of processes of `submitit-local`.
        gpus: Number of GPUs that each process of `submitit-local` sees; 0 hides them.
        provenance: What to note in shards beside the plan's attrs, such as the commit.

    Returns:
        The index of the finished store.

    Raises:
        StoreError: The store was begun with another plan, or shards failed or are damaged; each is named.
        ValueError: Unknown executor.
    """
    folder = Path(folder)
    if executor not in EXECUTORS:
        raise ValueError(f"Unknown executor {executor!r}. Valid executors are: {', '.join(EXECUTORS)}.")
    adopt_plan(folder, plan)
    missing = missing_shards(folder, plan)
    if not missing and index_is_current(folder, plan):
        return read_index(folder)
    StorePaths(folder).index.unlink(missing_ok=True)  # a store with a shard missing is not finished
    with _progress_bar(folder, plan):
        if missing and executor == "inline":
            run_shards(folder, plan, missing, producer_factory, provenance)
        elif missing:
            _submit(folder, [missing[job::jobs] for job in range(min(max(jobs, 1), len(missing)))], producer_factory, gpus, provenance)
    index = build_index(folder, plan)
    _tidy(StorePaths(folder))
    return index


def _tidy(paths: StorePaths) -> None:
    """Remove what tasks left that died between their commit and their own cleaning."""
    shutil.rmtree(paths.journals(0).parent, ignore_errors=True)
    for part in paths.shard_folder.glob(".*.part"):
        part.unlink(missing_ok=True)


def _submit(
    folder: Path, tasks: list[list[int]], producer_factory: Callable[[], Producer], gpus: int, provenance: Mapping[str, Any] | None
) -> None:
    """Run tasks as local submitit jobs and wait. What they made is asked of the disk, not of submitit."""
    import submitit  # only this executor needs it

    # a fresh folder: results of an earlier submission are never read as this one's
    logs = StorePaths(folder).logs / f"{datetime.now(timezone.utc):%Y%m%dT%H%M%S}-{uuid.uuid4().hex[:6]}"
    launcher = submitit.AutoExecutor(folder=logs, cluster="local")  # named: an sbatch without a controller may be on the path
    launcher.update_parameters(timeout_min=_TIMEOUT_MIN, gpus_per_node=gpus)
    running = [launcher.submit(run_task, folder.resolve(), shards, producer_factory, provenance) for shards in tasks]
    try:
        while not all(job.done() for job in running):
            time.sleep(0.1)
    except BaseException:
        for job in running:
            job.cancel()
        raise
    _check(folder, logs)


def run_task(folder: Path, shards: list[int], producer_factory: Callable[[], Producer], provenance: Mapping[str, Any] | None) -> None:
    """Make shards of a store whose plan is on disk: what a job runs."""
    run_shards(folder, Plan.read(StorePaths(folder).plan), shards, producer_factory, provenance)


def _check(folder: Path, logs: Path) -> None:
    plan = Plan.read(StorePaths(folder).plan)
    missing = missing_shards(folder, plan)
    if missing:
        errors = read_status(folder, plan).errors
        first = f"shard {next(iter(errors))}: {next(iter(errors.values()))}" if errors else f"shard {missing[0]}: its process died"
        raise StoreError(f"{len(missing)} of {plan.shards} shards of {folder} were not made; the first, {first}. Logs: {logs}. Run again.")


@contextmanager
def _progress_bar(folder: Path, plan: Plan) -> Iterator[None]:
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

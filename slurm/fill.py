"""Fill any store on a cluster: a plan and a producer of one's own, without the stages of a root. For notebooks and other producers."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from lcm.store import StoreError, StorePaths, index_is_current
from slurm import submit as jobs
from slurm.attempt import MAX_BARREN, Producer
from slurm.cluster import Cluster
from slurm.local import finish
from slurm.shards import Plan, adopt_plan, missing_shards
from slurm.site import site, writing
from slurm.status import read_status
from slurm.submission import Submission, Submissions
from slurm.task import fixed
from slurm.turn import turn

_STAGE = "fill"


def submit_plan(
    folder: Path,
    plan: Plan,
    producer: Callable[[], Producer],
    cluster: Cluster,
    *,
    retry: bool = False,
    max_barren: int = MAX_BARREN,
    merge: bool = True,
) -> list[Submission]:
    """Submit what a store lacks, and its merge, and return. Shards in the hands of jobs that have not ended are left to them.

    Args:
        folder: The store.
        plan: What it should hold.
        producer: Makes the producer where it works; it must pickle, and be importable there.
        cluster: A profile, as of `slurm.cluster.load_cluster`.
        retry: Whether shards that were given up are taken too.
        max_barren: Attempts in a row without one new item after which a shard is given up; 0 never.
        merge: Whether to submit a job that verifies the shards and writes the index.

    Returns:
        What was submitted; nothing where all is made.

    Raises:
        LcmError: The store was begun with another plan, or the cluster refuses.
    """
    folder = folder.resolve()
    with writing(folder), turn(Submissions(folder).folder):  # of two who submit at once the second finds what the first has submitted
        return _submit(folder, plan, producer, cluster, retry=retry, max_barren=max_barren, merge=merge)


def _submit(
    folder: Path, plan: Plan, producer: Callable[[], Producer], cluster: Cluster, *, retry: bool, max_barren: int, merge: bool
) -> list[Submission]:
    adopt_plan(folder, plan)
    if index_is_current(folder, plan):
        return []
    if retry:
        jobs.forgive(folder)
    live = jobs.live_jobs(folder)
    shards = jobs.to_make(folder, retry=retry, max_barren=max_barren, busy=jobs.busy_shards(folder, _STAGE, live))
    if not shards and not live and (missing := missing_shards(folder, plan)):
        raise StoreError(f"{len(missing)} shards of {folder} were given up, first {missing[0]}: see why, then submit with retry=True.")
    at = site(folder, cluster, max_barren=max_barren, exclude=read_status(folder, plan).bad_nodes())
    submitted = [jobs.submit_shards(at, _STAGE, shards, fixed(folder, producer))] if shards else []
    waiting = sorted({job.partition("_")[0] for ids in [*live.values(), *(s.jobs for s in submitted)] for job in ids})
    if merge and cluster.kind == "slurm" and (submitted or not live):
        after = f"afterany:{':'.join(waiting)}" if waiting else ""
        submitted.append(jobs.submit_call(at, f"merge {_STAGE}", partial(merge_plan, folder), after=after))
    return submitted


def merge_plan(folder: Path) -> None:
    """Verify a store's shards and write its index.

    Raises:
        StoreError: Shards are missing or damaged; each is named.
    """
    finish(folder, Plan.read(StorePaths(folder).plan))

"""Refuse to submit more GPU-hours than a root was given."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lcm.store import StoreError, StorePaths
from slurm.estimate import estimate, measured_rate
from slurm.shards import PlanHeader
from slurm.stages import STAGES, Generation
from slurm.status import read_status


def used_gpu_hours(generation: Generation) -> float:
    """Return the GPU-hours that a root's stores have taken, over all attempts."""
    return sum(read_status(store).gpu_hours for stage in STAGES if (store := generation.folder(stage)) is not None)


def check_budget(generation: Generation, folder: Path, shards: Sequence[int]) -> None:
    """Compare what is asked with the budget; without a budget nothing is refused.

    Args:
        generation: The root and its settings.
        folder: The store.
        shards: Shards to be submitted.

    Raises:
        StoreError: Used and expected GPU-hours exceed `gpu_hours`, or nothing is known of the rate.
    """
    most, cluster = generation.config.gpu_hours, generation.config.profile()
    if not most or not shards or not cluster.gpus_per_task:
        return
    rate = measured_rate(folder)
    if rate is None:
        raise StoreError(
            f"gpu_hours={most:g} is set, but no rate is known: run `python -m slurm calibrate store={generation.root.folder}` first."
        )
    header = PlanHeader.read(StorePaths(folder).plan)
    found = estimate(header, shards, rate, shards_per_task=cluster.shards_per_task, gpus_per_task=cluster.gpus_per_task, bytes_per_frame=0)
    asked = found.gpu_hours or 0.0
    used = used_gpu_hours(generation)
    if used + asked > most:
        raise StoreError(
            f"{len(shards)} shards need about {asked:.3g} GPU-hours and {used:.3g} were used: above the budget gpu_hours={most:g}. "
            f"Raise it (gpu_hours={used + asked:.3g}), or generate less."
        )

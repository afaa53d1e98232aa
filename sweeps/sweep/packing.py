"""Divide points among jobs. Nothing here touches disk or scheduler."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from slurm.cluster import Cluster
from slurm.submission import into_elements
from slurm.submit import local_processes
from sweeps.sweep.record import SweepPoint


def elements(points: Sequence[SweepPoint], cluster: Cluster, pack: int) -> dict[int, list[list[list[int]]]]:
    """Divide points among jobs, those of one number of devices together.

    Args:
        points: Which.
        cluster: The profile.
        pack: Points that share a task's GPU.

    Returns:
        By number of devices, of each job, of each of its tasks, the numbers of its points. A point of several devices has a job for
        itself; its first task leads and the others, which have no number, join it.
    """
    found: dict[int, list[list[list[int]]]] = {}
    for devices in sorted({point.devices for point in points}):
        mine = [point.number for point in points if point.devices == devices]
        if cluster.kind == "local":
            # one process per GPU or core group works through its share; a point of several devices starts its ranks itself
            processes = max(local_processes(cluster) // devices, 1)
            found[devices] = into_elements(mine, processes=1, shards_per_process=-(-len(mine) // processes))
        elif devices > 1:
            found[devices] = [[[number], *([] for _ in range(devices - 1))] for number in mine]
        else:
            found[devices] = into_elements(mine, processes=cluster.tasks, shards_per_process=pack)
    return found


def preparations(needs: Mapping[int, str]) -> dict[int, int]:
    """Return who prepares for whom: of points with one need the first prepares for all.

    Args:
        needs: Key of what is still to be made, by point.

    Returns:
        Number of the preparing point, by point; nothing where a single point is left, which prepares for itself.
    """
    if len(needs) < 2:
        return {}
    first: dict[str, int] = {}
    for number, key in sorted(needs.items()):
        first.setdefault(key, number)
    return {number: first[key] for number, key in needs.items()}

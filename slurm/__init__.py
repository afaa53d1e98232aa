"""Making a store in shards: the plan, the worker of one task, its state on disk, and who runs it."""

from __future__ import annotations

from slurm.attempt import Producer
from slurm.local import run_plan
from slurm.shards import Item, Plan, make_plan
from slurm.worker import run_shard, run_shards

__all__ = ["Item", "Plan", "Producer", "make_plan", "run_plan", "run_shard", "run_shards"]

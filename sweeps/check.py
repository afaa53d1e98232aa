"""Refuse a point that could not be trained, before anything is made for it or a job waits for it. Imports no training."""

from __future__ import annotations

from lcm.auxiliary import check_region
from lcm.codec import first_codebooks
from lcm.errors import LcmError
from lcm.network import check as check_network
from lcm.objectives import objective_of
from lcm.training.wandb_run import import_wandb
from sweeps.config import Config


def check(config: Config) -> None:
    """Refuse settings that could not be trained, before a corpus is encoded for them.

    Raises:
        LcmError: The first that is wrong; it is named.
    """
    objective_of(config.objective)
    check_network(config.network)
    _ = config.train.micro_batch
    if config.blocks.codebooks:
        first_codebooks(config.codec, config.blocks.codebooks)
    check_region(config.losses.on, crop_frames=config.data.crop_frames, context=config.data.context_frames)
    if config.objective.teacher_forcing and (not config.network.cascade or len(config.blocks.partition) < 2):
        raise LcmError("objective.teacher_forcing needs a cascade of several blocks: set network.cascade=true and blocks.partition.")
    if config.train.wandb:
        import_wandb(config.train.wandb)

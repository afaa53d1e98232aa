"""From a config to a model: what the student is, its statistics and its first weights."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import TypeVar

import torch

from lcm.blocks import check_partition
from lcm.errors import LcmError
from lcm.losses import LossConfig
from lcm.model import Model, ModelSpec, transfer
from lcm.network import NetworkConfig
from lcm.objectives import objective_of
from lcm.schedule import ScheduleConfig
from lcm.teachers.latent import LatentTeacher
from sweeps.config import Config
from sweeps.prepare import Prepared

T = TypeVar("T", NetworkConfig, ScheduleConfig)
STATISTICS_CLIPS = 100  # a thousand seconds of speech fix 128 means and a deviation well


def initial_model(config: Config, prepared: Prepared) -> Model:
    """Build the student: statistics from the store, weights from the seed or the teacher."""
    torch.manual_seed(config.seed)
    model = Model(model_spec(config, prepared), prepared.codec).to(prepared.codec.device)
    train = prepared.keys("train")
    keys = train[:: max(1, len(train) // STATISTICS_CLIPS)]  # spread over the speakers
    if not keys:
        raise LcmError("The corpus' train split is empty: lower corpus.test_fraction and corpus.valid_fraction, or give more speakers.")
    model.blocks.fit(prepared.codec, [(_codes(prepared, k, "hr"), _codes(prepared, k, "lr0")) for k in keys])
    if isinstance(prepared.teacher, LatentTeacher) and config.init == "teacher":
        transfer(prepared.teacher.model, model)
    return model


def model_spec(config: Config, prepared: Prepared) -> ModelSpec:
    """Return what the student is; one that starts from a teacher has the teacher's network and range of noise.

    Raises:
        LcmError: The partition does not fit the codec, or a setting differs from the teacher's.
    """
    partition = check_partition(config.blocks.partition or [prepared.codec.n_q], prepared.codec.n_q)
    network, schedule = config.network, config.schedule
    if isinstance(prepared.teacher, LatentTeacher) and config.init == "teacher":
        spec = prepared.teacher.model.spec
        network = _of_teacher(network, spec.network, "network", ("logits",))
        schedule = _of_teacher(schedule, spec.schedule, "schedule", ("log_mean", "log_std"))
    network = replace(network, logits=_needs_logits(config.losses, network))
    kind = objective_of(config.objective)[0]
    return ModelSpec(kind, partition, prepared.codec.identity, config.blocks.output, network, config.reference, schedule)


def _of_teacher(own: T, teachers: T, group: str, free: tuple[str, ...]) -> T:
    """Return the teacher's settings but for the student's free ones; a setting that would be ignored is refused."""
    default = type(own)()
    for f in fields(own):
        mine, fixed = getattr(own, f.name), getattr(teachers, f.name)
        if f.name not in free and mine not in (fixed, getattr(default, f.name)):
            raise LcmError(f"{group}.{f.name}={mine} differs from the teacher's {fixed}: set init=none, or train a teacher with it.")
    return replace(teachers, **{name: getattr(own, name) for name in free})


def _needs_logits(losses: LossConfig, network: NetworkConfig) -> bool:
    return network.logits or losses.token_ce != 0


def _codes(prepared: Prepared, key: str, stream: str) -> torch.Tensor:
    return torch.from_numpy(prepared.store.read(key, stream).astype("int64")).t()[None].to(prepared.codec.device)

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
from lcm.objectives import needs_teacher, objective_of, starts_from_teacher
from lcm.schedule import ScheduleConfig
from lcm.teachers.latent import LatentTeacher
from sweeps.config import Config
from sweeps.prepare import Prepared

T = TypeVar("T", NetworkConfig, ScheduleConfig)
STATISTICS_CLIPS = 100  # a thousand seconds of speech fix 128 means and a deviation well


def initial_model(config: Config, prepared: Prepared) -> Model:
    """Build the student: statistics from the store, weights from the seed or the teacher."""
    check_pairs(config, prepared)
    torch.manual_seed(config.seed)
    model = Model(model_spec(config, prepared), prepared.codec).to(prepared.codec.device)
    train = prepared.keys("train")
    keys = train[:: max(1, len(train) // STATISTICS_CLIPS)]  # spread over the speakers
    if not keys:
        raise LcmError("The corpus' train split is empty: lower corpus.test_fraction and corpus.valid_fraction, or give more speakers.")
    model.blocks.fit(prepared.codec, [(_codes(prepared, k, "hr"), _codes(prepared, k, "lr0")) for k in keys])
    teacher = initial_teacher(config, prepared)
    if teacher:
        transfer(teacher, model)
    return model


def initial_teacher(config: Config, prepared: Prepared) -> Model | None:
    """Return the diffusion teacher that the student starts from, or None."""
    wanted = config.init == "teacher" and starts_from_teacher(config.objective)
    return prepared.teacher.model if wanted and prepared.teacher else None


def check_pairs(config: Config, prepared: Prepared) -> None:
    """Refuse to learn pairs whose noise is not the student's: it is drawn again in the teacher's shape.

    Raises:
        LcmError: The objective is `pairs` and the teacher is no latent one, or it or the student has several blocks.
    """
    if config.objective.name != "pairs" or prepared.teacher is None:
        return
    if not isinstance(prepared.teacher, LatentTeacher):
        raise LcmError(
            f"objective pairs learns a latent teacher's noise and output, the teacher is {config.teacher.name}: set teacher.name=latent."
        )
    blocks = len(prepared.teacher.model.spec.partition), len(config.blocks.partition or [prepared.codec.n_q])
    if blocks != (1, 1):
        raise LcmError(
            f"objective pairs learns noise and output of one block, but the teacher has {blocks[0]} and the student {blocks[1]} blocks: "
            f"set blocks.partition=[{prepared.codec.n_q}] and a teacher of one block."
        )


def trajectory_teacher(config: Config, prepared: Prepared) -> Model | None:
    """Return the diffusion teacher that the objective asks while it trains, or None.

    Raises:
        LcmError: The objective needs a latent teacher with the student's blocks and prior.
    """
    if not needs_teacher(config.objective):
        return None
    model = prepared.teacher.model if prepared.teacher else None
    if model is None:
        raise LcmError(
            f"objective {config.objective.name} steps along a latent teacher's trajectory: set teacher.name=latent, or name one by "
            "teacher.checkpoint beside teacher.name=mbd."
        )
    spec, partition = model.spec, tuple(config.blocks.partition or [prepared.codec.n_q])
    if (spec.partition, spec.prior) != (partition, config.blocks.prior) or config.init != "teacher":
        raise LcmError(
            f"objective {config.objective.name} shares its states with the teacher, which has blocks.partition={list(spec.partition)} and "
            f"blocks.prior={spec.prior}: set these and init=teacher, or train a teacher with blocks.partition={list(partition)}."
        )
    return model


def model_spec(config: Config, prepared: Prepared) -> ModelSpec:
    """Return what the student is; one that starts from a teacher has the teacher's network and range of noise.

    Raises:
        LcmError: The partition does not fit the codec, or a setting differs from the teacher's.
    """
    partition = check_partition(config.blocks.partition or [prepared.codec.n_q], prepared.codec.n_q)
    network, schedule = config.network, config.schedule
    teacher = initial_teacher(config, prepared)
    if teacher:
        spec = teacher.spec
        alone = ("cascade",) if len(spec.partition) == 1 else ()  # a single block has no cascade
        network = _of_teacher(network, spec.network, "network", ("logits", *alone))
        schedule = _of_teacher(schedule, spec.schedule, "schedule", ("log_mean", "log_std", "sigma_max"))
        if schedule.sigma_max > spec.schedule.sigma_max:
            raise LcmError(f"schedule.sigma_max={schedule.sigma_max:g} is above {spec.schedule.sigma_max:g}, the most its teacher saw.")
    network = replace(network, logits=_needs_logits(config.losses, network))
    kind, blocks, codec = objective_of(config.objective)[0], config.blocks, prepared.codec.identity
    guidance = config.objective.guidance if kind == "flow" else 1.0
    return ModelSpec(
        kind, partition, codec, blocks.output, network, config.reference, schedule, blocks.prior, tuple(blocks.weights), guidance
    )


def _of_teacher(own: T, teachers: T, group: str, free: tuple[str, ...]) -> T:
    """Return the teacher's settings but for the student's free ones; a setting that would be ignored is refused."""
    default = type(own)()
    for f in fields(own):
        mine, fixed = getattr(own, f.name), getattr(teachers, f.name)
        if f.name not in free and mine not in (fixed, getattr(default, f.name)):
            raise LcmError(f"{group}.{f.name}={mine} differs from the teacher's {fixed}: set init=none, or train a teacher with it.")
    return replace(teachers, **{name: getattr(own, name) for name in free})


def _needs_logits(losses: LossConfig, network: NetworkConfig) -> bool:
    return network.logits or "token_ce" in losses.on


def _codes(prepared: Prepared, key: str, stream: str) -> torch.Tensor:
    codes = prepared.store.read(key, stream)[:, : prepared.codec.n_q]
    return torch.from_numpy(codes.astype("int64")).t()[None].to(prepared.codec.device)

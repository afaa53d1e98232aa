"""Fix a point when it is submitted: what it is does not depend any more on YAML, folder or machine."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import yaml

from lcm.errors import LcmError
from lcm.evaluate import EvaluateConfig
from lcm.mbd.bands import codebooks_of
from lcm.mbd.weights import locate
from lcm.paths import Root, write_text
from lcm.training.optim import resolve_precision
from slurm.cluster import Cluster
from sweeps.check import check
from sweeps.config import Config, to_dict
from sweeps.identity import key
from sweeps.naming import point_name
from sweeps.prepare import asks_teacher
from sweeps.sweep.record import SweepPoint

_HEAD = "# A point as it was submitted. To run it again: python -m sweeps retry; short and in the foreground: python -m sweeps debug\n"


def freeze(config: Config, cluster: Cluster) -> Config:
    """Return a point as a job can run it: paths absolute, precision as the profile's GPUs have it.

    Raises:
        LcmError: It could not be trained.
    """
    check(config)
    _check_teacher(config)
    corpus, codec, teacher = config.corpus, config.codec, config.teacher
    return replace(
        config,
        root=str(_absolute(config.root)),
        corpus=replace(corpus, root=_path(corpus.root), test_root=_path(corpus.test_root)),
        codec=replace(codec, folder=_path(codec.folder)),
        teacher=replace(
            teacher,
            checkpoint="shipped" if teacher.checkpoint == "shipped" else str(_absolute(teacher.checkpoint)),
            folder=_path(teacher.folder),
        ),
        train=replace(config.train, precision=_precision(config.train.precision, cluster)),
        scratch=config.scratch or cluster.scratch,
    )


def write_frozen(path: Path, config: Config) -> None:
    """Write a frozen config; the dumper written in C is ten times as fast."""
    write_text(path, _HEAD + yaml.dump(to_dict(config), Dumper=getattr(yaml, "CSafeDumper", yaml.SafeDumper), sort_keys=False))


def points(configs: Sequence[Config], overrides: Sequence[Sequence[str]]) -> list[SweepPoint]:
    """Return a sweep's points, named by what is not common to all.

    Raises:
        LcmError: Two of them want one run folder.
    """
    _check_evaluations(configs)
    common = set.intersection(*(set(words) for words in overrides)) if len(overrides) > 1 else set()
    names = [" ".join(word.lstrip("+") for word in words if word not in common) for words in overrides]
    if len(configs) == 1:
        names = [point_name(configs[0])]
    return [
        SweepPoint(number, name or "default", config.seed, key(config), devices=config.train.devices)
        for number, (name, config) in enumerate(zip(names, configs, strict=True))
    ]


def _check_evaluations(configs: Sequence[Config]) -> None:
    """Refuse points that differ in how they are evaluated alone: a run folder holds one evaluation, and one would replace the other's.

    Raises:
        LcmError: There are some.
    """
    first: dict[tuple[str, str], int] = {}
    for number, config in enumerate(configs):
        other = first.setdefault((config.root, key(replace(config, evaluate=EvaluateConfig()))), number)
        if config.evaluate != configs[other].evaluate:
            raise LcmError(
                f"Points {other} and {number} differ in evaluate.* alone, and a run folder holds one evaluation. Give one, such as "
                "evaluate.steps=[1,2] for both; another one later is scored without training again."
            )


def by_root(configs: Sequence[Config]) -> dict[str, list[int]]:
    """Return the numbers of the points of each root."""
    found: dict[str, list[int]] = {}
    for number, config in enumerate(configs):
        found.setdefault(config.root, []).append(number)
    return found


def root_of(config: Config) -> Root:
    """Return the root of a point."""
    return Root(Path(config.root))


def _check_teacher(config: Config) -> None:
    """Refuse a teacher that is not there, before jobs wait for it.

    Raises:
        LcmError: There is no such file.
    """
    name = config.teacher.checkpoint
    if asks_teacher(config) and config.teacher.name == "mbd" and config.teacher.weights == "pretrained":
        locate(config.teacher.folder, codebooks_of(config.teacher.bw))
    if asks_teacher(config) and config.teacher.name == "latent" and name != "shipped" and not _absolute(name).is_file():
        raise LcmError(
            f"teacher.checkpoint={name} does not exist. Train the teacher first (objective=diffusion; the head of a preset says how), "
            "or set teacher.checkpoint=shipped."
        )


def _path(path: str | None) -> str | None:
    return None if path is None else str(_absolute(path))


def _absolute(path: str) -> Path:
    found = Path(os.path.expandvars(path)).expanduser().absolute()
    return found.resolve() if ".." in found.parts else found  # a corpus is known by its folder, which must be spelled in one way


def _precision(asked: str, cluster: Cluster) -> str:
    if asked != "auto" or cluster.precision:
        return cluster.precision if asked == "auto" else asked
    if cluster.kind == "local":
        return resolve_precision(asked)
    no_gpus = not cluster.gpus_per_task and "gpu" not in cluster.gres
    return "32-true" if no_gpus else asked  # which GPUs there are is known on the node

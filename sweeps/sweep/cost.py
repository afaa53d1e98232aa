"""What points will take: memory, by tracing a step as training would, and time, from points of this root that were trained before."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

from lcm.errors import LcmError
from lcm.paths import Root, Run
from sweeps.config import Config, read_config

_MOST_TRACED, _MOST_READ = 8, 500
_OF_THE_STEP = ("batch", "accumulate", "devices", "activation_checkpointing", "precision", "optimiser")


@dataclass(frozen=True)
class Memory:
    """The largest of the points' estimates.

    Attributes:
        gb: GB of one process at the peak of a training step; None where it could not be traced.
        note: How it was found, or why not.
    """

    gb: float | None
    note: str


@dataclass(frozen=True)
class Hours:
    """Time that points take.

    Attributes:
        hours: Device-hours of training of all points together; None where no such point has been trained.
        longest_h: Hours of the longest point.
        note: What the rate was measured on, or why there is none.
    """

    hours: float | None
    longest_h: float | None
    note: str


def step_key(config: Config) -> str:
    """Return a key of all that the time and memory of a training step depend on."""
    train = {name: getattr(config.train, name) for name in _OF_THE_STEP}
    groups = [asdict(getattr(config, name)) for name in ("codec", "network", "reference")]
    objective = [config.objective.name, config.objective.solver, config.blocks.partition, config.data.crop_frames]
    return json.dumps([train, groups, objective, sorted(config.losses.on)], sort_keys=True)


def memory(configs: Sequence[Config]) -> Memory:
    """Trace a training step of each kind of point on the CPU, a few clips at a time, and return the largest estimate."""
    kinds = list({step_key(config): config for config in configs}.values())
    sizes, notes = [], []
    for config in kinds[:_MOST_TRACED]:
        try:
            sizes.append(_traced_gb(config))
        except LcmError as error:
            notes.append(str(error).splitlines()[0])
    if not sizes:
        return Memory(None, notes[0] if notes else "no point")
    more = f", the first {_MOST_TRACED} of {len(kinds)} kinds of points" if len(kinds) > _MOST_TRACED else ""
    return Memory(max(sizes), f"traced on the CPU{more}")


def _traced_gb(config: Config) -> float:
    from sweeps.build import initial_model, trajectory_teacher
    from sweeps.prepare import find
    from sweeps.training import crop_source

    prepared = find(config)
    if prepared is None:
        raise LcmError("unknown until corpus and codes are there: `python -m slurm submit` or the sweep's first job makes them")
    from lcm.training.train import Trainer

    # a process of its own has this share of the batch; fp16 is as large as bf16, which CPUs have
    shared = config.train.accumulate * config.train.devices
    precision = "bf16-mixed" if config.train.precision == "16-mixed" else config.train.precision
    train = replace(config.train, devices=1, accumulate=shared, precision=precision, estimate=True)
    with tempfile.TemporaryDirectory(prefix="lcm-memory-") as folder:
        trainer = Trainer(
            initial_model(config, prepared), prepared.codec, crop_source(config, prepared), config.objective, config.losses, train,
            Run(Path(folder)), config.seed, teacher=trajectory_teacher(config, prepared),
        )  # fmt: skip
    assert trainer.memory is not None  # this process leads and the estimate is on
    return trainer.memory.total / 1e9


def hours(root: Root, configs: Iterable[Config]) -> Hours:
    """Return what training points takes, from the rates of finished points of the same root whose steps are the same.

    Evaluation is not counted: it was not measured apart.
    """
    rates, times, unknown = measured(root), [], 0
    for config in configs:
        found = rates.get(step_key(config))
        if found:
            times.append((config.train.steps * median(found), config.train.devices))
        else:
            unknown += 1
    if not times:
        return Hours(None, None, "unknown until one such point has been trained in this root")
    note = f"from {sum(map(len, rates.values()))} finished points"
    note += f"; {unknown} points of other kinds are not counted" if unknown else ""
    return Hours(sum(seconds * devices for seconds, devices in times) / 3600, max(seconds for seconds, _ in times) / 3600, note)


def measured(root: Root) -> dict[str, list[float]]:
    """Return the seconds a step of points that were trained in a root, by `step_key`; of very many the latest."""
    rates: dict[str, list[float]] = {}
    folders = sorted(root.points.glob("*/status.json"), key=lambda path: path.stat().st_mtime, reverse=True)
    for path in folders[:_MOST_READ]:
        seconds = _rate(Run(path.parent))
        if seconds:
            try:
                rates.setdefault(step_key(read_config(Run(path.parent).config)), []).append(seconds)
            except LcmError:  # of an older version
                continue
    return rates


def _rate(run: Run) -> float | None:
    try:
        status: dict[str, Any] = run.read_status()
    except ValueError:
        return None
    steps, seconds = int(status.get("step") or 0), float(status.get("train_seconds") or 0)
    return seconds / steps if status.get("state") in {"done", "trained"} and steps and seconds else None

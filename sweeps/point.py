"""One point of a sweep: prepare, train, evaluate. The same call resumes, and is a no-op when all is done."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields, replace
from pathlib import Path
from typing import TypeVar

import pandas as pd
import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from lcm import checkpoint
from lcm.audio import load_mono_24k
from lcm.blocks import check_partition
from lcm.data import CropSource
from lcm.errors import LcmError
from lcm.evaluate import evaluate_model, evaluation_identity
from lcm.losses import LossConfig
from lcm.model import Model, ModelSpec, transfer
from lcm.network import NetworkConfig
from lcm.objectives import objective_of
from lcm.paths import Root, Run, alone, write_text
from lcm.records import write_provenance, write_records
from lcm.schedule import ScheduleConfig
from lcm.teachers.latent import LatentTeacher
from lcm.train import Trainer, resolve_precision
from sweeps.baselines import ensure_baselines
from sweeps.config import Config, to_yaml
from sweeps.identity import signature
from sweeps.prepare import Prepared, prepare

T = TypeVar("T", NetworkConfig, ScheduleConfig)
STATISTICS_CLIPS = 100  # a thousand seconds of speech fix 128 means and a deviation well


def run_point(config: Config) -> Run:
    """Run or resume one point.

    Returns:
        Its run folder, finished.

    Raises:
        Exception: Whatever stopped it, after the status says so.
    """
    if config.debug:
        config = shorten(config)
    config = replace(config, train=replace(config.train, precision=resolve_precision(config.train.precision)))
    prepared = prepare(config)
    name = signature(config, prepared.contents)
    root = Root(Path(config.root))
    run = root.run(name, config.seed, debug=config.debug)
    try:
        with alone(run.folder):
            _run(config, prepared, run, name)
        if not config.debug:
            ensure_baselines(config, prepared, root)
    except BaseException as error:
        state = "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
        run.write_status(state, error=_first_line(error), traceback=traceback.format_exc())
        raise
    return run


def _run(config: Config, prepared: Prepared, run: Run, name: str) -> None:
    evaluation = evaluation_identity(config.evaluate, prepared.test_set)
    status = run.read_status()
    if status.get("state") == "done" and status.get("evaluation") == evaluation:
        return
    if not run.model.exists():
        write_text(run.config, to_yaml(config))
        write_provenance(run.provenance, prepared.contents)
    run.write_status("running", signature=name, seed=config.seed, steps=config.train.steps, error=None, traceback=None)
    model = _trained(config, prepared, run)
    records = evaluate_model(model, prepared.codec, prepared.manifest, prepared.store, config.evaluate, run)
    write_records(run.records, records.assign(signature=name, seed=config.seed))
    write_provenance(run.evaluated, prepared.contents)
    run.write_status("done", step=config.train.steps, evaluation=evaluation)


def _trained(config: Config, prepared: Prepared, run: Run) -> Model:
    """Load the trained model, or train it to the end."""
    if not run.model.exists():
        trainer = Trainer(
            initial_model(config, prepared),
            prepared.codec,
            crop_source(config, prepared),
            config.objective,
            config.losses,
            config.train,
            run,
            config.seed,
        )
        with progress(config, run, trainer.first) as on_step:
            model = trainer.train(on_step)
        checkpoint.save_model(run.model, model, {"objective": config.objective.name, "steps": config.train.steps})
    return checkpoint.load_model(run.model, prepared.codec)


@contextmanager
def progress(config: Config, run: Run, first: int) -> Iterator[Callable[[int], None]]:
    """Show training on the terminal and, twenty times a run, in the status file."""
    every, before = max(1, config.train.steps // 20), float(run.read_status().get("train_seconds") or 0) if first else 0.0
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("steps"), TimeRemainingColumn())
    started = time.monotonic()
    with Progress(*columns) as bar:
        task = bar.add_task(f"{config.objective.name} {run.folder.name}", total=config.train.steps, completed=first)

        def on_step(step: int) -> None:
            bar.update(task, completed=step)
            if step % every == 0:
                run.write_status("running", step=step, train_seconds=round(before + time.monotonic() - started, 1))

        yield on_step


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


def crop_source(config: Config, prepared: Prepared) -> CropSource:
    """Return the train split's crops, with waveforms only where a loss looks at them."""
    paths = {u.utterance: prepared.manifest.audio_path(u) for u in prepared.manifest.split("train")}
    waveforms = (lambda key: load_mono_24k(paths[key])) if config.losses.needs_audio else None
    return CropSource(prepared.store, prepared.keys("train"), config.data, overlay=prepared.overlay, waveforms=waveforms)


def shorten(config: Config) -> Config:
    """Return the point as a debug run: a few steps and clips, in the foreground."""
    train = replace(config.train, steps=min(20, config.train.steps), checkpoint_every=10)
    evaluate = replace(config.evaluate, max_utterances=2, samples=1)
    return replace(config, train=train, evaluate=evaluate)


def headline(run: Run) -> float:
    """Return what a sweeper would minimise: LSD-HF of one step with low-band copy."""
    table = pd.read_parquet(run.records)
    chosen = table[(table.metric == "lsd_hf") & table.low_band_copy & (table.steps == table.steps.min())]
    return float(chosen.value.mean())


def _needs_logits(losses: LossConfig, network: NetworkConfig) -> bool:
    return network.logits or losses.token_ce != 0


def _codes(prepared: Prepared, key: str, stream: str) -> torch.Tensor:
    return torch.from_numpy(prepared.store.read(key, stream).astype("int64")).t()[None].to(prepared.codec.device)


def _first_line(error: BaseException) -> str:
    lines = str(error).splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else ''}"

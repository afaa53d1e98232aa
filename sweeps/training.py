"""Train a point to the end, or load what is trained."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from lcm import checkpoint
from lcm.audio import load_mono_24k
from lcm.data import CropSource
from lcm.model import Model
from lcm.paths import Run
from lcm.training.memory import MemoryEstimate
from lcm.training.train import Trainer
from lcm.training.validate import Validator, validation_clips
from sweeps.build import initial_model, trajectory_teacher
from sweeps.config import Config
from sweeps.launch import start_ranks
from sweeps.prepare import Prepared


def trained(config: Config, prepared: Prepared, run: Run) -> Model:
    """Load the trained model, or train it to the end, on several devices in processes of their own."""
    if not run.model.exists():
        if config.train.devices > 1:
            start_ranks(run.config, config.train.devices)
        else:
            train(config, prepared, run)
    return checkpoint.load_model(run.model, prepared.codec)


def train(config: Config, prepared: Prepared, run: Run) -> None:
    """Train to the end in this process, which may be one of several ranks; rank 0 writes the model."""
    trainer = Trainer(
        initial_model(config, prepared),
        prepared.codec,
        crop_source(config, prepared),
        config.objective,
        config.losses,
        config.train,
        run,
        config.seed,
        teacher=trajectory_teacher(config, prepared),
        validator=validator(config, prepared),
    )
    if trainer.memory:
        announce(trainer.memory, config, run)
    leads = trainer.fabric.is_global_zero
    with progress(config, run, trainer.first) if leads else nullcontext(lambda step: None) as on_step:
        model = trainer.train(on_step)
    if leads:
        if trainer.measured_gb is not None:
            run.write_status("running", memory_measured_gb=round(trainer.measured_gb, 4))
        checkpoint.save_model(run.model, model, {"objective": config.objective.name, "steps": config.train.steps})
    trainer.fabric.barrier()  # no rank leaves before the model is written


def validator(config: Config, prepared: Prepared) -> Validator | None:
    """Return what validates while training, in the fewest calls at which the objective's model is any good; None if it is off."""
    if not config.train.validate_every:
        return None
    clips = validation_clips(prepared.manifest, prepared.store, config.train.validate_clips, config.evaluate.variant)
    steps = {"diffusion": config.evaluate.teacher_steps, "flow": max(config.evaluate.flow_steps)}.get(config.objective.name, 1)
    return Validator(clips, prepared.codec, steps=steps, seed=config.evaluate.seed, tell_cutoff=config.evaluate.tell_cutoff)


def announce(memory: MemoryEstimate, config: Config, run: Run) -> None:
    """Print the memory estimate and note it in the status."""
    clips, frames = config.train.micro_batch, config.data.crop_frames
    table = Table("memory of a process, estimated")
    table.add_column("GB", justify="right")
    for name, size in memory.to_gb().items():
        table.add_row(name.removesuffix("_gb"), f"{size:.3f}", style="bold" if name == "total_gb" else None)
    Console().print(table, f"{clips} crops of {frames} frames at once", highlight=False)
    run.write_status("running", memory_estimate=memory.to_gb())


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


def crop_source(config: Config, prepared: Prepared) -> CropSource:
    """Return the train split's crops, with waveforms and a teacher's pairs only where a loss looks at them."""
    paths = {u.utterance: prepared.manifest.audio_path(u) for u in prepared.manifest.split("train")}
    waveforms = (lambda key: load_mono_24k(paths[key])) if config.losses.needs_audio else None
    pairs = config.objective.name == "pairs"
    return CropSource(prepared.store, prepared.keys("train"), config.data, overlay=prepared.overlay, waveforms=waveforms, pairs=pairs)

"""Train a point to the end, or load what is trained."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from lcm import checkpoint
from lcm.audio import load_mono_24k
from lcm.data import CropSource
from lcm.degrade import levelled
from lcm.model import Model
from lcm.paths import Run
from lcm.training.memory import MemoryEstimate
from lcm.training.train import Trainer
from lcm.training.validate import Validator, validation_clips
from sweeps import stopping
from sweeps.build import initial_model, trajectory_teacher
from sweeps.claim import Fence
from sweeps.config import Config
from sweeps.launch import start_ranks
from sweeps.prepare import Prepared
from sweeps.team import dismiss

_STATUS_EVERY_S = 30.0


def trained(config: Config, prepared: Prepared, run: Run, fence: Fence) -> Model:
    """Load the trained model, or train it to the end first."""
    ensure_trained(config, prepared, run, fence)
    return checkpoint.load_model(run.model, prepared.codec)


def ensure_trained(config: Config, prepared: Prepared, run: Run, fence: Fence) -> None:
    """Train to the end, on several devices in processes of their own; nothing is done where that was done before.

    Raises:
        Stopped, KeyboardInterrupt: Asked to stop; a checkpoint was written.
    """
    finished = run.model.exists()
    if not finished and config.train.devices > 1:
        with stopping.deferred():
            finished = start_ranks(run.config, config.train.devices, fence)
    elif not finished:
        dismiss()
        finished = train(config, prepared, run, fence)
    dismiss()
    if not finished:
        raise stopping.Stopped  # asked of another task of the team


def train(config: Config, prepared: Prepared, run: Run, fence: Fence) -> bool:
    """Train in this process, which may be one of several ranks, to the end or until asked to stop; rank 0 writes.

    Returns:
        Whether to the end.
    """
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
        stop=stopping.requested,
        fence=fence.check,
    )
    leads = trainer.fabric.is_global_zero
    if leads:
        fence.check()
        run.write_status("running", first_step=trainer.first, step=trainer.first)
    if trainer.memory:
        announce(trainer.memory, config, run)
    with stopping.deferred():
        with progress(config, run, trainer, fence) if leads else nullcontext(lambda step: None) as on_step:
            model = trainer.train(on_step)
        if leads and not trainer.stopped:
            fence.check()
            if trainer.measured_gb is not None:
                run.write_status("running", memory_measured_gb=round(trainer.measured_gb, 4))
            checkpoint.save_model(run.model, model, {"objective": config.objective.name, "steps": config.train.steps})
        trainer.fabric.barrier()  # no rank leaves before the model, or the checkpoint, is written
    return not trainer.stopped


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
def progress(config: Config, run: Run, trainer: Trainer, fence: Fence) -> Iterator[Callable[[int], None]]:
    """Show training on the terminal and, twenty times a run and every half minute, in the status file."""
    first, every = trainer.first, max(1, config.train.steps // 20)
    before = float(run.read_status().get("train_seconds") or 0) if first else 0.0
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("steps"), TimeRemainingColumn())
    started, written, done = time.monotonic(), -math.inf, first

    def write() -> None:
        nonlocal written
        written = time.monotonic()
        fence.check()
        loss = {"loss": round(trainer.values["total"], 6)} if trainer.values else {}
        run.write_status("running", step=done, train_seconds=round(before + written - started, 1), **loss)

    with Progress(*columns) as bar:
        task = bar.add_task(f"{config.objective.name} {run.folder.name}", total=config.train.steps, completed=first)

        def on_step(step: int) -> None:
            nonlocal done
            done = step
            bar.update(task, completed=step)
            if fence.lost or step % every == 0 or time.monotonic() - written >= _STATUS_EVERY_S:
                write()

        yield on_step
        write()


def crop_source(config: Config, prepared: Prepared) -> CropSource:
    """Return the train split's crops, with waveforms and a teacher's pairs only where a loss looks at them."""
    paths = {u.utterance: prepared.manifest.audio_path(u) for u in prepared.manifest.split("train")}
    fixed = config.degradation.fixed
    waveforms = (lambda key: levelled(load_mono_24k(paths[key]), fixed)) if config.losses.needs_audio else None
    pairs = config.objective.name == "pairs"
    keys, n_q = prepared.keys("train"), prepared.codec.n_q
    return CropSource(prepared.store, keys, config.data, overlay=prepared.overlay, waveforms=waveforms, pairs=pairs, codebooks=n_q)

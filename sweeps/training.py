"""Train a point to the end, or load what is trained."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from lcm import checkpoint
from lcm.audio import load_mono_24k
from lcm.data import CropSource
from lcm.model import Model
from lcm.paths import Run
from lcm.train import Trainer
from sweeps.build import initial_model
from sweeps.config import Config
from sweeps.prepare import Prepared


def trained(config: Config, prepared: Prepared, run: Run) -> Model:
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


def crop_source(config: Config, prepared: Prepared) -> CropSource:
    """Return the train split's crops, with waveforms only where a loss looks at them."""
    paths = {u.utterance: prepared.manifest.audio_path(u) for u in prepared.manifest.split("train")}
    waveforms = (lambda key: load_mono_24k(paths[key])) if config.losses.needs_audio else None
    return CropSource(prepared.store, prepared.keys("train"), config.data, overlay=prepared.overlay, waveforms=waveforms)

"""One point of a sweep: prepare, train, evaluate. The same call resumes, and is a no-op when all is done."""

from __future__ import annotations

import traceback
from dataclasses import replace
from pathlib import Path

import pandas as pd

from lcm.auxiliary import check_region
from lcm.errors import LcmError
from lcm.evaluate import evaluate_model, evaluation_identity
from lcm.network import check as check_network
from lcm.objectives import objective_of
from lcm.paths import Root, Run, alone, write_text
from lcm.records import write_provenance, write_records
from lcm.training.optim import resolve_precision
from sweeps.baselines import ensure_baselines
from sweeps.config import Config, to_yaml
from sweeps.identity import signature
from sweeps.prepare import Prepared, prepare
from sweeps.training import trained


def run_point(config: Config) -> Run:
    """Run or resume one point.

    Returns:
        Its run folder, finished.

    Raises:
        Exception: Whatever stopped it, after the status says so.
    """
    check(config)
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
    except BaseException as error:
        state = "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
        run.write_status(state, error=_first_line(error), traceback=traceback.format_exc())
        raise
    if not config.debug:
        ensure_baselines(config, prepared, root)
    return run


def check(config: Config) -> None:
    """Refuse settings that could not be trained, before a corpus is encoded for them.

    Raises:
        LcmError: The first that is wrong; it is named.
    """
    objective_of(config.objective)
    check_network(config.network)
    _ = config.train.micro_batch
    check_region(config.losses.on, crop_frames=config.data.crop_frames, context=config.data.context_frames)
    if config.objective.teacher_forcing and (not config.network.cascade or len(config.blocks.partition) < 2):
        raise LcmError("objective.teacher_forcing needs a cascade of several blocks: set network.cascade=true and blocks.partition.")


def _run(config: Config, prepared: Prepared, run: Run, name: str) -> None:
    evaluation = evaluation_identity(config.evaluate, prepared.test_set)
    status = run.read_status()
    if status.get("state") == "done" and status.get("evaluation") == evaluation:
        return
    write_text(run.config, to_yaml(config))
    if not run.model.exists():
        write_provenance(run.provenance, prepared.contents)
    run.write_status("running", signature=name, seed=config.seed, steps=config.train.steps, error=None, traceback=None)
    model = trained(config, prepared, run)
    records = evaluate_model(model, prepared.codec, prepared.manifest, prepared.store, config.evaluate, run)
    write_records(run.records, records.assign(signature=name, seed=config.seed))
    write_provenance(run.evaluated, prepared.contents)
    run.write_status("done", step=config.train.steps, evaluation=evaluation)


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


def _first_line(error: BaseException) -> str:
    lines = str(error).splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else ''}"

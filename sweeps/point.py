"""One point of a sweep: prepare, train, evaluate. The same call resumes, and is a no-op when all is done."""

from __future__ import annotations

import json
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from lcm.errors import LcmError
from lcm.evaluate import evaluate_model, evaluation_identity
from lcm.paths import Root, Run, write_text
from lcm.records import write_provenance, write_records
from lcm.training.optim import resolve_precision
from slurm.progress import job_name, node_name, now
from sweeps import stopping
from sweeps.baselines import ensure_baselines
from sweeps.check import check
from sweeps.claim import Fence, Lost, claimed, job_is_gone
from sweeps.config import Config, check_choice, to_yaml
from sweeps.identity import signature
from sweeps.naming import point_name
from sweeps.prepare import Prepared, prepare
from sweeps.training import ensure_trained, trained

HEADLINES = ("lsd_hf", "si_sdr")


def run_point(
    config: Config, *, wait: bool = True, expect: str = "", until: str = "done", on_run: Callable[[Run], None] | None = None
) -> Run:
    """Run or resume one point.

    TERM and USR2 stop it, Ctrl-C too while it trains: with a checkpoint, so that the same call goes on from there.

    Args:
        config: The point.
        wait: Whether to wait where another process works on it.
        expect: The signature that it must have; empty for any.
        until: `done`, or `trained` to leave evaluating to a later call.
        on_run: Called as soon as the run folder is known.

    Returns:
        Its run folder, finished.

    Raises:
        Taken: Another process works on it, and `wait` is false.
        LcmError: It is another point than expected.
        Stopped, KeyboardInterrupt: Asked to stop; the status says so.
        Exception: Whatever stopped it, after the status says so.
    """
    with stopping.listening():
        check(config)
        check_choice("until", until, ("trained", "done"))
        point = _resolved(config, until)
        _check_expected(point, expect)
        if on_run:
            on_run(point.run)
        if not point.is_finished():
            with claimed(point.run, wait=wait, is_gone=job_is_gone) as fence:
                _attempt(point, fence)
        if until == "done" and not config.debug:
            stopping.honour()
            ensure_baselines(point.config, point.prepared, Root(Path(config.root)))
    return point.run


@dataclass(frozen=True)
class _Point:
    """A point whose inputs are there.

    Attributes:
        config: With the precision that this machine trains in.
        prepared: Its inputs.
        signature: What it is.
        name: What a person calls it.
        run: Its run folder.
        until: How far it is to go.
    """

    config: Config
    prepared: Prepared
    signature: str
    name: str
    run: Run
    until: str

    @property
    def evaluation(self) -> str:
        return evaluation_identity(self.config.evaluate, self.prepared.test_set)

    def is_finished(self) -> bool:
        """Say whether nothing is left to do in the run folder."""
        status = self.run.read_status()
        if self.until == "trained":
            return status.get("state") in {"trained", "done"} and self.run.model.exists()
        return status.get("state") == "done" and status.get("evaluation") == self.evaluation


def _resolved(config: Config, until: str) -> _Point:
    """Prepare a point, and find out what it is."""
    name = point_name(config)
    if config.debug:
        config = shorten(config)
    config = replace(config, train=replace(config.train, precision=resolve_precision(config.train.precision)))
    prepared = prepare(config)
    identity = signature(config, prepared.contents)
    return _Point(config, prepared, identity, name, Root(Path(config.root)).run(identity, config.seed, debug=config.debug), until)


def _check_expected(point: _Point, expect: str) -> None:
    """Refuse a point that has become another since it was submitted."""
    if expect in {"", point.signature}:
        return
    changed, now = [], point.prepared.contents
    for path in sorted(point.run.folder.parent.glob(f"{expect}-s*/provenance.json")):  # it may have been begun
        before = json.loads(path.read_text(encoding="utf-8")).get("contents", {})
        changed = [name for name in sorted({*before, *now}) if before.get(name) != now.get(name)]
    what = " and ".join(changed) or "store, codec or teacher"
    raise LcmError(
        f"The point was submitted as {expect} and is {point.signature} now: the {what} behind its paths has changed since. Submit again."
    )


def _attempt(point: _Point, fence: Fence) -> None:
    """Run a point whose folder this process owns, and write down how it ends."""
    try:
        if not point.is_finished():  # the one that was waited for may have done it
            _run(point, fence)
    except Lost:
        raise  # the status is somebody else's
    except BaseException as error:
        with suppress(OSError, Lost):  # a full disk must not hide what went wrong
            fence.check()
            point.run.write_status(**_ending(error))
        if isinstance(error, stopping.Stopped):
            print(f"stopped as asked: the same call goes on from the last checkpoint in {point.run.folder}", flush=True)
        raise


def _ending(error: BaseException) -> dict[str, Any]:
    """Return the status that an error leads to."""
    if isinstance(error, stopping.Stopped):
        return {"state": "stopped", "error": None, "traceback": None}
    state = "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
    return {"state": state, "error": _first_line(error), "traceback": "".join(traceback.format_exception(error))}


def _run(point: _Point, fence: Fence) -> None:
    """Train and evaluate as far as is wanted and not done."""
    config, prepared, run = point.config, point.prepared, point.run
    fence.check()
    write_text(run.config, to_yaml(config))
    if not run.model.exists():
        write_provenance(run.provenance, prepared.contents)
    what = {"signature": point.signature, "seed": config.seed, "name": point.name, "steps": config.train.steps}
    here = {"job": job_name(), "host": node_name(), "started": now(), "first_step": config.train.steps if run.model.exists() else 0}
    run.write_status("running", **what, **here, error=None, traceback=None)
    if point.until == "trained":
        ensure_trained(config, prepared, run, fence)
        fence.check()
        run.write_status("trained", step=config.train.steps)
        return
    model = trained(config, prepared, run, fence)
    stopping.honour()
    fence.check()
    records = evaluate_model(model, prepared.codec, prepared.manifest, prepared.store, config.evaluate, run)
    fence.check()
    write_records(run.records, records.assign(signature=point.signature, seed=config.seed))
    write_provenance(run.evaluated, prepared.contents)
    run.write_status("done", step=config.train.steps, evaluation=point.evaluation, headline=headlines(records))


def shorten(config: Config) -> Config:
    """Return the point as a debug run: a few steps and clips, in the foreground, in this one process, where a debugger can be."""
    accumulate = config.train.accumulate * config.train.devices
    train = replace(config.train, steps=min(20, config.train.steps), checkpoint_every=10, devices=1, accumulate=accumulate)
    evaluate = replace(config.evaluate, max_utterances=2, samples=1, worst=1)
    return replace(config, train=train, evaluate=evaluate)


def headline(run: Run) -> float:
    """Return what a sweeper would minimise: LSD-HF of one step with low-band copy."""
    return headlines(pd.read_parquet(run.records)).get("lsd_hf", float("nan"))


def headlines(records: pd.DataFrame) -> dict[str, float]:
    """Return the means over clips that a point is first judged by, in the fewest steps with low-band copy; without those not defined."""
    chosen = records[records.low_band_copy & (records.steps == records.steps.min()) & records.metric.isin(HEADLINES)]
    return {str(name): round(float(value), 6) for name, value in chosen.groupby("metric").value.mean().dropna().items()}


def _first_line(error: BaseException) -> str:
    lines = str(error).splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else ''}"

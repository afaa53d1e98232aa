"""What is known of a point before it runs: its run folder, and whether that is finished."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

from lcm.errors import LcmError
from lcm.evaluate import evaluation_identity
from lcm.paths import Run
from sweeps.config import Config
from sweeps.identity import signatures
from sweeps.prepare import asks_teacher, find, needs_overlay
from sweeps.sweep.freeze import root_of


@dataclass(frozen=True)
class Known:
    """What the disk says of a point.

    Attributes:
        prepared: Whether corpus, codes and teacher's codes are there.
        run: Name of its run folder; empty where that depends on what is not there yet, or on the GPU.
        done: Whether it is trained and evaluated as asked.
    """

    prepared: bool
    run: str = ""
    done: bool = False


@dataclass(frozen=True)
class _Contents:
    """Identities of what a group of points shares."""

    contents: dict[str, str]
    test_set: str


class Inputs:
    """Looks up what points need, once for all that need the same."""

    def __init__(self) -> None:
        self._found: dict[str, _Contents | LcmError | None] = {}

    def of(self, config: Config) -> _Contents | None:
        """Return what a point's inputs are; None where they are not there yet.

        Raises:
            LcmError: The corpus, codec or teacher that it names cannot be read.
        """
        name = needs(config)
        if name not in self._found:
            self._found[name] = _contents(config)
        found = self._found[name]
        if isinstance(found, LcmError):
            raise found
        return found

    def look_up(self, config: Config) -> Known:
        """Return what is known of a point.

        Raises:
            LcmError: One of its inputs, or what its run folder says, cannot be read.
        """
        inputs = self.of(config)
        if inputs is None:
            return Known(prepared=False)
        evaluation = evaluation_identity(config.evaluate, inputs.test_set)
        runs = [root_of(config).run(name, config.seed) for name in signatures(config, inputs.contents).values()]
        done = next((run for run in runs if _is_done(run, evaluation)), None)
        if done is not None:
            return Known(prepared=True, run=done.folder.name, done=True)
        trained = [run for run in runs if run.model.exists()]  # what is evaluated in another way is not trained again in another precision
        certain = runs if len(runs) == 1 else trained
        return Known(prepared=True, run=certain[0].folder.name if certain else "")


def needs(config: Config) -> str:
    """Return a key of all that decides what a point needs before it trains: points with one key share it."""
    asked: dict[str, Any] = {name: asdict(getattr(config, name)) for name in ("corpus", "degradation", "codec")}
    if asks_teacher(config):
        asked["teacher"] = asdict(config.teacher)
        asked["overlay"] = (config.objective.name == "pairs") if needs_overlay(config) else None
    return json.dumps([config.root, config.shards, asked], sort_keys=True)


def _contents(config: Config) -> _Contents | LcmError | None:
    """Return what a point's inputs are, or why they cannot be read: a thousand points whose teacher is gone are to be told so at once."""
    try:
        prepared = find(config)
    except LcmError as error:
        return error
    return _Contents(prepared.contents, prepared.test_set) if prepared else None


def _is_done(run: Run, evaluation: str) -> bool:
    status = run.read_status()
    return status.get("state") == "done" and status.get("evaluation") == evaluation

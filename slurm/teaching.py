"""The teacher's training as a stage of a root: the sweeps' own command, in a process that can be interrupted and resumed."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

from lcm.paths import Run, write_text
from lcm.store import StoreError
from slurm.config import GenerateConfig
from slurm.signals import Stop
from slurm.stages import Generation

_POLL_S, _PATIENCE_S = 0.2, 15.0


def train_teacher(folder: Path, stop: Stop | None = None, frozen: str = "") -> bool:
    """Train the teacher on the finished codes store, or find it trained; a job of its own between codes and overlay.

    Args:
        folder: The root.
        frozen: Digest of the settings of a submission; empty: those that were asked last.
        stop: Where it is set, training is interrupted; it resumes from its last checkpoint when it is called again.

    Returns:
        Whether the teacher is there; False where training was interrupted.

    Raises:
        StoreError: The training failed.
    """
    generation = Generation.at(folder, frozen)
    if generation.trained() is not None:
        return True
    words = [f"root={folder}", "objective=diffusion", *site_words(generation.config), *generation.config.train]
    code, lines = _follow([sys.executable, "-m", "sweeps.run", *words], Stop() if stop is None else stop)
    if stop:
        return False
    found = re.search(r"^done: (.+)$", "".join(lines), re.MULTILINE)
    if code or found is None:
        raise StoreError(f"Training the teacher failed (exit code {code}): `python -m sweeps.run {' '.join(words)}`. See the log.")
    model = Run(Path(found[1]).absolute()).model
    noted = {"words": list(generation.config.train), "checkpoint": str(model)}
    write_text(generation.root.trained_teacher(generation.key("overlay")), json.dumps(noted, indent=1))
    return True


def _follow(command: list[str], stop: Stop) -> tuple[int, list[str]]:
    """Run a command, print what it prints, and interrupt it once when asked to stop; returns its exit code and its lines."""
    lines: list[str] = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None  # it was asked for
        reader = threading.Thread(target=_copy, args=(process.stdout, lines), daemon=True)
        reader.start()
        asked_at = 0.0
        while process.poll() is None:
            if stop and not asked_at:
                asked_at = time.monotonic()
                process.send_signal(signal.SIGINT)
            elif asked_at and time.monotonic() - asked_at > _PATIENCE_S:  # what was started in the background ignores SIGINT
                process.terminate()
            time.sleep(_POLL_S)
        reader.join()
    return process.returncode, lines


def _copy(source: IO[str], lines: list[str]) -> None:
    for line in source:
        print(line, end="", flush=True)
        lines.append(line)


def site_words(config: GenerateConfig) -> list[str]:
    """Return the words with which a sweep finds this root's corpus, codes and shards again."""
    return [
        *_differences("corpus", config.corpus),
        *_differences("degradation", config.degradation),
        *_differences("codec", config.codec),
        f"shards={config.shards}",
    ]


def _differences(group: str, value: Any) -> list[str]:
    mine, default = asdict(value), asdict(type(value)())
    return [f"{group}.{name}={_word(mine[name])}" for name in mine if mine[name] != default[name]]


def _word(value: Any) -> str:
    """Return a value as a word of hydra's grammar."""
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{key}:{_word(item)}" for key, item in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ",".join(map(_word, value)) + "]"
    return (
        "null"
        if value is None
        else json.dumps(value)
        if isinstance(value, str)
        else str(value).lower()
        if isinstance(value, bool)
        else str(value)
    )

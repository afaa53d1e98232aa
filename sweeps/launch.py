"""Start the processes that train one point together, on this machine, and pass on how they ended."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from lcm.errors import LcmError, TrainingError

ERRORS_VARIABLE = "LCM_RANK_ERRORS"  # names the folder in which a rank leaves why it failed
_GRACE_S = 60  # torch.distributed.run gives the ranks 30 s to end
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None  # loaded here: after a fork nothing may be


def start_ranks(config: Path, devices: int) -> None:
    """Train the point of a frozen config in `devices` processes, to the end.

    They run in a session of their own, so that Ctrl-C reaches this process alone, which then ends them.

    Args:
        config: `config.yaml` in the run folder.
        devices: Number of processes.

    Raises:
        TrainingError: A rank failed; the message is the first error of any.
    """
    with tempfile.TemporaryDirectory(prefix="lcm-ranks-") as errors:
        # The address is named since a node's host name may not resolve.
        options = ["--standalone", "--local-addr", "127.0.0.1", "--nproc-per-node", str(devices), "-m", "sweeps.ranks", str(config)]
        defaults = {"TORCH_CPP_LOG_LEVEL": "ERROR", "OMP_NUM_THREADS": str(max(1, torch.get_num_threads() // devices))}
        process = subprocess.Popen(
            [sys.executable, "-m", "torch.distributed.run", *options],
            env={**defaults, **os.environ, ERRORS_VARIABLE: errors},
            start_new_session=True,
            preexec_fn=_end_with_parent,  # noqa: PLW1509  # it makes one system call
        )
        with _ended(process):
            code = process.wait()
        if code:
            raise TrainingError(_first_error(Path(errors)) or f"A rank of {config.parent} ended with {code}: its output is above.")


@contextmanager
def errors_passed_on() -> Iterator[None]:
    """Leave the first line of an error for the process that started this rank; an error for the user ends without a traceback."""
    try:
        yield
    except Exception as error:
        lines = str(error).splitlines()
        text = lines[0] if lines else ""
        known = isinstance(error, LcmError)
        if folder := os.environ.get(ERRORS_VARIABLE):
            message = text if known else f"{type(error).__name__}: {text}"
            (Path(folder) / os.environ["RANK"]).write_text(message, encoding="utf-8")
        if known:
            raise SystemExit(f"{type(error).__name__}: {text}") from error
        raise


def _first_error(folder: Path) -> str | None:
    """Return what failed first: the others then fail because they lost it."""
    files = sorted(folder.iterdir(), key=lambda file: file.stat().st_mtime_ns)
    return f"rank {files[0].name}: {files[0].read_text(encoding='utf-8')}" if files else None


@contextmanager
def _ended(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """End the ranks when the body is interrupted."""
    try:
        yield
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(_GRACE_S)
            except subprocess.TimeoutExpired:
                process.kill()


def _end_with_parent() -> None:
    """Let Linux end the ranks also when this process is killed: PR_SET_PDEATHSIG, in linux/prctl.h."""
    if _LIBC:
        _LIBC.prctl(1, signal.SIGTERM)

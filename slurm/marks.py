"""Let the processes of one job end together: a requeue takes all of them down, so the last to stop asks for it."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from slurm.signals import Stop

_POLL_S = 0.5


@dataclass(frozen=True)
class Marks:
    """Files that say which processes of a job have come to their end, in this run of it.

    Attributes:
        folder: Where they lie: the submission's logs.
        element: Number of the job in its submission.
        processes: Processes of the job.
        grace_s: Seconds to wait for the others.
    """

    folder: Path
    element: int
    processes: int
    grace_s: float

    def path(self, process: int) -> Path:
        """Return the mark of one process; a job that runs again has others."""
        return self.folder / f"ended-{self.element}-{os.environ.get('SLURM_RESTART_COUNT', '0')}-{process}"

    @contextmanager
    def mine(self) -> Iterator[None]:
        """Leave this process's mark when the context ends, however it does."""
        try:
            yield
        finally:
            if self.processes > 1:
                with suppress(OSError):  # the others then wait for as long as they may
                    self.path(process_number()).touch()

    def wait(self, stop: Stop) -> None:
        """Wait until all processes of the job have ended; not if this one was told to end, and not for longer than allowed."""
        until = time.monotonic() + (self.grace_s if self.processes > 1 else 0.0)
        while not stop.end and time.monotonic() < until and not all(self.path(n).exists() for n in range(self.processes)):
            time.sleep(_POLL_S)


def process_number() -> int:
    """Return the number of this process in its job; a local job may run inside a SLURM allocation."""
    local = os.environ.get("SUBMITIT_EXECUTOR") == "local"
    return int(os.environ.get("SUBMITIT_LOCAL_GLOBALID" if local else "SLURM_PROCID", "0"))

"""Who works on a run folder: one owner at a time, over all nodes that share the file system, without locks.

`claims/000007.json` is made by a hard link, which succeeds for one process alone, also on NFS; the highest number owns the folder. The
owner touches `000007.beat` while it lives and makes `000007.released` when it lets go. Whoever wants the folder takes the next number
when the owner has let go or must be dead; that its beat stands still is judged by the contender's own clock, so clocks need not agree.
An owner that was only cut off finds the higher number before it writes again, and stops.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from lcm.errors import LcmError
from lcm.paths import Run
from sweeps.claim_files import ClaimFiles, Owner, is_dead, this_process
from sweeps.heartbeat import BEAT_S, STALE_S, Silence, beating

_SILENT_BEATS = 3  # after so many the scheduler is asked whether the owner's job lives
_KEPT = 5  # claims before the owner's, for whoever wonders what happened
_SAY_AFTER_S = 1.0


class ClaimError(LcmError):
    """A run folder cannot be claimed."""


class Taken(ClaimError):  # noqa: N818  # says what became of the run
    """Somebody else works on the run."""


class Lost(ClaimError):  # noqa: N818  # likewise
    """Somebody else has taken the run over, or its claims were removed: this process must not write there any more."""


class Fence:
    """Tells a process whether the folder is still its own.

    Args:
        run: The run.
        number: The claim; 0 is none, and always holds.

    Attributes:
        lost: Whether it is known to be lost.
    """

    def __init__(self, run: Run, number: int = 0) -> None:
        self.run, self.number, self.lost = run, number, False
        self.files = ClaimFiles(run.claims)

    def check(self) -> None:
        """Look before something is written.

        Raises:
            Lost: The folder is somebody else's.
        """
        if not self.holds():
            raise Lost(self._who())

    def holds(self) -> bool:
        """Return whether the folder is still this process's."""
        if self.number and not self.lost:
            with suppress(OSError):  # a file system that does not answer will say so itself to whoever writes
                self.lost = self.files.highest() != self.number
        return not self.lost

    def _who(self) -> str:
        number = 0
        with suppress(OSError):
            number = self.files.highest()
        owner = self.files.read(number)
        if owner is None:
            return f"The claim {self.files.claim(self.number)} was removed while it was worked on. Run the same command again."
        return f"{self.run.folder} was taken over by {owner}: this process was not heard of for too long. It goes on there."


@dataclass
class _Watch:
    """What a contender sees of an owner: its claim, its silence, and whether the scheduler was asked about its job."""

    number: int
    silence: Silence
    asked: bool = False


@contextmanager
def claimed(
    run: Run,
    *,
    wait: bool,
    is_gone: Callable[[str], bool | None] | None = None,
    stale_s: float = STALE_S,
    beat_s: float = BEAT_S,
) -> Iterator[Fence]:
    """Own a run folder while the block lasts.

    Args:
        run: The run; its folder is made.
        wait: Whether to wait for an owner that is alive.
        is_gone: Says of an owner's job whether it is known to have ended, None where unknown; asked once its beat stands still.
        stale_s: Seconds after which an owner whose beat stands still is taken for dead.
        beat_s: Seconds between two signs of life.

    Raises:
        Taken: Its owner is alive, and `wait` is false.
        ClaimError: The folder cannot be written to.
    """
    try:
        number = _Contender(run, wait, is_gone or (lambda job: None), stale_s, beat_s).take()
    except OSError as error:
        raise ClaimError(
            f"{run.folder} cannot be claimed: {error}. Whoever works on a run writes to its folder: expected that this user may, and "
            "that there is room. Ask its owner for write access, or set another root=."
        ) from error
    fence = Fence(run, number)
    with beating(fence.files.beat(number), beat_s, fence.holds):
        try:
            yield fence
        finally:
            if not fence.lost:
                with suppress(OSError):  # then others wait until the beat is old
                    fence.files.released(number).touch()


def owner_of(run: Run) -> Owner | None:
    """Return who owns a run folder, alive or dead; None where nobody does."""
    files = ClaimFiles(run.claims)
    number = files.highest()
    return None if files.released(number).exists() else files.read(number)


def job_is_gone(job: str) -> bool | None:
    """Ask SLURM whether a job of this user has ended; None where it does not answer."""
    from slurm import scheduler

    try:
        return job not in scheduler.live_jobs()
    except scheduler.SchedulerError:
        return None


@dataclass
class _Contender:
    """Somebody who wants a run folder; see `claimed`."""

    run: Run
    wait: bool
    is_gone: Callable[[str], bool | None]
    stale_s: float
    beat_s: float

    def take(self) -> int:
        """Return the number of the claim that was won."""
        files, me, say_at = ClaimFiles(self.run.claims), this_process(), time.monotonic() + _SAY_AFTER_S
        files.folder.mkdir(parents=True, exist_ok=True)
        watch = None
        while True:
            last = files.highest()
            if watch is None or watch.number != last:
                watch = _Watch(last, Silence(files.beat(last)))
            # the second look: whoever slept since the first may have won a number that was long over and forgotten
            if self._is_free(files, me, watch) and files.make(last + 1, me) and files.highest() == last + 1:
                if last and not files.released(last).exists():
                    print(f"going on in place of {files.read(last) or 'a process'}, which has ended", flush=True)
                files.forget(last + 1, _KEPT)
                return last + 1
            if watch.silence.broken and not self.wait:
                raise Taken(f"{self.run.folder} is in the hands of {files.read(last) or 'another process'}: it goes on there.")
            if time.monotonic() >= say_at:
                say_at = math.inf
                print(f"waiting for {files.read(last) or 'another process'}, which has {self.run.folder}", flush=True)
            time.sleep(min(self.beat_s / 5, 1.0))

    def _is_free(self, files: ClaimFiles, me: Owner, watch: _Watch) -> bool:
        """Say whether nobody owns the folder any more."""
        if not watch.number or files.released(watch.number).exists():
            return True
        owner = files.read(watch.number)
        if owner and (is_dead(owner, me) or (owner.job and owner.job == me.job and owner.restart < me.restart)):
            return True
        silent_s = watch.silence.seconds()
        if silent_s < _SILENT_BEATS * self.beat_s:
            watch.asked = False
        elif owner and owner.job and not watch.asked:
            watch.asked = True  # not before: `squeue --me` does not know other users' jobs, whose owners beat
            if self.is_gone(owner.job):
                return True
        return silent_s >= self.stale_s

"""Run several processes in one task, a few at once; end them when asked, and sort how they ended."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from subprocess import Popen

from lcm.errors import LcmError
from slurm.signals import Stop
from sweeps.stopping import TO_BE_CONTINUED

_POLL_S, _REMIND_S = 0.2, 2.0


class Pack:
    """Runs processes, a few at once, and ends them all when asked.

    Args:
        numbers: What to run.
        stop: When to stop.
        width: How many at once.
        begin: Starts one, or says why it is not.
        why: Told how each ended; returns why one failed.
    """

    def __init__(
        self,
        numbers: Sequence[int],
        stop: Stop,
        width: int,
        begin: Callable[[int], Popen[bytes] | str],
        why: Callable[[int, int], str],
    ) -> None:
        self.waiting, self.stop, self.width, self.begin, self.why = list(numbers), stop, width, begin, why
        self.running: dict[int, Popen[bytes]] = {}
        self.left: list[int] = []
        self.failed: dict[int, str] = {}
        self._reminded = 0.0

    def run(self) -> dict[int, str]:
        """Run all of them, or as long as allowed; returns why some failed. What is left is in `left`."""
        while (self.waiting and not self.stop) or self.running:
            while self.waiting and len(self.running) < self.width and not self.stop:
                self._begin(self.waiting.pop(0))
            if self.stop:
                self._remind()
            for number, code in self._ended():
                self._note(number, code)
            time.sleep(_POLL_S)
        self.left += self.waiting
        return self.failed

    def _begin(self, number: int) -> None:
        try:
            begun = self.begin(number)
        except LcmError as error:  # such as a damaged file of this point: the others go on
            begun = str(error)
        if isinstance(begun, str):
            self.failed[number] = begun
        else:
            print(f"sweeps: point {number} runs in process {begun.pid}", flush=True)
            self.running[number] = begun

    def _ended(self) -> Iterator[tuple[int, int]]:
        for number, process in list(self.running.items()):
            if process.poll() is not None:
                del self.running[number]
                yield number, process.returncode

    def _note(self, number: int, code: int) -> None:
        """Sort one that has ended. One that was killed after it had been asked to stop may not have listened yet: it goes on later."""
        if code < 0 and self.stop:
            code = TO_BE_CONTINUED
        try:
            why = self.why(number, code)
        except LcmError as error:
            why, code = str(error), code or 1
        if code == TO_BE_CONTINUED:
            self.left.append(number)
        elif code:
            self.failed[number] = why
        print(f"sweeps: point {number} ended with {code}{f': {self.failed[number]}' if number in self.failed else ''}", flush=True)

    def _remind(self) -> None:
        """Ask all to stop, again and again: one that was still importing has not heard it."""
        if time.monotonic() - self._reminded >= _REMIND_S:
            self._reminded = time.monotonic()
            for process in self.running.values():
                process.terminate()

"""Run one point of a sweep that was submitted, as it was frozen then.

python -m sweeps.frozen ROOT/sweeps/NAME NUMBER [--until trained] [--debug]

Ends with 0 when all is done or in the hands of another process, 75 when it was asked to stop and is to be continued, else with what
went wrong. What it prints goes to the sweep's log of the point.
"""

from __future__ import annotations

import argparse
import sys
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

from sweeps import stopping

if TYPE_CHECKING:
    from lcm.paths import Run, SweepFolder
    from sweeps.config import Config

_INTERRUPTED = 130  # as a shell has it: 128 + SIGINT


class Attempt:
    """An attempt at a point.

    Args:
        folder: The sweep's folder.
        number: The point's number in it.
    """

    def __init__(self, folder: Path, number: int) -> None:
        from lcm.paths import SweepFolder

        self.folder: SweepFolder = SweepFolder(folder.absolute())
        self.number = number

    def run(self, until: str, *, debug: bool = False) -> int:
        """Run the point; returns the exit code."""
        from lcm.errors import LcmError
        from sweeps.claim import Lost, Taken
        from sweeps.team import leading

        try:
            with leading():
                self._begin()
                self._run_point(until, debug)
        except (Taken, Lost) as error:
            print(error, flush=True)
        except KeyboardInterrupt:
            return _INTERRUPTED
        except Exception as error:
            self._note(error)
            if not isinstance(error, LcmError):
                raise
            print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
            return 1
        return 0

    def _begin(self) -> None:
        from slurm.progress import job_name, node_name

        self._place(error="")
        job = f"job {job_name()}" if job_name() else "no job"
        print(f"=== attempt: {job} on {node_name()}, {datetime.now(timezone.utc):%Y-%m-%d %H:%M:%S} UTC", flush=True)

    def _run_point(self, until: str, debug: bool) -> None:
        from sweeps.config import read_config
        from sweeps.point import run_point
        from sweeps.sweep.record import read_sweep

        config = replace(read_config(self.folder.config(self.number)), debug=debug)
        runs = [point.run for point in read_sweep(self.folder).points if point.number == self.number]
        expect = "" if debug else _signature(*runs[:1])
        if config.train.precision == "auto" and not debug:
            config, expect = self._as_begun(config, expect)
        run_point(config, wait=False, expect=expect, until=until, on_run=None if debug else self._found)

    def _as_begun(self, config: Config, expect: str) -> tuple[Config, str]:
        """Return a point of precision `auto` as an earlier attempt has found it, with its signature.

        Found out again by a job without a GPU, or on a GPU of another kind, it could be another point: one that is trained from the start.
        """
        from lcm.paths import Root, Run
        from sweeps.config import read_config
        from sweeps.sweep.record import read_place

        name = read_place(self.folder, self.number).run
        begun = Run(Root(Path(config.root)).points / name).config
        if not name or not begun.exists():
            return config, expect
        train = replace(config.train, precision=read_config(begun).train.precision)
        return replace(config, train=train), expect or _signature(name)

    def _found(self, run: Run) -> None:
        self._place(run=run.folder.name)

    def _note(self, error: Exception) -> None:
        """Write down what went wrong, for where the run folder cannot say so: before there is one, and after it is done."""
        with suppress(OSError):  # a full disk must not hide what went wrong
            self._place(error=f"{type(error).__name__}: {error}".splitlines()[0])

    def _place(self, **values: str) -> None:
        from slurm.progress import job_name, node_name
        from sweeps.sweep.record import write_place

        write_place(self.folder, self.number, **values, job=job_name(), host=node_name())


def _signature(run: str = "") -> str:
    """Return the signature in the name of a run folder; empty where there is none."""
    return run.rpartition("-s")[0]


def main() -> None:
    """Run the point that the command line names."""
    stopping.install()  # first of all: what comes before a slow import is heard too
    parser = argparse.ArgumentParser(prog="python -m sweeps.frozen", description="Run one point of a sweep as it was frozen at submit.")
    parser.add_argument("folder", type=Path, help="the sweep's folder")
    parser.add_argument("number", type=int, help="the point's number in it")
    parser.add_argument("--until", choices=("trained", "done"), default="done", help="how far")
    parser.add_argument("--debug", action="store_true", help="short, into a folder of its own")
    args = parser.parse_args()
    raise SystemExit(Attempt(args.folder, args.number).run(args.until, debug=args.debug))


if __name__ == "__main__":
    main()

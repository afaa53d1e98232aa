"""Many files one after another: what fails is told and the others go on; what is finished is skipped when the command runs again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from lcm.audio import AudioError
from lcm.errors import LcmError
from lcm.paths import sha256
from lcm.upscaling.core import Upscaler
from lcm.upscaling.inputs import shown
from lcm.upscaling.one import Settings, finished, scan, upscale_file
from lcm.upscaling.plan import Job, Plan, UsageError
from lcm.upscaling.report import Report, line, planned_line


@dataclass
class Tally:
    """How many files ended how."""

    made: int = 0
    finished: int = 0
    failed: int = 0

    def text(self, made: str) -> str:
        """Return the last line: `made` says what was done to those that were."""
        others = [f"{count} {what}" for count, what in ((self.finished, "finished earlier"), (self.failed, "failed")) if count]
        return ", ".join([f"{self.made} {made}", *others])


def run(plan: Plan, settings: Settings, load: Callable[[], Upscaler], *, dry: bool = False, quiet: bool = False) -> Tally:
    """Make every output of a plan.

    Args:
        plan: What to make.
        settings: How.
        load: Loads the model; called at most once, and not before it is needed.
        dry: Tell what would be done, and make nothing.
        quiet: Print errors alone.

    Returns:
        How many ended how.

    Raises:
        UsageError: The model cannot be loaded; what was finished before stays.
    """
    tally = Tally()
    with Report(sum(job.header.seconds for job in plan.jobs if job.header.seconds < 1e9), quiet=quiet) as report:
        for note in plan.notes:
            report.tell(note)
        for path, reason in plan.failures:
            _failed(tally, report, path, reason)
        loaded = cache(load)
        for job in plan.jobs:
            report.working(job.header.path)
            try:
                told = (_tell if dry else _make)(job, settings, plan, loaded, report, tally)
            except UsageError:
                raise
            except LcmError as error:
                _failed(tally, report, job.header.path, _reason(error, job))
            except OSError as error:
                _failed(tally, report, job.header.path, error.strerror or str(error))
            except MemoryError:
                _failed(tally, report, job.header.path, "memory ran out")
            except Exception as error:  # one file's trouble is not to stop the others
                _failed(tally, report, job.header.path, f"unexpected {type(error).__name__}: {error}")
            else:
                report.tell(told)
                continue
            report.leave_out(job.header.seconds)
    return tally


def _make(job: Job, settings: Settings, plan: Plan, load: Callable[[], Upscaler], report: Report, tally: Tally) -> str:
    outcome = upscale_file(job, settings, plan.state, load, report.advance)
    if outcome.action == "finished":
        tally.finished += 1
        report.leave_out(job.header.seconds)
    else:
        tally.made += 1
    return line(job, outcome)


def _tell(job: Job, settings: Settings, plan: Plan, _load: Callable[[], Upscaler], _report: Report, tally: Tally) -> str:
    outcome = finished(job, settings, plan.state, sha256(job.header.path))
    if outcome:
        tally.finished += 1
        return line(job, outcome)
    found = scan(job.header, settings.cutoff_hz)
    tally.made += 1
    return planned_line(job, found, Upscaler.output_rate(job.header.sample_rate_hz))


def _failed(tally: Tally, report: Report, path: Path, reason: str) -> None:
    tally.failed += 1
    report.fail(f"failed: {shown(path)}: {reason}")


def _reason(error: LcmError, job: Job) -> str:
    """Return an error without the input's name, which the line begins with; an output's name stays, made printable."""
    if not isinstance(error, AudioError):
        return str(error)
    return error.reason if error.path == job.header.path else f"{shown(error.path)}: {error.reason}"

"""What `lcm upscale` tells: a line a file, and a progress bar with the seconds of audio done and the real-time factor."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from lcm.upscaling.inputs import shown
from lcm.upscaling.one import Outcome, Scan
from lcm.upscaling.plan import Job


def line(job: Job, outcome: Outcome) -> str:
    """Return what became of a file, on one line."""
    header = job.header
    name, output = shown(header.path), shown(job.output)
    if outcome.action == "finished":
        return f"{name}: finished earlier as {output}, skipped"
    rates = f"{header.sample_rate_hz:,} -> {outcome.sample_rate_hz:,} Hz"
    if outcome.action == "passed":
        rates, content = f"{header.sample_rate_hz:,} Hz", f"full band ({outcome.cutoff_hz / 1000:.1f} kHz), passed through"
    elif outcome.silent:
        content = "silent"
    else:
        content = f"content to {outcome.cutoff_hz / 1000:.1f} kHz"
    told = [f"{name}: {duration(header.seconds)}, {channels(header.channels)}, {rates}, {content} -> {output}"]
    if job.form.note and (outcome.action != "finished"):
        told.append(job.form.note)
    if outcome.limited:
        told.append(f"{outcome.limited} samples beyond full scale were limited")
    return "; ".join(told)


def planned_line(job: Job, found: Scan, sample_rate_hz: int) -> str:
    """Return what would become of a file, on one line."""
    action = "passed" if found.bandwidth.full_band else "upscaled"
    rate_hz = job.header.sample_rate_hz if action == "passed" else sample_rate_hz
    return "would do: " + line(job, Outcome(action, rate_hz, found.bandwidth.cutoff_hz, 0, found.bandwidth.silent))


def duration(seconds: float) -> str:
    """Return a duration for people: `12.3 s`, `2:03:04`."""
    if seconds < 100:
        return f"{seconds:.1f} s"
    if seconds > 1e9:
        return "unstated duration"
    whole = round(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"


def channels(count: int) -> str:
    """Return `mono`, `stereo`, or the number."""
    return {1: "mono", 2: "stereo"}.get(count, f"{count} channels")


class Report:
    """Prints lines to stdout, errors to stderr, and a progress bar to stderr where that is a terminal.

    Args:
        seconds: Audio to be done, for the bar.
        quiet: Errors alone.
    """

    def __init__(self, seconds: float, *, quiet: bool = False) -> None:
        self.quiet = quiet
        self.out, self.error = Console(file=sys.stdout, soft_wrap=True), Console(file=sys.stderr, soft_wrap=True)
        self._bar = Progress(
            TextColumn("{task.description}", markup=False), BarColumn(), _Done(), TimeRemainingColumn(),
            console=self.error, transient=True, disable=quiet or not self.error.is_terminal,
        )  # fmt: skip
        self._task = self._bar.add_task("", total=seconds)
        self._total, self._of_file = seconds, 0.0

    def __enter__(self) -> Report:
        self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._bar.stop()

    def working(self, path: Path) -> None:
        """Name the file in the bar."""
        self._of_file = 0.0
        self._bar.update(self._task, description=shown(path)[-40:])

    def advance(self, seconds: float) -> None:
        """Move the bar."""
        self._of_file += seconds
        self._bar.advance(self._task, seconds)

    def leave_out(self, seconds: float) -> None:
        """Take the rest of a file of so many seconds out of what is to be done: it is finished or has failed."""
        self._total = max(0.0, self._total - max(0.0, seconds - self._of_file))
        self._bar.update(self._task, total=self._total)

    def tell(self, text: str) -> None:
        """Print a line unless quiet."""
        if not self.quiet:
            self._print(self.out, text)

    def fail(self, text: str) -> None:
        """Print an error, always."""
        self._print(self.error, text)

    def _print(self, console: Console, text: str) -> None:
        if self._bar.live.is_started and console.is_terminal:
            self._bar.console.print(Text(text))  # above the bar
        else:
            print(text, file=console.file, flush=True)  # as it is: without markup, colours or wrapping


class _Done(ProgressColumn):
    """Seconds of audio done, and the time taken for each."""

    def render(self, task: Task) -> Text:
        taken = time.monotonic() - task.start_time if task.start_time is not None else 0.0
        factor = f", real-time factor {taken / task.completed:.3f}" if task.completed else ""
        return Text(f"{duration(task.completed)} of {duration(task.total or 0.0)} of audio{factor}")

"""The commands of `python -m sweeps`: an act, the folder of the runs, then what the act takes."""

from __future__ import annotations

import argparse
import io
import os
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lcm.errors import LcmError

if TYPE_CHECKING:
    from sweeps.sweep.status import Situation

Act = Callable[[Path, list[str], set[str]], int]
_ACTS = {
    "status": "what is done, running, queued, failed and missing; exit code 1 where anything failed or is lost",
    "retry": "submit again what is not done and in no job; words over the cluster profile may follow, such as time=12:00:00",
    "logs": "what a point printed; without POINT the last lines of all that run or failed",
    "cancel": "cancel the jobs; what runs writes a checkpoint first, and retry goes on from it",
    "debug": "run one point here: short, in the foreground, in a folder of its own",
}
_FLAGS = {"--failed": "status", "--watch": "status", "--all": "status", "--follow": "logs"}
_WATCH_S = 5.0
_EXAMPLES = """
examples:
  python -m sweeps status runs/mine
  python -m sweeps logs runs/mine 7 --follow
  python -m sweeps retry runs/mine time=12:00:00

RUNS is a root (the `root=` of its points), or one sweep's folder in it (ROOT/sweeps/NAME).
POINT is a number of a sweep, or the beginning of a run folder's name."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the command line and run the act.

    Args:
        arguments: Words of the command line; None takes the process's own.

    Returns:
        The exit code: 0, 1 where points failed, are lost or cannot be tried again, 2 where the command is wrong.
    """
    asked = _parser().parse_intermixed_args(arguments)  # flags may stand between words
    flags = {name for name in _FLAGS if getattr(asked, name[2:])}
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a name in another script must not end the command on a terminal without it
    try:
        if wrong := sorted(flag for flag in flags if asked.act != _FLAGS[flag]):
            raise LcmError(f"{wrong[0]} belongs to {_FLAGS[wrong[0]]}, not to {asked.act}.")
        return _act(asked.act)(Path(asked.runs.removeprefix("root=")), asked.words, flags)
    except LcmError as error:
        print(error, file=sys.stderr)
        return 2
    except BrokenPipeError:  # its reader, such as `head`, has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        print(f"{error}. Is the disk full, or the folder not yours?", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    listed = "\n".join(f"  {name:8} {text}" for name, text in _ACTS.items())
    parser = argparse.ArgumentParser(
        prog="python -m sweeps",
        description="Look after the points of a sweep that was submitted.",
        epilog=f"acts:\n{listed}\n{_EXAMPLES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("act", choices=list(_ACTS), metavar="ACT")
    parser.add_argument("runs", metavar="RUNS")
    parser.add_argument("words", nargs="*", metavar="WORD", help="POINT, or words over the cluster profile")
    parser.add_argument("--failed", action="store_true", help="status: a line a point that failed or is lost")
    parser.add_argument("--watch", action="store_true", help="status: again every few seconds, until nothing runs or waits, or Ctrl-C")
    parser.add_argument("--all", action="store_true", help="status: a row a point, however many there are")
    parser.add_argument("--follow", action="store_true", help="logs: go on while the point runs or waits, or until Ctrl-C")
    return parser


def _act(name: str) -> Act:
    return {"status": _status, "retry": _retry, "logs": _logs, "cancel": _cancel, "debug": _debug}[name]


def _status(folder: Path, words: list[str], flags: set[str]) -> int:
    from sweeps.sweep.status import WRONG, look
    from sweeps.sweep.table import wrong_lines

    _none(words, "status")
    situation = _watched(folder) if "--watch" in flags else look(folder)
    if "--failed" in flags:
        _say(wrong_lines(situation.points))
    elif "--watch" not in flags or not sys.stdout.isatty():
        _show(situation, every="--all" in flags)
    return 1 if any(point.state in WRONG for point in situation.points) else 0


def _watched(folder: Path) -> Situation:
    """Show the state until nothing runs or waits any more; returns the last."""
    from rich.console import Console
    from rich.live import Live

    from sweeps.sweep.status import look
    from sweeps.sweep.table import as_renderable

    console, situation = Console(highlight=False), look(folder)
    if not console.is_terminal:
        while _at_work(situation):
            time.sleep(_WATCH_S)
            situation = look(folder)
        return situation
    most = max(5, console.height - 12)  # what is beneath the rows is to be seen too
    with Live(as_renderable(situation, width=console.width, most=most), console=console, auto_refresh=False) as live:
        while _at_work(situation):
            time.sleep(_WATCH_S)
            situation = look(folder)
            live.update(as_renderable(situation, width=console.width, most=most), refresh=True)
    return situation


def _at_work(situation: Situation) -> bool:
    return any(point.is_at_work for point in situation.points) or any(situation.queue.preparing.values()) or bool(situation.queue.unknown)


def _show(situation: Situation, *, every: bool) -> None:
    """Print the state: a table for a person, plain lines for a pipe and for thousands of points."""
    from rich.console import Console

    from sweeps.sweep.table import MOST, as_lines, as_renderable

    console = Console(highlight=False)
    if console.is_terminal and not every and len(situation.points) <= MOST:
        console.print(as_renderable(situation, width=console.width))
    else:
        _say(as_lines(situation, every=every))


def _retry(folder: Path, words: list[str], _: set[str]) -> int:
    from sweeps.sweep import acts

    if wrong := [word for word in words if "=" not in word]:
        raise LcmError(f"retry takes words over the cluster profile, such as time=12:00:00, not {wrong[0]!r}.")
    done = acts.retry(folder, words)
    _say(done.lines)
    return 0 if done.complete else 1


def _logs(folder: Path, words: list[str], flags: set[str]) -> int:
    from sweeps.sweep.logs import last_lines, show

    if words:
        show(folder, _one(words, "logs"), follow="--follow" in flags)
        return 0
    if "--follow" in flags:
        raise LcmError(f"Name the point to follow: python -m sweeps logs {folder} POINT --follow.")
    return _say(last_lines(folder))


def _cancel(folder: Path, words: list[str], _: set[str]) -> int:
    from sweeps.sweep import acts

    _none(words, "cancel")
    return _say(acts.cancel(folder))


def _debug(folder: Path, words: list[str], _: set[str]) -> int:
    from sweeps.sweep import acts

    return _say(acts.debug(folder, _one(words, "debug")))


def _none(words: Sequence[str], act: str) -> None:
    if words:
        raise LcmError(f"{act} takes RUNS alone; given also: {' '.join(words)}.")


def _one(words: Sequence[str], act: str) -> str:
    if len(words) != 1:
        raise LcmError(
            f"{act} takes RUNS and one POINT, a number or the beginning of a run folder's name; given: {' '.join(words) or 'none'}."
        )
    return words[0]


def _say(lines: Iterable[str]) -> int:
    for line in lines:
        print(line)
    sys.stdout.flush()
    return 0

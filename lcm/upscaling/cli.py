"""The command `lcm upscale`."""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from lcm.errors import LcmError

if TYPE_CHECKING:
    from lcm.upscaling.core import Upscaler

_EPILOG = """\
Files, folders (their tree is kept) and patterns ("in/**/*.wav") of wav, flac, ogg, mp3 and what else libsndfile reads.
Duration, start, level, channels, sample format and title, artist and other tags stay.
Running the same command again skips what is finished; other settings make it anew.
Exit code: 0, 1 if a file failed, 2 if the command is wrong, 130 after Ctrl-C.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the command line and run it.

    Args:
        arguments: Words after `lcm upscale`; None takes the process's own.

    Returns:
        The exit code: 0, 1 if a file failed, 2 if the command is wrong, 130 if it was interrupted.
    """
    asked = _parser().parse_args(arguments)
    from lcm.upscaling.plan import UsageError  # torch is loaded after --help

    try:
        with _stopping():
            return _run(asked)
    except UsageError as error:
        print(error, file=sys.stderr)
        return 2
    except LcmError as error:
        print(error, file=sys.stderr)
        return 1
    except BrokenPipeError:
        raise
    except OSError as error:  # of the output folder: an input's own trouble is told with its name
        print(f"{error.filename or asked.output}: {error.strerror}; give another -o", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Interrupted: what is finished stays, nothing half made was left. Run the same command again to go on.", file=sys.stderr)
        return 130


@contextmanager
def _stopping() -> Iterator[None]:
    """Let a termination, as schedulers send it, remove what is half made; the exit code is then 143."""

    def stop(*_: object) -> None:
        raise SystemExit(143)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _run(asked: argparse.Namespace) -> int:
    from lcm.upscaling.jobs import run
    from lcm.upscaling.one import Settings
    from lcm.upscaling.plan import make_plan

    plan = make_plan(asked.inputs, asked.output, asked.format)
    settings = Settings(asked.steps, asked.precision, asked.cutoff, _model(asked.model), asked.overwrite)
    tally = run(plan, settings, lambda: _load(asked), dry=asked.dry_run, quiet=asked.quiet)
    if not asked.quiet:
        print(tally.text("would be made" if asked.dry_run else "made"))
    return 1 if tally.failed else 0


def _load(asked: argparse.Namespace) -> Upscaler:
    from lcm.upscaling.core import Upscaler
    from lcm.upscaling.plan import UsageError

    try:
        return Upscaler.load(asked.model, device=asked.device, steps=asked.steps, precision=asked.precision)
    except (LcmError, OSError, RuntimeError) as error:  # nothing can be made: not one file's trouble
        raise UsageError(f"The model {asked.model} cannot be loaded: {error}") from error


def _model(source: str) -> str:
    """Return what tells a model: its source, and the identity of its weights, for others may lie there later."""
    from lcm.checkpoint import identity
    from lcm.pretrained import locate
    from lcm.upscaling.plan import UsageError

    try:
        return f"{source} {identity(locate(source))}"
    except (LcmError, OSError) as error:
        raise UsageError(str(error)) from error


def _parser() -> argparse.ArgumentParser:
    plain, what = argparse.RawDescriptionHelpFormatter, "Restore the high band of recordings."
    parser = argparse.ArgumentParser("lcm upscale", description=what, epilog=_EPILOG, formatter_class=plain)
    parser.add_argument("inputs", nargs="+", metavar="IN", help="file, folder or pattern")
    parser.add_argument("-o", "--output", required=True, metavar="OUT", help="folder; for one file a file is possible too")
    parser.add_argument("--steps", type=int, choices=(1, 2, 4), default=1, help="calls of the network; default: 1")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="default: auto, a GPU where there is one")
    parser.add_argument("--precision", choices=("auto", "fp32", "fp16", "bf16"), default="auto", help="default: auto, by device")
    parser.add_argument("--cutoff", type=_cutoff, metavar="HZ", help="where the inputs' content ends; measured otherwise")
    parser.add_argument("--model", default="shipped", metavar="SOURCE", help="a model's path, folder or name on the hub; default: shipped")
    parser.add_argument("--format", choices=("wav", "flac", "ogg"), help="default: the input's; mp3 becomes flac, others wav")
    parser.add_argument("--overwrite", action="store_true", help="replace existing files that this command has not written")
    parser.add_argument("--dry-run", action="store_true", help="measure and tell what would be done to each file, and make nothing")
    parser.add_argument("--quiet", action="store_true", help="print errors alone")
    return parser


def _cutoff(text: str) -> float:
    cutoff_hz = float(text)
    if not 1_000 <= cutoff_hz <= 12_000:
        raise argparse.ArgumentTypeError(f"{text}: expected 1000 to 12000 Hz")
    return cutoff_hz

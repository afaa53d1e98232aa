"""The command `lcm page`: load the model, bind, print the address, serve until interrupted, remove what was kept."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
import threading
import webbrowser
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from lcm.errors import LcmError
from lcm.page.server import Page
from lcm.page.trial import Limits, Trials

PORT = 8324
FEWEST_SECONDS, FOREVER_S = 1.0, 1e12


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve the page until Ctrl-C or TERM.

    Args:
        arguments: Words after `lcm page`; None takes the process's own.

    Returns:
        The exit code: 0 once it was interrupted, 1 with one line that says what is wrong, 2 if the command is wrong.
    """
    asked = _parser().parse_args(arguments)
    try:
        return _run(asked)
    except LcmError as error:
        print(error, file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    limits = Limits()
    parser = argparse.ArgumentParser("lcm page", description="A local web page to try the upscaler: upload or record, compare, download.")
    parser.add_argument("--port", type=int, default=PORT, metavar="N", help=f"port to listen on, 0 for any free one; default: {PORT}")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on; default: 127.0.0.1, this machine alone")
    parser.add_argument("--model", default="shipped", metavar="SOURCE", help="a model's path, folder or name on the hub; default: shipped")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, ...; default: auto")
    parser.add_argument("--steps", type=int, default=1, metavar="N", help="calls of the network; default: 1")
    parser.add_argument("--max-minutes", type=float, default=limits.seconds / 60, metavar="N", help="longest recording; default: 5")
    parser.add_argument("--max-mb", type=float, default=limits.bytes / 1e6, metavar="N", help="largest file; default: 128")
    parser.add_argument("--no-browser", action="store_true", help="print the address only")
    return parser


def _run(asked: argparse.Namespace) -> int:
    limits = _limits(asked)
    try:
        with (
            _terminable(),
            tempfile.TemporaryDirectory(prefix="lcm-page-", ignore_cleanup_errors=True) as folder,
            _bind(asked, Path(folder), limits) as page,
        ):
            _announce(page, asked)
            page.serve_forever()
    except KeyboardInterrupt:
        print("Stopped; the recordings are removed.", flush=True)
    return 0


@contextmanager
def _terminable() -> Iterator[None]:
    """Let TERM end the block as Ctrl-C does, so that the temporary folder goes too."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _announce(page: Page, asked: argparse.Namespace) -> None:
    if not page.private:
        print(_EXPOSED.format(host=asked.host), file=sys.stderr, flush=True)
    print(f"{page.address}  (Ctrl-C ends it)", flush=True)
    if not asked.no_browser and _has_screen():
        webbrowser.open(page.address)


_EXPOSED = (
    "Warning: --host {host} lets everyone who reaches this machine use the page; nothing is encrypted or asks for a password, "
    "and browsers refuse the microphone to pages from elsewhere without https. `ssh -L` is the safer way in."
)


def _limits(asked: argparse.Namespace) -> Limits:
    seconds, size = 60 * asked.max_minutes, 1e6 * asked.max_mb
    if not FEWEST_SECONDS <= seconds < FOREVER_S or not 1 <= size < FOREVER_S:
        raise LcmError(f"--max-minutes {asked.max_minutes:g}, --max-mb {asked.max_mb:g}: expected numbers that let a recording through.")
    return Limits(int(size), seconds)


def _bind(asked: argparse.Namespace, folder: Path, limits: Limits) -> Page:
    """Listen and load the model; the port is tried first, for loading takes seconds."""
    try:
        page = Page((asked.host, asked.port), limits)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        where = f"{asked.host}:{asked.port}"
        raise LcmError(f"{where} cannot be listened on ({reason}). Give another --port or --host; --port 0 takes any free one.") from error
    try:
        from lcm.upscaling.core import Upscaler

        page.trials = Trials(folder, Upscaler.load(asked.model, device=asked.device, steps=asked.steps), limits)
    except BaseException:
        page.server_close()
        raise
    return page


def _has_screen() -> bool:
    """Say whether a browser can open a window: elsewhere `webbrowser` would start a text browser in this terminal."""
    return sys.platform in ("darwin", "win32") or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))

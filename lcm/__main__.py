"""The command `lcm`, also `python -m lcm`: each subcommand is a module with a `main(arguments)` of its own, loaded when it is called."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from io import TextIOWrapper

COMMANDS = {
    "upscale": ("lcm.upscaling.cli", "restore the high band of recordings"),
    "page": ("lcm.page.command", "try it on a local web page: upload or record, compare, download"),
}
"""Module and one line of help, by name."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a subcommand.

    Args:
        arguments: Words of the command line; None takes the process's own.

    Returns:
        The exit code of the subcommand; 2 without one.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a path may hold what the terminal's encoding does not
    if words and words[0] in COMMANDS:
        try:
            return int(import_module(COMMANDS[words[0]][0]).main(words[1:]))
        except BrokenPipeError:  # `lcm ... | head`: the rest is not wanted
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 1
        except KeyboardInterrupt:  # while a subcommand was still being loaded
            return 130
    helped = bool(words) and words[0] in ("-h", "--help")
    print(_usage("" if helped or not words else words[0]), file=sys.stdout if helped else sys.stderr)
    return 0 if helped else 2


def _usage(unknown: str) -> str:
    lines = [f"lcm: there is no command {unknown!r}."] if unknown else []
    lines += ["usage: lcm COMMAND ...", "", *(f"  {name:<10} {told}" for name, (_, told) in COMMANDS.items())]
    return "\n".join([*lines, "", "lcm COMMAND --help tells more."])


if __name__ == "__main__":
    raise SystemExit(main())

"""What the command lines of this package share."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from lcm.errors import LcmError


def run(parser: argparse.ArgumentParser, arguments: Sequence[str] | None = None) -> int:
    """Parse a command line and call what the chosen command has set as `run`.

    Args:
        parser: Its commands set `run`, which is given what was asked.
        arguments: Words of the command line; None takes the process's own.

    Returns:
        The exit code: 0, or 1 with one line that says what is wrong.
    """
    asked = parser.parse_args(arguments)
    try:
        asked.run(asked)
    except (LcmError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0

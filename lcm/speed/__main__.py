"""Entry point: parse, measure, print and write."""

import sys

from lcm.errors import LcmError
from lcm.speed.arguments import parse
from lcm.speed.run import run

if __name__ == "__main__":
    try:
        run(*parse(sys.argv[1:]))
    except LcmError as error:
        sys.exit(f"error: {error}")

"""Draw the figures of a results folder: python -m analysis.figures RUNS -o DIR [--only NAME]."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from analysis.figures import NAMES, check_names, draw, save
from analysis.table import ResultsError, load


def main(arguments: list[str] | None = None) -> int:
    """Parse, draw, save, and say what was skipped."""
    parser = argparse.ArgumentParser(prog="python -m analysis.figures", description=__doc__)
    parser.add_argument("runs", type=Path, metavar="RUNS", help="results folder, e.g. runs/demo")
    parser.add_argument("-o", "--out", type=Path, metavar="DIR", required=True, help="where to write NAME.pdf, NAME.png and NAME.csv")
    parser.add_argument("--only", action="append", metavar="NAME", help=f"one figure (may be repeated): {', '.join(NAMES)}")
    given = parser.parse_args(arguments)
    try:
        check_names(given.only or [])  # before a large folder is read
        results = load(given.runs)
        for name in given.only or NAMES:
            drawn = draw(results, name)
            paths = save(drawn, given.out)
            print(f"{name}: {paths[1]}" if paths else f"{name}: skipped, {drawn.reason}")
    except ResultsError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

"""Command line of sweeps that were submitted: `python -m sweeps status RUNS`."""

from __future__ import annotations

from sweeps.sweep.cli import main

if __name__ == "__main__":
    raise SystemExit(main())

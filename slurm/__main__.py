"""Command line of stores in the making: `python -m slurm status STORE`."""

from __future__ import annotations

from slurm.cli import main

if __name__ == "__main__":
    raise SystemExit(main())

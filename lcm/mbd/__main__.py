"""Command line of the MultiBandDiffusion teacher: `python -m lcm.mbd convert FILE.pt`."""

from __future__ import annotations

from lcm.mbd.cli import main

if __name__ == "__main__":
    raise SystemExit(main())

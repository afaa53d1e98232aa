"""Command line of trained models as files: `python -m lcm.pretrained pack RUN_FOLDER -o FOLDER`."""

from __future__ import annotations

from lcm.pretrained.cli import main

if __name__ == "__main__":
    raise SystemExit(main())

"""The page alone: `python -m lcm.page [--port N]`."""

from __future__ import annotations

from lcm.page.command import main

if __name__ == "__main__":
    raise SystemExit(main())

"""Where a table was measured, as far as times depend on it."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path
from typing import Any

import torch

from lcm.provenance import provenance


def machine() -> dict[str, Any]:
    """Return commit, device, cores, threads, versions, load of the minute before and the command."""
    known = provenance()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    given = (Path(word).name if Path(word).exists() else word for word in sys.argv[1:])  # whose folders are nobody's business
    words = ["python", "-m", "lcm.speed", *map(shlex.quote, given)]
    return {
        "commit": str(known["commit"])[:12] + (" with changes" if known["dirty"] else ""),
        "device": known["device"], "cores": cores, "threads": torch.get_num_threads(), "torch": torch.__version__,
        "python": known["python"], "load": round(os.getloadavg()[0], 2), "date": str(known["started"])[:10],
        "command": " ".join(words),
    }  # fmt: skip

"""Install the pinned torch: the CUDA build on a machine with an NVIDIA GPU, else a CPU build if one is at hand.

Without a GPU `pip` prefers `2.13.0+cpu` over `2.13.0` wherever it finds one (find-links, an extra index); where it finds
none, the registry's default build is installed, which brings CUDA's libraries along.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path


def main() -> int:
    """Install."""
    pin = re.search(r"^torch==(\S+)", Path(sys.argv[1]).read_text(), re.MULTILINE)
    if pin is None:
        sys.exit(f"{sys.argv[1]} pins no torch: expected a line 'torch==VERSION'.")
    gpu = shutil.which("nvidia-smi") is not None and subprocess.run(["nvidia-smi", "-L"], capture_output=True, check=False).returncode == 0
    wanted = f"torch==={pin[1]}" if gpu else f"torch=={pin[1]}"
    print(f"installing {wanted} ({'GPU found' if gpu else 'no GPU: a CPU build is taken if at hand'})", flush=True)
    return subprocess.run([sys.executable, "-m", "pip", "install", "-q", wanted], check=False).returncode


if __name__ == "__main__":
    sys.exit(main())

"""What sweeps cost before anything is trained: submitting hundreds of points, and the status of thousands of run folders.

    sudo OMP_NUM_THREADS=1 python tests/benchmarks/submitting.py [--points 300] [--folders 5000]

Submitting is the user's whole command, start of Python included, on a private SLURM (tests/cluster) with MaxArraySize 100 whose partition
takes jobs and starts none; then the same command again, for which all points are in the hands of jobs. The profile's pause of a second
between two arrays is part of it. Printed with the load of the machine, which other work on it makes larger.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS / "cluster"), str(TESTS / "sweeps")]

from lab import Lab  # noqa: E402  # from the folder above
from toy_sweep import run, sweep  # noqa: E402

from lcm.paths import Root  # noqa: E402

PROFILE = ("partition=main", "mem_gb=2", "cpus_per_task=1", "tasks_per_node=1")


def seconds(*words: str) -> float:
    """Run a module of this project and return the time of its whole process."""
    started = time.monotonic()
    subprocess.run([sys.executable, "-m", *words], check=True, stdout=subprocess.DEVNULL)
    return time.monotonic() - started


def submit(root: Path, points: int) -> tuple[float, float]:
    """Return the seconds of submitting points, and of doing so again."""
    lab = Lab.start(max_array_size=100)
    try:
        os.environ.update(lab.environment())
        lab.run("scontrol", "update", "partitionname=main", "state=down")
        profile = [f"hydra.launcher.{word}" for word in PROFILE]
        words = ("sweeps.run", "--multirun", "hydra/launcher=slurm_sweep", *profile, f"root={root}", f"seed=range({points})")
        return seconds(*words), seconds(*words)
    finally:
        lab.stop()


def status(root: Root, folders: int) -> float:
    """Return the seconds of the status of run folders, two of three of them finished."""
    names = [f"{number:012x}-s0" for number in range(folders)]
    sweep(root, names=[f"train.rate={number}" for number in range(folders)], runs=names)
    for number, name in enumerate(names):
        run(root, name, ("done", "running", "done")[number % 3], step=number % 100, steps=100, beat_s=1.0)
    return seconds("sweeps", "status", str(root.folder))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, default=300)
    parser.add_argument("--folders", type=int, default=5000)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        first, again = submit(Path(folder) / "submitted", args.points)
        looked = status(Root(Path(folder) / "looked at"), args.folders)
    print(f"{args.points} points submitted in {first:.1f} s, again in {again:.1f} s")
    print(f"status of {args.folders} run folders in {looked:.2f} s")
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")


if __name__ == "__main__":
    main()

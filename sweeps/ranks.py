"""One of the processes that train a point together; `sweeps.launch` starts them, with the variables of `torch.distributed.run`.

python -m torch.distributed.run --standalone --nproc-per-node 2 -m sweeps.ranks RUN/config.yaml
"""

from __future__ import annotations

import os
import sys
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import torch

from lcm.paths import Run
from sweeps import stopping
from sweeps.claim import Fence
from sweeps.config import read_config
from sweeps.launch import CLAIM_VARIABLE, errors_passed_on
from sweeps.prepare import prepare
from sweeps.training import train


def train_as_rank(file: Path) -> bool:
    """Train the point of a frozen config as this rank; returns whether to the end."""
    if torch.cuda.is_available():
        _choose_gpu(torch.cuda.device_count())
    config, run = read_config(file), Run(file.parent)
    with redirect_stdout(StringIO()):  # everything is there and was announced by the process that started this one
        prepared = prepare(config)
    finished = train(config, prepared, run, Fence(run, int(os.environ.get(CLAIM_VARIABLE, "0"))))
    torch.distributed.destroy_process_group()
    return finished


def _choose_gpu(visible: int) -> None:
    """Make "cuda" mean this rank's own GPU, also where tasks were to see one each and all of them see all."""
    if visible >= int(os.environ["WORLD_SIZE"]):
        os.environ.update(LOCAL_RANK=os.environ["RANK"], LOCAL_WORLD_SIZE=os.environ["WORLD_SIZE"], GROUP_RANK="0")
    torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))


def main() -> None:
    """Train as this rank."""
    stopping.install(defer=True)  # a rank stops when all do: the trainer looks
    with errors_passed_on():
        finished = train_as_rank(Path(sys.argv[1]))
    raise SystemExit(0 if finished else stopping.TO_BE_CONTINUED)


if __name__ == "__main__":
    main()

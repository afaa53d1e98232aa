"""One of the processes that train a point together; `sweeps.launch` starts them.

python -m torch.distributed.run --standalone --nproc-per-node 2 -m sweeps.ranks RUN/config.yaml
"""

from __future__ import annotations

import os
import sys
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import torch
from omegaconf import DictConfig, OmegaConf

from lcm.paths import Run
from sweeps.config import Config, from_hydra
from sweeps.launch import errors_passed_on
from sweeps.prepare import prepare
from sweeps.training import train


def read_config(file: Path) -> Config:
    """Read a frozen config."""
    merged = OmegaConf.merge(OmegaConf.structured(Config), OmegaConf.load(file))
    assert isinstance(merged, DictConfig)  # a config is no list
    return from_hydra(merged)


def main() -> None:
    """Train as this rank."""
    file = Path(sys.argv[1])
    with errors_passed_on():
        if torch.cuda.is_available():
            torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))  # "cuda" then means this rank's own
        config = read_config(file)
        with redirect_stdout(StringIO()):  # everything is there and was announced by the process that started this one
            prepared = prepare(config)
        train(config, prepared, Run(file.parent))
        torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main()

"""Run one point, or a sweep of points by hydra's multirun; `--help` shows how.

python -m sweeps.run root=runs/mine corpus.source=folder corpus.root=/path/to/speech
python -m sweeps.run --multirun +ablation=loss_weights root=runs/mine seed=0,1,2
python -m sweeps.run debug=true          # the same code path, short, in the foreground
"""

from __future__ import annotations

import sys

import hydra
from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig

from lcm.errors import LcmError
from sweeps import arguments, foreground, options


@hydra.main(version_base="1.3", config_path="conf", config_name="config")
def point(config: DictConfig) -> float:
    """Run a point and return what a sweeper would minimise."""
    return foreground.run(config)


def main() -> None:
    """Run what the command line asks for; the exit code is 1 where a point failed."""
    try:
        sys.argv[1:] = arguments.translate(sys.argv[1:])
    except LcmError as error:
        raise SystemExit(f"{type(error).__name__}: {error}") from None
    register()
    try:
        point()
    finally:
        code = foreground.report()
    sys.exit(code)


def register() -> None:
    """Make fields and the texts of `--help` known to hydra; the fields only where they are asked for, since they import torch."""
    options.register()
    if not arguments.needs_fields(sys.argv[1:]):
        ConfigStore.instance().store(name="base", node={})
        return
    from sweeps import config

    config.register()


if __name__ == "__main__":
    main()

"""Run one point, or a sweep of points by hydra's multirun.

python -m sweeps.run root=runs/mine corpus.source=folder corpus.root=/path/to/speech
python -m sweeps.run --multirun +ablation=loss_weights root=runs/mine seed=0,1,2
python -m sweeps.run debug=true          # the same code path, short, in the foreground
"""

from __future__ import annotations

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from lcm.errors import LcmError
from sweeps.config import from_hydra, register
from sweeps.point import headline, run_point

register()


@hydra.main(version_base="1.3", config_path="conf", config_name="config")
def main(config: DictConfig) -> float:
    """Run a point and return what a sweeper would minimise."""
    try:
        run = run_point(from_hydra(config))
    except LcmError as error:
        if config.debug or HydraConfig.get().mode == RunMode.MULTIRUN:
            raise  # for pdb, and for launchers: one bad point must not end the others
        raise SystemExit(f"{type(error).__name__}: {error}") from error
    print(f"done: {run.folder}", flush=True)
    return headline(run)


if __name__ == "__main__":
    main()

"""Points in hydra's own process: one that fails does not end the others, and none fails unseen."""

from __future__ import annotations

import math
import sys
import traceback

from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import filter_overrides
from hydra.types import RunMode
from omegaconf import DictConfig

from lcm.errors import LcmError

_begun: list[set[str]] = []  # the words of each point
_failed: dict[int, str] = {}  # number -> first line of its error


def run(config: DictConfig) -> float:
    """Run a point and return what a sweeper would minimise.

    Args:
        config: The point, composed by hydra.

    Returns:
        Its headline; NaN for a point that failed in a sweep by hydra's own sweeper and launcher, which would else end it.

    Raises:
        Exception: Whatever stopped the point, where somebody else judges it: a debugger, another launcher or sweeper.
        SystemExit: A lone point failed by an error that is meant for the user.
    """
    _begun.append(set(filter_overrides(HydraConfig.get().overrides.task)))
    try:
        return _run(config)
    except Exception as error:
        if config.debug or not (_is_lone() or _is_plain_sweep()):
            raise
        if _is_lone():
            if isinstance(error, LcmError):
                raise SystemExit(f"{type(error).__name__}: {error}") from error
            raise
        _note(error)
        return math.nan


def report() -> int:
    """Name every point that has failed by the words that are not common to all.

    Returns:
        The exit code: 1 where one has, else 0.
    """
    if _failed:
        common = set.intersection(*_begun) if len(_begun) > 1 else set()
        print(f"{len(_failed)} of {len(_begun)} points failed; the same command again tries them and leaves the others.", file=sys.stderr)
        for number, error in _failed.items():
            print(f"  #{number} {' '.join(sorted(_begun[number] - common))}: {error}", file=sys.stderr)
    return 1 if _failed else 0


def _run(config: DictConfig) -> float:
    from sweeps.config import from_hydra
    from sweeps.point import headline, run_point  # slow to import, and not needed for --help, --cfg and completion

    done = run_point(from_hydra(config))
    print(f"done: {done.folder}", flush=True)
    return headline(done)


def _note(error: Exception) -> None:
    lines = str(error).splitlines()
    _failed[len(_begun) - 1] = f"{type(error).__name__}: {lines[0] if lines else ''}"
    if isinstance(error, LcmError):
        print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
    else:
        traceback.print_exception(error)


def _is_lone() -> bool:
    return bool(HydraConfig.get().mode == RunMode.RUN)


def _is_plain_sweep() -> bool:
    choices = HydraConfig.get().runtime.choices
    return bool(choices["hydra/launcher"] == "basic" and choices["hydra/sweeper"] == "basic")

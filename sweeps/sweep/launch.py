"""Between hydra and the submission: composed configs in, what hydra's sweepers expect out."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from hydra.core.utils import JobReturn, JobStatus
from omegaconf import DictConfig, OmegaConf

from lcm.errors import LcmError
from sweeps.config import Config, from_hydra
from sweeps.sweep import freeze
from sweeps.sweep.record import SweepPoint
from sweeps.sweep.settings import LauncherConfig, SweepError
from sweeps.sweep.submit import Launched
from sweeps.sweep.submit import launch as submit

_INTERRUPTED = 130  # as a shell has it: 128 + SIGINT
_BASIC = "hydra._internal.core_plugins.basic_sweeper.BasicSweeper"


def launch(
    master: DictConfig, composed: Sequence[DictConfig], overrides: Sequence[Sequence[str]], given: dict[str, Any]
) -> list[JobReturn]:
    """Submit the points of a sweep; with `wait`, or on this machine, return when they have ended.

    Args:
        master: The sweep's own config, with hydra's node.
        composed: Config of each point.
        overrides: Words of each point.
        given: The launcher's settings.

    Returns:
        What hydra's sweepers read: of each point its value, or its error where it failed; without waiting no values.
    """
    try:
        return _launch(master, composed, overrides, LauncherConfig.from_hydra(_plain(given)))
    except LcmError as error:
        raise SystemExit(f"{type(error).__name__}: {error}") from error
    except KeyboardInterrupt:
        raise SystemExit(_INTERRUPTED) from None  # what goes on and what does not was said where it was interrupted


def _launch(
    master: DictConfig, composed: Sequence[DictConfig], overrides: Sequence[Sequence[str]], settings: LauncherConfig
) -> list[JobReturn]:
    _check_sweeper(master, settings)
    cluster = settings.profile()
    configs = [freeze.freeze(_config(one), cluster) for one in composed]
    points = freeze.points(configs, overrides)
    returns: dict[int, JobReturn] = {number: _returned(list(words), None) for number, words in enumerate(overrides)}
    for numbers in freeze.by_root(configs).values():
        mine = [replace(points[number], number=place) for place, number in enumerate(numbers)]  # a sweep lies in one root
        values = _one_root(mine, [configs[number] for number in numbers], settings, _label(master))
        returns.update({numbers[place]: _returned(list(overrides[numbers[place]]), value) for place, value in values.items()})
    if settings.dry_run and _sweeper(master) != _BASIC:
        raise SystemExit(0)  # it would go on with values that there are not
    if _sweeper(master) == _BASIC:
        _tell_failures(returns)
    return [returns[number] for number in range(len(overrides))]


def _one_root(points: list[SweepPoint], configs: list[Config], settings: LauncherConfig, label: str) -> dict[int, Any]:
    """Submit the points of one root; returns values and errors of those that were waited for."""
    from sweeps.sweep.dry_run import report
    from sweeps.sweep.follow import follow, values

    root, by_number = freeze.root_of(configs[0]), dict(enumerate(configs))
    if settings.dry_run:
        print(*report(root, points, by_number, settings), sep="\n")
        return {}
    done = submit(root, points, by_number, settings, label)
    print(*_said(done), sep="\n", flush=True)
    if not settings.wait and settings.profile().kind != "local":
        return {}
    follow(done, settings.profile().kind)
    return values(done, by_number)


def _said(done: Launched) -> list[str]:
    if not done.submissions:
        return done.lines
    folder = shlex.quote(str(done.root.sweep(done.sweep.name).folder))
    return [*done.lines, f"follow: python -m sweeps status {folder}", f"logs:   python -m sweeps logs {folder}"]


def _check_sweeper(master: DictConfig, settings: LauncherConfig) -> None:
    """Refuse a sweeper that chooses points by the values of others, where none are waited for."""
    sweeper = _sweeper(master)
    if sweeper != _BASIC and not settings.wait and not settings.dry_run:
        raise SweepError(
            f"The sweeper {sweeper.rsplit('.', 1)[-1]} chooses points by the values of others, and this launcher returns before there "
            "are any: add hydra.launcher.wait=true."
        )


def _tell_failures(returns: Mapping[int, JobReturn]) -> None:
    """End with the points that failed, each by name; hydra's own sweeper would show the first only, with a traceback of ours.

    Raises:
        SystemExit: There are some.
    """
    failed = [str(one._return_value) for _, one in sorted(returns.items()) if one.status == JobStatus.FAILED]
    if failed:
        raise SystemExit("\n".join([*failed, f"{len(failed)} of {len(returns)} points failed, the others are done."]))


def _sweeper(master: DictConfig) -> str:
    return str(OmegaConf.select(master, "hydra.sweeper._target_"))


def _label(master: DictConfig) -> str:
    """Return what a sweep is about: the groups that were chosen on the command line."""
    words = [str(word) for word in OmegaConf.select(master, "hydra.overrides.task") or []]
    return " ".join(word.lstrip("+") for word in words if word.lstrip("+").startswith(("ablation=", "preset=", "profile=", "objective=")))


def _config(composed: DictConfig) -> Config:
    return from_hydra(composed)


def _plain(given: dict[str, Any]) -> dict[str, Any]:
    return {name: OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value for name, value in given.items()}


def _returned(overrides: list[str], value: Any) -> JobReturn:
    job = JobReturn(overrides=overrides, status=JobStatus.FAILED if isinstance(value, BaseException) else JobStatus.COMPLETED)
    job.return_value = value
    return job

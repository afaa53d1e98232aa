"""The words of a command before hydra sees them: flags of ours, debugging in the foreground, and a launcher without `--multirun`."""

from __future__ import annotations

import os
from collections.abc import Sequence

from hydra._internal.utils import get_args_parser
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import BooleanNode, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from lcm.errors import LcmError
from sweeps.options import TITLES

FLAGS = {"--dry-run": "dry_run", "--wait": "wait"}
_LAUNCHER = "hydra/launcher"


def translate(words: Sequence[str]) -> list[str]:
    """Return the words that hydra is to see.

    `--dry-run` and `--wait` become fields of the launcher. `debug=true` takes every other launcher away, so that any point of any
    sweep runs in this process, and lets exceptions through as they are. A launcher that was chosen or given a flag is used: hydra
    would ask it in a multirun alone and run a single point here, on the login node.

    Args:
        words: What came after the command's name; options and overrides may be mixed.

    Raises:
        LcmError: A flag is given to a launcher that does not know it, or to a debug run.
    """
    flags = [word for word in words if word in FLAGS]
    rest = [word for word in words if word not in FLAGS]
    asked = get_args_parser().parse_intermixed_args(rest)
    overrides, options = list(asked.overrides), _without(rest, asked.overrides)
    if asked.shell_completion:
        _hide_flags()
        return rest
    if any(is_debug(word) for word in overrides):
        return [*options, *_in_foreground(overrides, flags)]
    if asked.help or asked.hydra_help or asked.cfg or asked.info:
        return [*options, *overrides]
    if not asked.multirun and (flags or _launches(overrides)):
        options.append("--multirun")
    for flag in flags:
        _check(flag, overrides)
    return [*options, *overrides, *(f"hydra.launcher.{FLAGS[flag]}=true" for flag in flags)]


def is_debug(word: str) -> bool:
    """Return whether a word switches debugging on, in any spelling that hydra takes: `debug=true`, `++debug=True`, `debug=1`."""
    if _key(word) != "debug":
        return False
    try:
        return bool(BooleanNode(OverridesParser.create().parse_override(word).value())._value())
    except (HydraException, OmegaConfBaseException):
        return False  # hydra will say what is wrong with it


def needs_fields(words: Sequence[str]) -> bool:
    """Return whether a command needs the fields of a point, whose import takes seconds: not for help, nor to complete a group's option."""
    asked = get_args_parser().parse_args(list(words))
    if not asked.shell_completion:
        return not asked.help
    word = os.environ.get("COMP_LINE", "").rpartition(" ")[2]
    if "query=bash" not in asked.overrides:
        return False
    return not (_key(word) in TITLES if "=" in word else word.startswith("+") and "." not in word)


def _key(word: str) -> str:
    return word.partition("=")[0].lstrip("+~")


def _in_foreground(overrides: Sequence[str], flags: Sequence[str]) -> list[str]:
    if "--dry-run" in flags:
        raise LcmError("debug=true runs the point here and submits nothing: drop --dry-run, or debug=true.")
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")
    return [*(word for word in overrides if not _is_of_launcher(word)), f"{_LAUNCHER}=basic"]


def _launches(overrides: Sequence[str]) -> bool:
    chosen = [word for word in overrides if _key(word) == _LAUNCHER and not word.endswith("=basic")]
    return bool(chosen) and not any(_key(word) == "hydra.mode" for word in overrides)


def _is_of_launcher(word: str) -> bool:
    return _key(word) == _LAUNCHER or _key(word).startswith("hydra.launcher.")


def _without(words: Sequence[str], taken: Sequence[str]) -> list[str]:
    """Return words less those of a list, each as often as it is there."""
    left, kept = list(taken), []
    for word in words:
        if word in left:
            left.remove(word)
        else:
            kept.append(word)
    return kept


def _hide_flags() -> None:
    """Take our flags, and one that is not yet typed to its end, from the line that a shell wants completed: hydra does not know them."""
    *before, last = os.environ.get("COMP_LINE", "").split(" ")
    shown = [word for word in before if word not in FLAGS]
    os.environ["COMP_LINE"] = " ".join([*shown, "" if last.startswith("-") else last])


def _check(flag: str, overrides: Sequence[str]) -> None:
    """Refuse a flag that the launcher does not know."""
    launcher = _launcher(overrides)
    if launcher is not None and FLAGS[flag] not in launcher[1]:
        raise LcmError(f"{flag} is for points on SLURM, and the launcher is {launcher[0]}: add {_LAUNCHER}=slurm_sweep, or drop {flag}.")


def _launcher(overrides: Sequence[str]) -> tuple[str, list[str]] | None:
    """Return the launcher's name and fields as a preset or a word chooses it; None where that cannot be composed, as hydra will say."""
    from hydra import initialize_config_module
    from hydra.core.global_hydra import GlobalHydra
    from hydra.types import RunMode

    from sweeps.config import register

    register()
    with initialize_config_module("sweeps.conf", version_base="1.3"):
        hydra = GlobalHydra.instance().hydra
        assert hydra is not None  # it was just initialised
        try:
            config = hydra.compose_config("config", list(overrides), RunMode.MULTIRUN, from_shell=False)
        except (HydraException, OmegaConfBaseException):
            return None
    return OmegaConf.select(config, "hydra.runtime.choices")[_LAUNCHER], list(config.hydra.launcher)

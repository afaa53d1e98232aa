"""Opening a released `.pt` without running anything that it may carry.

The files pickle an OmegaConf config beside their tensors. torch's restricted unpickler takes them with the classes of such a config on its
list, and nothing else: a pickle that names any other function is refused before that function is called.
"""

from __future__ import annotations

import collections
import pickle
import re
import typing
from pathlib import Path
from typing import Any

import torch
from torch import serialization

from lcm.errors import CheckpointError
from lcm.mbd.released import REPOSITORY

_AGAIN = f"Fetch it again from its publisher (Hugging Face, {REPOSITORY})"


def allowed() -> list[Any]:
    """Return the classes that a released config is made of; none of them does more than hold values."""
    from omegaconf import DictConfig, ListConfig
    from omegaconf.base import ContainerMetadata, Metadata
    from omegaconf.nodes import AnyNode

    return [DictConfig, ListConfig, ContainerMetadata, Metadata, AnyNode, typing.Any, dict, list, int, collections.defaultdict]


def load(file: Path) -> Any:
    """Load a `.pt` with its tensors mapped from the file, not read.

    Raises:
        CheckpointError: It names a function or class that is not allowed, is no file of torch.save's present format, or is damaged.
    """
    try:
        with serialization.safe_globals(allowed()):
            return torch.load(file, map_location="cpu", weights_only=True, mmap=True)
    except pickle.UnpicklingError as error:
        raise _refused(file, error) from error
    except OSError:
        raise
    except Exception as error:  # torch, zip and the unpickler's stack raise all kinds for a file that is not what it seems
        raise _unreadable(file, error) from error


def _refused(file: Path, error: pickle.UnpicklingError) -> CheckpointError:
    names = _foreign(file) or re.findall(r"(?:GLOBAL|function|class|global)\s+([\w.]+\.\w+)", str(error))
    if names:
        return CheckpointError(
            f"{file} is refused: its pickle asks for {', '.join(sorted(names))}, which no released file does and which could run "
            f"anything. Nothing of it was run. {_AGAIN}; do not load this one by other means."
        )
    return CheckpointError(f"{file} is refused: {_first_line(error)}. {_AGAIN}.")


def _foreign(file: Path) -> list[str]:
    """Return the globals that a pickle names and that are not allowed, without running it."""
    try:
        with serialization.safe_globals(allowed()):
            return serialization.get_unsafe_globals_in_checkpoint(str(file))
    except Exception:  # it only serves the message: the file is refused in any case
        return []


def _unreadable(file: Path, error: Exception) -> CheckpointError:
    if "mmap can only be used" in str(error):
        return CheckpointError(
            f"{file} is not a file of torch.save's present format, a zip archive: it is empty, another kind of file, "
            f"or written by torch 1.5 or older. {_AGAIN}."
        )
    return CheckpointError(f"{file} is damaged or was cut off ({_first_line(error)}). {_AGAIN}.")


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")

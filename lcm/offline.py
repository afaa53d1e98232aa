"""Jobs without network: what they export, how code asks, and a fence that proves it."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

OFFLINE = "LCM_OFFLINE"  # environment variable: weights come from disk or not at all
PREFETCH = "python -m slurm prefetch"

_FALSE = {"", "0", "false", "no", "off"}


def offline() -> bool:
    """Say whether this process must not reach for the network."""
    return os.environ.get(OFFLINE, "").strip().lower() not in _FALSE


def job_environment(env: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return what every job exports, so that it finds on a compute node what this machine has fetched, and fetches nothing.

    Caches are named by absolute paths: on a node the home folder, or the variables that set them here, may differ.

    Args:
        env: Environment of the login node; None is this process's.

    Returns:
        Variables and values; all strings.
    """
    env = os.environ if env is None else env
    cache = _path(env, "XDG_CACHE_HOME", Path.home() / ".cache")
    hub = _path(env, "HF_HOME", cache / "huggingface")
    repositories = _path(env, "HF_HUB_CACHE", hub / "hub")
    paths = {
        "TORCH_HOME": _path(env, "TORCH_HOME", cache / "torch"),
        "HF_HOME": hub,
        "HF_HUB_CACHE": repositories,
        "AUDIOCRAFT_CACHE_DIR": _path(env, "AUDIOCRAFT_CACHE_DIR", repositories),  # audiocraft's own default
    }
    return {OFFLINE: "1", "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", **{name: str(path) for name, path in paths.items()}}


@contextmanager
def no_network() -> Iterator[list[str]]:
    """Refuse every connection of this process, so that what works inside needs no network. Sockets of this machine stay open to it.

    Yields:
        What was reached for, so far; empty at the end is the proof.
    """
    reached: list[str] = []
    before = os.environ.get(OFFLINE)
    sockets: Any = socket.socket  # its methods are replaced for a while
    library: Any = socket
    connect_as_ever, look_up_as_ever = sockets.connect, library.getaddrinfo

    def refuse(where: object) -> Any:
        reached.append(str(where))
        raise OSError(f"{where}: the network is not to be used here")

    def connect(this: socket.socket, address: Any) -> None:
        if this.family != socket.AF_UNIX:
            refuse(address)
        connect_as_ever(this, address)

    os.environ[OFFLINE] = "1"
    sockets.connect = connect
    library.getaddrinfo = lambda host, port, *_, **__: refuse(f"{host}:{port}")
    try:
        yield reached
    finally:
        sockets.connect, library.getaddrinfo = connect_as_ever, look_up_as_ever
        os.environ.pop(OFFLINE)
        if before is not None:
            os.environ[OFFLINE] = before


def _path(env: Mapping[str, str], name: str, default: Path) -> Path:
    return (Path(env[name]).expanduser() if env.get(name) else default).absolute()

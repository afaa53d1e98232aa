"""The commands of `python -m slurm`: an act, then settings as `key=value` and a few flags."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from lcm.errors import LcmError

_ACTS = {
    "plan": "what would run: shards, clips, sbatch text, GPU-hours, disk; nothing is submitted",
    "submit": "submit what is missing and return (cluster=local: make it here)",
    "status": "what is done, running, queued, stalled, failed and missing, from disk",
    "retry": "submit also what was given up",
    "calibrate": "measure clips a second in one job; what it makes is kept",
    "merge": "verify the shards and write the index, here and now (submit does it by a job)",
    "verify": "read every shard and check every clip",
    "cancel": "cancel all jobs of this folder; what they made stays",
    "doctor": "examine cluster, nodes and file system",
    "prefetch": "fetch all weights, on a machine with network",
    "compare": "compare two finished stores: the share of codes that differ",
}
_FLAGS = {"--failed": ("status",), "--watch": ("status",), "--set-aside": ("verify",), "--no-probe": ("doctor",)}


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the command line and run the act.

    Args:
        arguments: Words of the command line; None takes the process's own.

    Returns:
        The exit code: 0, 1 where something is wrong with the store or cluster, 2 where the command is.
    """
    asked = _parser().parse_intermixed_args(arguments)  # flags may stand between words
    flags = {name for name in _FLAGS if getattr(asked, name[2:].replace("-", "_"))}
    try:
        if wrong := [flag for flag in flags if asked.act not in _FLAGS[flag]]:
            raise LcmError(f"{wrong[0]} belongs to {', '.join(_FLAGS[wrong[0]])}, not to {asked.act}.")
        return _act(asked.act)(asked.words, flags)
    except LcmError as error:
        print(error, file=sys.stderr)
        return 2
    except OSError as error:
        print(f"{error}. Is the disk full, or the folder not yours? `python -m slurm doctor` looks.", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; run the same command again to go on", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    listed = "\n".join(f"  {name:10} {text}" for name, text in _ACTS.items())
    parser = argparse.ArgumentParser(
        prog="python -m slurm",
        description="Fill the stores of a folder on a cluster or on this machine.",
        epilog=f"acts:\n{listed}\n\nexample:\n  python -m slurm submit store=runs/libri corpus=libritts shards=400 cluster=2x48gb",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("act", choices=list(_ACTS), metavar="ACT")
    parser.add_argument("words", nargs="*", metavar="key=value", help="store=FOLDER and settings; slurm/config.py lists them")
    parser.add_argument("--failed", action="store_true", help="status: one line an error")
    parser.add_argument("--watch", action="store_true", help="status: again every few seconds, until Ctrl-C")
    parser.add_argument("--set-aside", action="store_true", help="verify: move damaged shards away, so that submit makes them again")
    parser.add_argument("--no-probe", action="store_true", help="doctor: submit no probe job")
    return parser


def _act(name: str) -> Callable[[Sequence[str], set[str]], int]:
    from slurm import commands  # torch is loaded only by the acts that need it

    act: Callable[[Sequence[str], set[str]], int] = getattr(commands, name)
    return act


def folder_of(word: str) -> Path:
    """Return a folder that must exist.

    Raises:
        LcmError: It does not.
    """
    folder = Path(word).expanduser().absolute()
    if not folder.is_dir():
        raise LcmError(f"There is no folder {folder}.")
    return folder

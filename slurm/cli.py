"""The commands of `python -m slurm`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from lcm.store import StoreError
from slurm.status import as_table, read_status


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the command line and run the command.

    Args:
        arguments: Words of the command line; None takes the process's own.

    Returns:
        The exit code.
    """
    parser = argparse.ArgumentParser(prog="python -m slurm", description="Stores in the making.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    status = commands.add_parser("status", help="what is done, running and missing, from disk")
    status.add_argument("store", type=Path, metavar="STORE", help="folder of the store")
    status.add_argument("--failed", action="store_true", help="only the failed shards: a line each, the first of its error")
    asked = parser.parse_args(arguments)
    try:
        return show_status(asked.store, failed=asked.failed)
    except StoreError as error:
        print(error, file=sys.stderr)
        return 2


def show_status(store: Path, *, failed: bool = False) -> int:
    """Print a store's status.

    Returns:
        0, or 1 if there are failed shards.
    """
    status = read_status(store)
    if failed:
        for shard, error in status.errors.items():
            print(f"shard {shard}: {error}")
    else:
        Console().print(as_table(status))
    return 1 if status.errors else 0

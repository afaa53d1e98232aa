"""Start the processes that train one point together, watch over them, and pass on how they ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from lcm.errors import LcmError, TrainingError
from sweeps import stopping
from sweeps.claim import Fence
from sweeps.parent import end_with_parent
from sweeps.team import Team, check_heard

ERRORS_VARIABLE = "LCM_RANK_ERRORS"  # names the folder in which a rank leaves why it failed
CLAIM_VARIABLE = "LCM_CLAIM"  # number of the claim under which ranks write
_POLL_S = 0.2
_WORD_S = 5.0  # a rank that was killed leaves no word; its watcher's comes after the errors of those that lost it, on a busy node late


def start_ranks(config: Path, devices: int, fence: Fence) -> bool:
    """Train the point of a frozen config in `devices` processes: all on this machine, or one in each task of the team.

    They run in sessions of their own, so that Ctrl-C reaches this process alone, which then asks them to stop.

    Args:
        config: `config.yaml` in the run folder.
        devices: Number of processes.
        fence: The claim on the run folder.

    Returns:
        Whether they trained to the end; False where they were stopped, with a checkpoint.

    Raises:
        TrainingError: A rank failed; the message is the first error of any.
        Lost: The run was taken over.
    """
    import torch
    from torch.distributed import TCPStore  # type: ignore[attr-defined]  # torch does not list it

    with _team(devices) as team:
        if team.size != devices:
            raise TrainingError(f"train.devices={devices}, but this job has {team.size} tasks to train one point: submit the point again.")
        if team.stop.exists():
            return False
        # held by this process, so that no other can take the port before a rank listens; the address, since a host name may not resolve
        store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
        threads = os.environ.get("OMP_NUM_THREADS") or str(max(1, torch.get_num_threads() // len(team.mine)))
        invitation = {"config": str(config.absolute()), "port": store.port, "claim": fence.number, "threads": threads}
        team.invite(invitation)
        return run_ranks(team, invitation, fence)


def run_ranks(team: Team, invitation: Mapping[str, Any], fence: Fence | None = None) -> bool:
    """Start this process's ranks and watch over them until all of them have ended; see `start_ranks`."""
    processes: dict[int, subprocess.Popen[bytes]] = {}
    try:
        for rank in team.mine:
            processes[rank] = _start(team, rank, invitation)
        return _watch(team, processes, fence)
    except BaseException as error:
        if team.error() is None:
            team.leave_word("failed", team.mine[0], f"{type(error).__name__}: {error}".splitlines()[0])
        raise
    finally:
        for process in processes.values():
            process.kill()
            process.wait()


@contextmanager
def errors_passed_on() -> Iterator[None]:
    """Leave the first line of an error for the process that started this rank; an error for the user ends without a traceback."""
    try:
        yield
    except Exception as error:
        lines = str(error).splitlines()
        text = lines[0] if lines else ""
        known = isinstance(error, LcmError)
        if folder := os.environ.get(ERRORS_VARIABLE):
            team = Team(Path(folder), int(os.environ["WORLD_SIZE"]), ())
            team.leave_word("failed", int(os.environ["RANK"]), text if known else f"{type(error).__name__}: {text}")
        if known:
            raise SystemExit(f"{type(error).__name__}: {text}") from error
        raise


@contextmanager
def _team(devices: int) -> Iterator[Team]:
    """Return the team that this task leads, or one of this machine alone."""
    team = Team.here()
    if team:
        yield team
        return
    with tempfile.TemporaryDirectory(prefix="lcm-ranks-", ignore_cleanup_errors=True) as folder:
        yield Team(Path(folder), devices, tuple(range(devices)))


def _start(team: Team, rank: int, invitation: Mapping[str, Any]) -> subprocess.Popen[bytes]:
    """Start one rank with the variables that torch.distributed.run would set. It is killed with this process: its claim is void then."""
    several = len(team.mine) > 1
    variables = {
        **{"RANK": rank, "WORLD_SIZE": team.size, "LOCAL_RANK": team.mine.index(rank), "LOCAL_WORLD_SIZE": len(team.mine)},
        **{"GROUP_RANK": 0 if several else rank, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": invitation["port"]},
        **{"TORCHELASTIC_USE_AGENT_STORE": True, "OMP_NUM_THREADS": invitation["threads"]},
        **{ERRORS_VARIABLE: team.folder, CLAIM_VARIABLE: invitation["claim"]},
    }
    with stopping.held_back():
        return subprocess.Popen(
            [sys.executable, "-m", "sweeps.ranks", invitation["config"]],
            env={"TORCH_CPP_LOG_LEVEL": "ERROR", **os.environ, **{name: str(value) for name, value in variables.items()}},
            start_new_session=True,
            preexec_fn=partial(end_with_parent, signal.SIGKILL),  # noqa: PLW1509  # it makes one system call
        )


def _watch(team: Team, processes: Mapping[int, subprocess.Popen[bytes]], fence: Fence | None) -> bool:
    """Wait for the ranks; pass requests to stop on, and end when anybody else's rank fails."""
    others, told = team.silences(), False
    while True:
        codes = _note_ends(team, processes)
        if all(code in {0, stopping.TO_BE_CONTINUED} for code in codes):
            return stopping.TO_BE_CONTINUED not in codes
        if team.error():
            _wait_for_the_reason(team, processes)
            raise TrainingError(team.error())
        if fence and fence.lost:
            fence.check()
        if not told and (stopping.requested() or team.stop.exists()):
            told = True
            team.mark(team.stop)
            for process in processes.values():
                process.send_signal(signal.SIGUSR2)
        check_heard(others)
        time.sleep(_POLL_S)


def _wait_for_the_reason(team: Team, processes: Mapping[int, subprocess.Popen[bytes]]) -> None:
    """Wait for the word of a rank that was killed, as long as there may be one: the others' errors only say that they have lost it."""
    until = time.monotonic() + _WORD_S
    while not team.is_explained() and time.monotonic() < until:
        time.sleep(_POLL_S)
        _note_ends(team, processes)


def _note_ends(team: Team, processes: Mapping[int, subprocess.Popen[bytes]]) -> list[int | None]:
    """Leave word of ranks that ended without one; returns the exit codes, None of those that run."""
    codes = {rank: process.poll() for rank, process in processes.items()}
    for rank, code in codes.items():
        if code == -signal.SIGABRT:  # NCCL ends so a process that has lost another
            team.leave_word("failed", rank, "ended by signal 6 (Aborted): its output is above.")
        elif code is not None and code < 0:
            team.leave_word("killed", rank, f"ended by signal {-code} ({signal.strsignal(-code)}): out of memory? Its output is above.")
        elif code not in {None, 0, stopping.TO_BE_CONTINUED}:
            team.leave_word("failed", rank, f"ended with exit code {code}: its output is above.")
    return list(codes.values())

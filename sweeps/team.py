"""Tasks of a SLURM job that train one point together: the first leads, the others wait here for its invitation.

python -m sweeps.team          # in a task whose LCM_TEAM, LCM_TEAM_RANK and LCM_TEAM_SIZE say whom it belongs to

The leader's process does all that a point needs. Where it would start ranks it writes an invitation, and each task starts its own;
from then on each watches over its rank, and what one of them meets with (a failure, a request to stop) it leaves for the others.
The folder belongs to one point and one start of the job.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lcm.errors import LcmError, TrainingError
from lcm.paths import write_text
from sweeps import stopping
from sweeps.heartbeat import STALE_S, Silence, beating

TEAM_VARIABLE, RANK_VARIABLE, SIZE_VARIABLE = "LCM_TEAM", "LCM_TEAM_RANK", "LCM_TEAM_SIZE"
JOIN_S = 300.0  # for a task to begin: a busy file system may take that long to import a package
_POLL_S = 0.2


@dataclass(frozen=True)
class Team:
    """The ranks of one point, and the folder in which those meet that watch over them.

    Attributes:
        folder: Where they leave word.
        size: Number of ranks.
        mine: Ranks that this process starts and watches over.
    """

    folder: Path
    size: int
    mine: tuple[int, ...]

    @classmethod
    def here(cls) -> Team | None:
        """Return the team that this process's task belongs to; None outside one."""
        folder, size, rank = (os.environ.get(name) for name in (TEAM_VARIABLE, SIZE_VARIABLE, RANK_VARIABLE))
        return cls(Path(folder), int(size), (int(rank),)) if folder and size and rank else None

    @property
    def stop(self) -> Path:
        """There when one of them was asked to stop."""
        return self.folder / "stop"

    @property
    def closed(self) -> Path:
        """There when the leader trains no more."""
        return self.folder / "closed"

    @property
    def _invitation(self) -> Path:
        return self.folder / "invite.json"

    def mark(self, path: Path) -> None:
        """Make one of these marks."""
        with suppress(OSError):
            self.folder.mkdir(parents=True, exist_ok=True)
            path.touch()

    def alive(self) -> AbstractContextManager[None]:
        """Show the others that this process lives, while the block lasts."""
        self.folder.mkdir(parents=True, exist_ok=True)
        return beating(self._beat(self.mine[0]))

    def silences(self) -> dict[int, Silence]:
        """Return how long the others have not been heard of, by rank."""
        return {rank: Silence(self._beat(rank)) for rank in range(self.size) if rank not in self.mine}

    def close(self) -> None:
        """Let the others end: nothing is left to train together."""
        self.mark(self.closed)

    def invite(self, invitation: dict[str, Any]) -> None:
        """Let the others begin."""
        write_text(self._invitation, json.dumps(invitation))

    def invitation(self) -> dict[str, Any] | None:
        """Wait for the leader's invitation; None where it turns out that there is nothing to train.

        Raises:
            Stopped: This process was asked to stop.
            TrainingError: The leader never came, or is gone.
        """
        leader = self.silences()
        while not self._invitation.exists():
            if self.closed.exists():
                return None
            if stopping.requested():
                self.mark(self.stop)
                raise stopping.Stopped
            check_heard(leader)
            time.sleep(_POLL_S)
        return dict(json.loads(self._invitation.read_text(encoding="utf-8")))

    def leave_word(self, kind: str, rank: int, text: str) -> None:
        """Tell the others why a rank ended; the first word stays.

        Args:
            kind: `killed`, for one that could not say so itself, or `failed`.
            rank: Which.
            text: Why, in a line.
        """
        path = self.folder / f"{kind}-{rank}"
        if not path.exists():
            with suppress(OSError):
                write_text(path, text)

    def error(self) -> str | None:
        """Return why a rank ended, of the one that did so first: the others then fail because they lost it."""
        found = [path for kind in ("killed", "failed") for path in self._words(kind)]
        return f"rank {found[0].name.partition('-')[2]}: {found[0].read_text(encoding='utf-8')}" if found else None

    def is_explained(self) -> bool:
        """Say whether no later word will change why: a rank was killed, or all have said why they ended."""
        return bool(self._words("killed")) or len(self._words("failed")) >= self.size

    def _words(self, kind: str) -> list[Path]:
        paths = [path for path in self.folder.glob(f"{kind}-*") if path.name.partition("-")[2].isdigit()]
        return sorted(paths, key=lambda path: path.stat().st_mtime_ns)

    def _beat(self, rank: int) -> Path:
        return self.folder / f"beat-{rank}"


def check_heard(silences: dict[int, Silence]) -> None:
    """Refuse to wait for a task that is gone.

    Raises:
        TrainingError: One has not been heard of for too long.
    """
    for rank, silence in silences.items():
        if (silent_s := silence.seconds()) > (STALE_S if silence.broken else JOIN_S):
            raise TrainingError(
                f"The task of rank {rank} has not been heard of for {silent_s:.0f} s: it was killed, or never began. See its log; "
                "started again, the point goes on from its last checkpoint."
            )


@contextmanager
def leading() -> Iterator[None]:
    """Show the other tasks of a team, where there is one, that their leader lives, and let them end when it ends."""
    team = Team.here()
    if team is None:
        yield
        return
    with team.alive():
        try:
            yield
        finally:
            team.close()


def dismiss() -> None:
    """Let the other tasks of a team end, where there is one: nothing is left to train together."""
    if team := Team.here():
        team.close()


def follow(team: Team) -> int:
    """Train as one of a team, as far as its leader invites; returns the exit code."""
    from sweeps.launch import run_ranks

    with team.alive():
        invitation = team.invitation()
        return 0 if invitation is None or run_ranks(team, invitation) else stopping.TO_BE_CONTINUED


def main() -> None:
    """Follow the leader of this task's team."""
    stopping.install(defer=True)
    team = Team.here()
    if team is None:
        raise SystemExit(f"This process belongs to no team: {TEAM_VARIABLE}, {RANK_VARIABLE} and {SIZE_VARIABLE} are set by a sweep's job.")
    try:
        code = follow(team)
    except LcmError as error:
        raise SystemExit(f"{type(error).__name__}: {error}") from error
    raise SystemExit(code)


if __name__ == "__main__":
    main()

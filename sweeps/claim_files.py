"""The files by which a run folder is claimed, and how a process is told from another that has its number."""

from __future__ import annotations

import errno
import json
import os
import uuid
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from slurm.progress import job_name, node_name, now

RESTART_VARIABLES = ("LCM_RESTART", "SLURM_RESTART_COUNT")
_HIDDEN = "hidden"  # of another user, where /proc does not show these
_NO_LINKS = {errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EMLINK}


@dataclass(frozen=True)
class Owner:
    """A process that owns or owned a run folder.

    Attributes:
        token: Tells it from every other.
        host: Its node.
        pid: Its number there.
        job: Its job; empty outside one.
        restart: How often SLURM had started that job again.
        taken: When it took the folder, UTC.
        machine: Start of the machine's kernel and space of process numbers: within one, the same number is the same process, if ...
        born: ... it was also born at the same tick of that kernel. Both empty where there is no /proc.
    """

    token: str
    host: str
    pid: int
    job: str = ""
    restart: int = 0
    taken: str = ""
    machine: str = ""
    born: str = ""

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host} (job {self.job or 'none'}, since {self.taken})"


def this_process() -> Owner:
    """Return this process as an owner from now on."""
    pid, restart = os.getpid(), next((value for name in RESTART_VARIABLES if (value := os.environ.get(name, "")).isdigit()), "0")
    return Owner(uuid.uuid4().hex, node_name(), pid, job_name(), int(restart), now(), _machine(), _born(pid))


def is_dead(owner: Owner, me: Owner) -> bool:
    """Say whether an owner was a process of this very machine and is no more; False where that cannot be seen from here."""
    here = bool(me.machine) and (owner.host, owner.machine) == (me.host, me.machine)
    return here and _born(owner.pid) not in (owner.born, _HIDDEN)


class ClaimFiles:
    """The claims of one run folder.

    Args:
        folder: Holds them.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def claim(self, number: int) -> Path:
        """Who took it."""
        return self.folder / f"{number:06d}.json"

    def beat(self, number: int) -> Path:
        """Touched while its owner lives."""
        return self.folder / f"{number:06d}.beat"

    def released(self, number: int) -> Path:
        """There when its owner let go."""
        return self.folder / f"{number:06d}.released"

    def highest(self) -> int:
        """Return the number of the owner; 0 where there is none."""
        try:
            names = os.listdir(self.folder)  # noqa: PTH208  # names alone
        except FileNotFoundError:
            return 0
        return max((int(name[:6]) for name in names if name[:6].isdigit() and name[6:] == ".json"), default=0)

    def read(self, number: int) -> Owner | None:
        """Return who took a number; None where that cannot be read."""
        try:
            values = json.loads(self.claim(number).read_text(encoding="utf-8"))
            return Owner(**{f.name: values[f.name] for f in fields(Owner) if f.name in values})
        except (OSError, ValueError, TypeError, AttributeError):
            return None

    def make(self, number: int, owner: Owner) -> bool:
        """Try to take a number.

        Returns:
            Whether this process has it.

        Raises:
            OSError: The folder cannot be written to.
        """
        part, text = self.folder / f"{number:06d}.{owner.token}.part", json.dumps(asdict(owner))
        try:
            part.write_text(text, encoding="utf-8")
            os.link(part, self.claim(number))
        except FileExistsError:
            pass  # read below: NFS may repeat a request that had succeeded
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            with suppress(FileExistsError), self.claim(number).open("x", encoding="utf-8") as file:
                file.write(text)
        finally:
            with suppress(OSError):
                part.unlink()
        winner = self.read(number)
        return winner is not None and winner.token == owner.token

    def forget(self, number: int, kept: int) -> None:
        """Remove what is long over, and the predecessor's beat, by which it notices."""
        with suppress(OSError):
            self.beat(number - 1).unlink(missing_ok=True)
            for name in os.listdir(self.folder):  # noqa: PTH208  # names alone
                if name[:6].isdigit() and int(name[:6]) < number - kept:
                    (self.folder / name).unlink(missing_ok=True)


def _born(pid: int) -> str:
    """Return at which tick of the kernel a process began; empty where there is none, or it has ended and only waits to be noticed."""
    try:
        words = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        return "" if words[0] in "ZX" else words[19]
    except (OSError, IndexError):
        return _HIDDEN if _is_there(pid) else ""


def _is_there(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # another user's
        return True
    return True


def _machine() -> str:
    try:
        return f"{Path('/proc/sys/kernel/random/boot_id').read_text(encoding='utf-8').strip()} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""

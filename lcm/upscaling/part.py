"""Files that appear under their name whole or not at all: NAME.part in the same folder, flushed to disk, then renamed."""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from lcm.audio import AudioError


class Part:
    """A file on its way: a context that removes NAME.part unless `commit` was called.

    A part that a killed run left behind is taken over; one that another run is writing is refused.

    Attributes:
        path: The final name.
        part: NAME.part beside it.
        descriptor: Open for reading and writing, empty.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.part = path.with_name(f"{path.name}.part")
        self.descriptor = -1

    def __enter__(self) -> Part:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            while not self._open():
                pass
            os.ftruncate(self.descriptor, 0)
        except OSError as error:
            self._close()
            raise write_error(self.path, error) from error
        return self

    def _open(self) -> bool:
        """Open and lock the part; say whether what was locked still has that name."""
        self.descriptor = os.open(self.part, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._close()
            raise AudioError(self.path, f"another run is writing it ({self.part.name} is locked): wait for it") from None
        except OSError:  # a file system without locks
            return True
        with suppress(FileNotFoundError):
            if os.path.samestat(self.part.stat(), os.fstat(self.descriptor)):
                return True
        self._close()  # the run that held it has just finished and renamed it
        return False

    def sync(self) -> None:
        """Bring the content to the disk."""
        try:
            os.fsync(self.descriptor)
        except OSError as error:
            raise write_error(self.path, error) from error

    def commit(self) -> None:
        """Give the file its final name."""
        try:
            self.part.replace(self.path)
        except OSError as error:
            raise write_error(self.path, error) from error
        self._close()
        with suppress(OSError):  # not every file system flushes folders
            folder = os.open(self.path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)

    def _close(self) -> None:
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self.descriptor >= 0:  # removed while it is still locked, so that it cannot be another run's
            with suppress(OSError):
                self.part.unlink()
            self._close()


def write_error(path: Path, error: OSError) -> AudioError:
    """Return the error of a file that could not be written, with what to do."""
    remedies = {28: "free some space", 122: "free some space", 27: "raise the limit (ulimit -f)", 36: "shorten the name"}
    remedy = remedies.get(error.errno or 0, "choose another place with -o")
    return AudioError(path, f"not written ({error.strerror or error}): {remedy}; nothing was left there")

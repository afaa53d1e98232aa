"""Files that cannot be written, said in words."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from analysis.table import ResultsError


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn what keeps a file or folder from being written into one line.

    Args:
        path: what is written in the block.

    Raises:
        ResultsError: it cannot be made or written; with the path, the reason, and what to do.
    """
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise ResultsError(f"{path} cannot be written ({reason}): give -o a place that you may write to and that has room") from error

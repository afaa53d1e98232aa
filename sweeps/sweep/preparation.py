"""Make what several points need once, in a job before theirs: corpus, codes, teacher's codes, records of the baselines.

python -m sweeps.sweep.preparation ROOT/sweeps/NAME NUMBER
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from subprocess import Popen

from lcm.errors import LcmError
from lcm.paths import Root, SweepFolder, write_text
from slurm.progress import now
from slurm.signals import Stop
from slurm.task import Job
from sweeps.stopping import TO_BE_CONTINUED, install
from sweeps.sweep.child import ended_by, start
from sweeps.sweep.pack import Pack
from sweeps.sweep.settings import SweepError


def check_prepared(folder: SweepFolder, number: int, prepared_by: Mapping[int, int]) -> str:
    """Return why a point cannot begin; empty where it can."""
    if number not in prepared_by:
        return ""
    try:
        said = json.loads(folder.prepared(prepared_by[number]).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        said = {"error": "it did not end. See the log of the job `prepare`"}
    return f"not begun, as what it needs was not prepared: {said['error']}" if said["error"] else ""


@dataclass(frozen=True, kw_only=True)
class PreparationJob(Job):
    """A job that prepares what groups of points need, one after the other.

    Attributes:
        sweep: Name of the sweep.
    """

    sweep: str

    def run(self, mine: list[int], stop: Stop) -> bool:
        """Prepare for each group.

        Raises:
            SweepError: Some could not be prepared; each is named.
        """
        folder = Root(self.place).sweep(self.sweep)

        def begin(number: int) -> Popen[bytes]:
            return start("sweeps.sweep.preparation", [str(folder.folder), str(number)], folder.preparation_log(number))

        def why(number: int, code: int) -> str:
            if code in {0, TO_BE_CONTINUED}:
                return ""
            if code != 1 or not folder.prepared(number).exists():
                _write(folder, number, ended_by(code))
            return str(json.loads(folder.prepared(number).read_text(encoding="utf-8"))["error"])

        pack = Pack(mine, stop, 1, begin, why)
        failed = pack.run()
        if failed and not pack.left:  # while some are left the job comes back for them
            raise SweepError("\n".join(f"preparation for point {number}: {error}" for number, error in sorted(failed.items())))
        return not pack.left


def _write(folder: SweepFolder, number: int, error: str) -> None:
    write_text(folder.prepared(number), json.dumps({"error": error, "updated": now()}))


def main() -> int:
    """Prepare for a point and note how it ended."""
    install()
    folder, number = SweepFolder(Path(sys.argv[1])), int(sys.argv[2])
    try:
        _prepare(folder.config(number))
    except Exception as error:
        lines = str(error).splitlines()
        _write(folder, number, f"{type(error).__name__}: {lines[0] if lines else ''}")
        if isinstance(error, LcmError):
            print(f"{type(error).__name__}: {error}", file=sys.stderr)
            return 1
        raise
    _write(folder, number, "")
    return 0


def _prepare(config: Path) -> None:
    from sweeps.baselines import ensure_baselines
    from sweeps.config import read_config
    from sweeps.prepare import prepare

    asked = read_config(config)
    ensure_baselines(asked, prepare(asked), Root(Path(asked.root)))


if __name__ == "__main__":
    sys.exit(main())

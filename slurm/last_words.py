"""What the logs say of jobs that ended before they could write a heartbeat: a missing module, a missing weight, a refused memory."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from pathlib import Path

from lcm.store import StorePaths
from slurm.submission import Submission, Submissions

_TAIL_BYTES = 65536
# Python's exceptions, SLURM's own words (not srun's, which only say that there was something), and the shell's
_ERROR = re.compile(r"^([\w.]*(Error|Exception|Interrupt|GaveUp)\b|slurmstepd: error|Killed|Segmentation fault|Bus error|\S+: line \d+: )")


def last_words(
    place: Path, stage: str, targets: Collection[str], silent: Collection[int], live: Mapping[str, Collection[str]]
) -> dict[int, str]:
    """Return the last line that each silent shard's job has logged.

    Args:
        place: Folder that holds submissions and logs.
        stage: What they made.
        targets: Keys of the settings that lead to the store.
        silent: Shards that are missing and have no heartbeat.
        live: Ids of the jobs that have not ended, by submission; they may still speak.

    Returns:
        Line by shard; none for shards that were never submitted, or whose job logged nothing.
    """
    found: dict[int, str] = {}
    left = set(silent)
    for submission in sorted(Submissions(place), key=lambda s: s.name, reverse=True):  # the latest has the last word
        if submission.stage == stage and submission.target in targets and left:
            said = _of(StorePaths(place).logs / submission.name, submission, left, set(live.get(submission.name, ())))
            found.update(said)
            left -= said.keys()
    return found


def words_of(place: Path, stage: str, targets: Collection[str], live: Mapping[str, Collection[str]]) -> str:
    """Return the last line of the latest job of a stage of one job, such as a merge; empty while it lives."""
    mine = [one for one in Submissions(place) if one.stage == stage and one.target in targets and one.jobs]
    if not mine or mine[-1].name in live:
        return ""
    log = StorePaths(place).logs / mine[-1].name / f"{mine[-1].jobs[0]}_0_log.err"
    line = _last_line(log)
    return f"{line} (job {mine[-1].jobs[0]}, log {log})" if line else ""


def _of(logs: Path, submission: Submission, silent: Collection[int], live: Collection[str]) -> dict[int, str]:
    found = {}
    for job, element in zip(submission.jobs, submission.elements, strict=False):
        for number, shards in enumerate(element):
            mine = [shard for shard in shards if shard in silent]
            if mine and job not in live and (line := _last_line(logs / f"{job}_{number}_log.err")):
                found.update(dict.fromkeys(mine, f"{line} (job {job}, log {logs / f'{job}_{number}_log.err'})"))
    return found


def _last_line(log: Path) -> str:
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - _TAIL_BYTES))
            lines = file.read().decode("utf-8", "replace").splitlines()
    except OSError:
        return ""
    errors = (line.strip() for line in reversed(lines) if _ERROR.match(line))
    return next(errors, "")

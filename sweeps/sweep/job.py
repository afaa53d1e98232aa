"""What a job of a sweep runs: the points of each of its tasks, each in a process of its own."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from subprocess import Popen

from lcm.paths import Root, Run, SweepFolder
from slurm.marks import Marks, process_number
from slurm.progress import job_name, node_name
from slurm.signals import Stop
from slurm.submission import Submissions
from slurm.task import Job
from sweeps.claim import owner_of
from sweeps.stopping import TO_BE_CONTINUED
from sweeps.sweep.child import ended_by, start
from sweeps.sweep.logs import tail
from sweeps.sweep.pack import Pack
from sweeps.sweep.preparation import check_prepared
from sweeps.sweep.record import read_place, write_place
from sweeps.sweep.settings import SweepError
from sweeps.team import RANK_VARIABLE, SIZE_VARIABLE, TEAM_VARIABLE, Team


@dataclass(frozen=True, kw_only=True)
class PointsJob(Job):
    """A job that trains or evaluates points.

    Attributes:
        sweep: Name of the sweep.
        pack: Points at once in a task.
        devices: Tasks that train one point together.
        until: `done`, or `trained` where a job of its own evaluates.
        evaluates: Whether this is that job.
        attempts: A point that dies this often in a row without a further checkpoint is given up.
        prepared_by: Point that prepares what a point needs, in a job before this one.
        threads: Threads of a task, shared by its points; 0 leaves them as they are.
    """

    sweep: str
    pack: int = 1
    devices: int = 1
    until: str = "done"
    evaluates: bool = False
    attempts: int = 3
    prepared_by: dict[int, int] = field(default_factory=dict)
    threads: int = 0

    @property
    def folder(self) -> SweepFolder:
        """Folder of the sweep."""
        return Root(self.place).sweep(self.sweep)

    def run(self, mine: list[int], stop: Stop) -> bool:
        """Run the points of this task.

        Raises:
            SweepError: Points failed; each is named.
        """
        if self.devices > 1 and process_number():
            return self._join(stop)
        pack = Pack(mine, stop, self.pack, partial(self._start, threads=self._share(mine)), self._end)
        failed, left = pack.run(), pack.left
        if self.devices > 1:  # the leader's process says so itself, where there was one and it could
            Team(self._team_folder, self.devices, (0,)).close()
        if self.until == "trained" and (trained := self._to_evaluate(mine, {*failed, *left}, ended=bool(failed))):
            evaluate = partial(self._process, until="done", threads=self._share(trained))
            rest = Pack(trained, stop, self.pack, evaluate, self._end)
            failed, left = failed | rest.run(), left + rest.left
        if failed and not left:  # while some are left the job comes back for them: it says at its end what failed
            lines = [f"point {number}: {error}" for number, error in sorted(failed.items())]
            raise SweepError(f"{len(failed)} of {len(mine)} points failed. " + "\n".join(lines))
        return not left

    def _share(self, points: Sequence[int]) -> int:
        """Return the threads of each of a task's points: as many share them as run at once, one where several tasks train it together."""
        return max(1, self.threads // max(1, min(self.pack, len(points)))) if self.threads else 0

    def _start(self, number: int, threads: int = 0) -> Popen[bytes] | str:
        """Start a point, or say why it is not."""
        untrained = self._untrained(number) if self.evaluates else ""
        if error := untrained or self._given_up(number) or check_prepared(self.folder, number, self.prepared_by):
            write_place(self.folder, number, error=error, job=job_name(), host=node_name(), begun="")
            return error
        return self._process(number, self.until, threads)

    def _process(self, number: int, until: str, threads: int) -> Popen[bytes]:
        words = [str(self.folder.folder), str(number), "--until", until]
        write_place(self.folder, number, begun=job_name() or node_name())
        return start("sweeps.frozen", words, self.folder.log(number), threads=threads, more=self._team(0) if self.devices > 1 else None)

    def _untrained(self, number: int) -> str:
        """Say why a job that only evaluates, perhaps without a GPU, does not begin a point; empty where it does."""
        run = self._run(number)
        trained = run is not None and run.model.exists()
        return "" if trained else "not evaluated, as it is not trained: the job that was to train it left it to another, or was ended"

    def _run(self, number: int) -> Run | None:
        """Return a point's run folder where it is known."""
        name = read_place(self.folder, number).run
        return Run(Root(self.place).points / name) if name else None

    def _to_evaluate(self, mine: list[int], not_trained: Collection[int], *, ended: bool) -> list[int]:
        """Return the points that nobody would evaluate: the job that was to do so waits for one of which no task fails.

        Args:
            mine: Points of this task.
            not_trained: Which of them failed or are left.
            ended: Whether to take the points of tasks that have ended too, as they knew of no failure then.
        """
        tasks = Submissions(self.place).read(self.submission).elements[self.element]
        marks = Marks(self.logs, self.element, len(tasks), self.grace_s)
        others = [(marks.path(process).exists(), task) for process, task in enumerate(tasks) if process != process_number()]
        if not ended and not any(self._failure(number) for _, task in others for number in task):
            return []
        theirs = [number for has_ended, task in others if ended and has_ended for number in task if not self._failure(number)]
        return [*(number for number in mine if number not in not_trained), *theirs]

    def _failure(self, number: int) -> str:
        """Return why a point failed in this job; empty where it did not."""
        place, run = read_place(self.folder, number), self._run(number)
        status = run.read_status() if run else {}
        if status.get("state") == "failed" and status.get("job") == job_name():
            return str(status.get("error"))
        return place.error if place.job == job_name() else ""

    def _given_up(self, number: int) -> str:
        """Say why a point is not tried again in this job; empty where it is.

        One that failed has failed, also when the job starts again for the sake of others. One that dies again and again with its job,
        or with its node, is given up.
        """
        place, run = read_place(self.folder, number), self._run(number)
        status = run.read_status() if run else {}
        # a job that starts for the first time was asked for: on this machine all have one job's id, or none
        again = os.environ.get("SLURM_RESTART_COUNT", "0") not in {"", "0"}
        if again and (error := self._failure(number)):
            return error
        if not place.begun:
            return ""
        step = int(status.get("first_step") or 0)  # of the checkpoint from which the attempt that died had gone on
        died = place.died + 1 if step <= place.died_at else 1
        write_place(self.folder, number, died=died, died_at=step)
        if died < self.attempts:
            return ""
        error = f"given up: it died {died} times in a row after step {step} without a word. Its node's or job's memory? See its log"
        _note_failure(run, error)
        return error

    def _end(self, number: int, code: int) -> str:
        """Note that an attempt has ended; returns why it failed, written down where its process could not."""
        write_place(self.folder, number, begun="", **({} if code not in {0, TO_BE_CONTINUED} else {"died": 0, "died_at": 0}))
        if code in {0, TO_BE_CONTINUED}:
            return ""
        place, run = read_place(self.folder, number), self._run(number)
        status = run.read_status() if run else {}
        here = status.get("state") == "failed" and status.get("job") == job_name()  # not what an earlier job says
        said = str(status.get("error") or "") if here else place.error
        if said and code > 0:
            return said
        error = ": ".join([ended_by(code), *(tail(self.folder.log(number), 1) if code > 0 else [])])
        if not _note_failure(run, error):
            write_place(self.folder, number, error=error, job=job_name(), host=node_name())
        return error

    def _team(self, rank: int) -> dict[str, str]:
        """Return how a process finds those that train with it; a job that starts again has another place for it."""
        return {TEAM_VARIABLE: str(self._team_folder), RANK_VARIABLE: str(rank), SIZE_VARIABLE: str(self.devices)}

    @property
    def _team_folder(self) -> Path:
        return self.logs / f"team-{self.element}-{os.environ.get('SLURM_RESTART_COUNT', '0')}"

    def _join(self, stop: Stop) -> bool:
        """Train as one of several processes, as far as the leader, the job's first task, invites."""
        rank = process_number()
        log = self.logs / f"team-{self.element}-{rank}.log"
        follow = Pack([rank], stop, 1, lambda _: start("sweeps.team", [], log, more=self._team(rank)), _why_a_rank_failed)
        if failed := follow.run():
            raise SweepError(f"rank {rank}: {failed[rank]}. Log: {log}")
        return not follow.left


def _why_a_rank_failed(_: int, code: int) -> str:
    return ended_by(code) if code not in {0, TO_BE_CONTINUED} else ""


def _note_failure(run: Run | None, error: str) -> bool:
    """Note in a run folder why its point failed; not where there is none, where it is done, or where it is another job's by now."""
    owner = owner_of(run) if run else None
    if run is None or run.read_status().get("state") == "done" or (owner is not None and owner.job != job_name()):
        return False
    run.write_status("failed", error=error, job=job_name())
    return True

"""The jobs of a root, one waiting for the other: a stage's shards, their merge, the teacher's training, the next stage's shards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from lcm.store import StoreError, StorePaths
from slurm import submit as jobs
from slurm.budget import check_budget
from slurm.local import finish
from slurm.shards import Plan, missing_shards
from slurm.signals import listen
from slurm.site import Site
from slurm.stages import Generation, is_finished, stage_work
from slurm.submission import Submission, Submissions
from slurm.task import leave
from slurm.teaching import train_teacher


@dataclass
class Submitted:
    """What one call of `submit` did.

    Attributes:
        submissions: What it submitted, in order.
        lines: What to tell a person.
    """

    submissions: list[Submission] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)

    def add(self, submission: Submission, text: str) -> str:
        """Note a submission; returns the ids of its jobs, arrays once, as SLURM's dependencies take them."""
        self.submissions.append(submission)
        ids = ":".join(sorted({job.partition("_")[0] for job in submission.jobs}))
        self.lines.append(f"{text}: job {ids.replace(':', ', ')}")
        return ids


def submit_stage(
    generation: Generation, at: Site, stage: str, live: Mapping[str, Sequence[str]], done: Submitted, after: str, *, retry: bool
) -> str:
    """Submit a stage's missing shards and its merge; returns the dependency of what comes next, empty where the stage is finished."""
    folder, root = generation.folder(stage), generation.root.folder
    if folder is not None and not after and is_finished(folder):
        return ""
    busy = jobs.busy_shards(root, stage, live)
    if folder is None or after:  # planned by the job before; what it will not have is passed over
        shards = [shard for shard in range(generation.config.shards) if shard not in busy]
    else:
        shards = jobs.to_make(folder, retry=retry, max_barren=at.max_barren, busy=busy)
        say_given_up(folder, shards, busy, done)
        check_budget(generation, folder, shards)
        StorePaths(folder).index.unlink(missing_ok=True)  # a store with a shard missing is not finished
    waiting = _live(root, live, stage)
    if shards:
        _cancel_following(root, live, stage)
        new = jobs.submit_shards(at, stage, shards, partial(stage_work, root, stage), after=after)
        waiting.append(done.add(new, f"{stage}: {len(shards)} shards in {len(new.elements)} jobs"))
    elif merging := _live(root, live, f"merge {stage}"):
        return f"afterok:{':'.join(merging)}"
    elif not waiting and folder is not None and missing_shards(folder, Plan.read(StorePaths(folder).plan)):
        raise StoreError("\n".join(done.lines) or f"Shards of {folder} are missing and none can be submitted.")
    dependency = f"afterany:{':'.join(waiting)}" if waiting else ""
    merge = jobs.submit_call(at, f"merge {stage}", partial(merge_stage, root, stage), after=dependency)
    return f"afterok:{done.add(merge, f'merge {stage}')}"


def submit_training(generation: Generation, at: Site, live: Mapping[str, Sequence[str]], done: Submitted, after: str) -> str:
    """Submit the teacher's training unless it waits or runs; returns the dependency of the overlay."""
    root = generation.root.folder
    if training := _live(root, live, "teacher"):
        return f"afterok:{':'.join(training)}"
    return f"afterok:{done.add(jobs.submit_call(at, 'teacher', partial(train_stage, root), after=after, light=False), 'teacher')}"


def _live(root: Path, live: Mapping[str, Sequence[str]], stage: str) -> list[str]:
    """Return the ids of a stage's live jobs, arrays once."""
    submissions = Submissions(root)
    return sorted({job.partition("_")[0] for name, ids in live.items() if submissions.read(name).stage == stage for job in ids})


def _cancel_following(root: Path, live: Mapping[str, Sequence[str]], stage: str) -> None:
    """Cancel what waits for a stage's old jobs only: it is submitted anew, to wait for all of them."""
    following = {"codes": ("merge codes", "teacher", "overlay", "merge overlay"), "overlay": ("merge overlay",)}[stage]
    submissions = Submissions(root)
    for name in live:
        if submissions.read(name).stage in following:
            jobs.stop(submissions.cancel(name))


def say_given_up(folder: Path, shards: Sequence[int], busy: set[int], done: Submitted) -> None:
    """Note how many shards are missing that nobody will make."""
    missing = missing_shards(folder, Plan.read(StorePaths(folder).plan))
    left = sorted(set(missing) - set(shards) - busy)
    if left:
        done.lines.append(f"{len(left)} shards of {folder.name} were given up, the first {left[0]}: see `status --failed`, then `retry`.")


def merge_stage(folder: Path, stage: str) -> None:
    """Verify a stage's shards and write its index, then plan the next stage: what the dependent job runs.

    Raises:
        StoreError: Shards are missing or damaged; each is named.
    """
    generation = Generation.at(folder)
    work = stage_work(folder, stage)
    index = finish(work.folder, Plan.read(StorePaths(work.folder).plan))
    print(
        f"{work.folder}: {sum(len(s.keys) for s in index.shards)} clips, {index.quarantined} quarantined, identity {index.identity}",
        flush=True,
    )
    if stage == "codes" and generation.has_overlay and (not generation.config.train or generation.trained()):
        generation.plan_overlay()


def train_stage(folder: Path) -> None:
    """Train the teacher, then plan its overlay: what the job between codes and overlay runs. At its time limit it asks to be requeued."""
    with listen() as stop:
        trained = train_teacher(folder, stop)
    if not trained:
        leave(stop)
        return
    Generation.at(folder).plan_overlay()

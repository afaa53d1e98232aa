"""The jobs of a root, one waiting for the other: a stage's shards, their merge, the teacher's training, the next stage's shards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from lcm.store import StoreError, StorePaths
from slurm import submit as jobs
from slurm.budget import check_budget
from slurm.config import freeze
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


Live = dict[str, list[str]]  # ids of the jobs that have not ended, by submission


def submit_stage(generation: Generation, at: Site, stage: str, live: Live, done: Submitted, after: str, *, retry: bool) -> str:
    """Submit a stage's missing shards and its merge.

    Args:
        generation: The root and its settings.
        at: Where jobs run.
        stage: `codes` or `overlay`.
        live: What has not ended; what is cancelled here is taken out.
        done: Is told what was submitted.
        after: SLURM's dependency on the stage before; empty where that is finished.
        retry: Whether shards that were given up are taken too.

    Returns:
        The dependency of what comes next, empty where the stage is finished.
    """
    folder, root, target = generation.folder(stage), generation.root.folder, generation.key(stage)
    if folder is not None and not after and is_finished(folder):
        return ""
    busy = jobs.busy_shards(root, stage, live, target)
    if folder is None or after:  # planned by the job before; what it will not have is passed over
        if generation.config.gpu_hours and at.cluster.gpus_per_task:
            done.lines.append(f"{stage}: not submitted: gpu_hours is set and its rate is unknown. After the codes: calibrate, submit.")
            return ""
        shards = [shard for shard in range(generation.config.shards) if shard not in busy]
    else:
        shards = jobs.to_make(folder, retry=retry, max_barren=at.max_barren, busy=busy)
        say_given_up(folder, shards, busy, done)
        check_budget(generation, folder, shards)
        StorePaths(folder).index.unlink(missing_ok=True)  # a store with a shard missing is not finished
    waiting, frozen = _live(root, live, stage, target), freeze(root, generation.config)
    if shards:
        _cancel_following(generation, live, stage, done)
        measuring = _live(root, live, f"calibrate {stage}", target)  # it leaves its shards half made
        after = ",".join(part for part in (after, f"afterany:{':'.join(measuring)}" if measuring else "") if part)
        new = jobs.submit_shards(at, stage, shards, partial(stage_work, root, stage, frozen), target=target, after=after)
        waiting.append(done.add(new, f"{stage}: {len(shards)} shards in {len(new.elements)} jobs"))
    elif merging := _live(root, live, f"merge {stage}", target):
        return f"afterok:{':'.join(merging)}"
    elif not waiting and folder is not None and missing_shards(folder, Plan.read(StorePaths(folder).plan)):
        raise StoreError("\n".join(done.lines) or f"Shards of {folder} are missing and none can be submitted.")
    dependency = f"afterany:{':'.join(waiting)}" if waiting else ""
    merge = jobs.submit_call(at, f"merge {stage}", partial(merge_stage, root, stage, frozen), target=target, after=dependency)
    return f"afterok:{done.add(merge, f'merge {stage}')}"


def submit_training(generation: Generation, at: Site, live: Live, done: Submitted, after: str) -> str:
    """Submit the teacher's training unless it waits or runs; returns the dependency of the overlay."""
    root, target = generation.root.folder, generation.key("overlay")
    if training := _live(root, live, "teacher", target):
        return f"afterok:{':'.join(training)}"
    call = partial(train_stage, root, freeze(root, generation.config))
    return f"afterok:{done.add(jobs.submit_call(at, 'teacher', call, target=target, after=after, light=False), 'teacher')}"


def _live(root: Path, live: Live, stage: str, target: str) -> list[str]:
    """Return the ids of a stage's live jobs, arrays once."""
    submissions = Submissions(root)
    found = [(submissions.read(name), ids) for name, ids in live.items()]
    return sorted({job.partition("_")[0] for s, ids in found if (s.stage, s.target) == (stage, target) for job in ids})


def _cancel_following(generation: Generation, live: Live, stage: str, done: Submitted) -> None:
    """Cancel what waits for a stage's old jobs only: it is submitted anew, to wait for all of them."""
    following = {"codes": ("merge codes", "teacher", "overlay", "merge overlay"), "overlay": ("merge overlay",)}[stage]
    submissions, target, overlay_key = Submissions(generation.root.folder), generation.key(stage), generation.key("overlay")
    for name in list(live):
        submission = submissions.read(name)
        if submission.stage in following and (stage == "codes" or submission.target == target):
            jobs.stop(submissions.cancel(name), live.pop(name))
            if submission.stage == "overlay" and submission.target != overlay_key:
                done.lines.append(f"{submission.stage}: jobs of another teacher were cancelled, as they waited for codes: submit it again.")


def say_given_up(folder: Path, shards: Sequence[int], busy: set[int], done: Submitted) -> None:
    """Note how many shards are missing that nobody will make."""
    missing = missing_shards(folder, Plan.read(StorePaths(folder).plan))
    left = sorted(set(missing) - set(shards) - busy)
    if left:
        done.lines.append(f"{len(left)} shards of {folder.name} were given up, the first {left[0]}: see `status --failed`, then `retry`.")


def merge_stage(folder: Path, stage: str, frozen: str = "") -> None:
    """Verify a stage's shards and write its index, then plan the next stage: what the dependent job runs.

    Args:
        folder: The root.
        stage: `codes` or `overlay`.
        frozen: Digest of the settings of a submission; empty: those that were asked last.

    Raises:
        StoreError: Shards are missing or damaged; each is named.
    """
    generation = Generation.at(folder, frozen)
    work = stage_work(folder, stage, frozen)
    index = finish(work.folder, Plan.read(StorePaths(work.folder).plan))
    print(
        f"{work.folder}: {sum(len(s.keys) for s in index.shards)} clips, {index.quarantined} quarantined, identity {index.identity}",
        flush=True,
    )
    if stage == "codes" and generation.can_plan_overlay():
        generation.plan_overlay()


def train_stage(folder: Path, frozen: str = "") -> None:
    """Train the teacher, then plan its overlay: what the job between codes and overlay runs. At its time limit it asks to be requeued."""
    with listen() as stop:
        trained = train_teacher(folder, stop, frozen)
    if not trained:
        leave(stop)
        return
    Generation.at(folder, frozen).plan_overlay()

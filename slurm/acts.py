"""What a user does with a root: submit, retry, calibrate, merge, verify, cancel. From a notebook as from the command line.

`folder` is the root and `words` are settings as on the command line, such as `["corpus=libritts", "cluster=2x48gb"]`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from lcm.codec import load_codec
from lcm.paths import Root
from lcm.store import StoreError, StorePaths
from lcm.teachers import load_teacher
from slurm import submit as jobs
from slurm.budget import check_budget
from slurm.chain import Submitted, merge_stage, say_given_up, submit_stage, submit_training, train_stage
from slurm.config import ConfigError, configure, freeze, keep
from slurm.local import check_made, progress_bar
from slurm.shards import Plan
from slurm.site import Site, site, writing
from slurm.stages import STAGES, Generation, is_finished, stage_work
from slurm.status import read_status
from slurm.submission import Submission, Submissions
from slurm.turn import turn


def prepare(folder: Path | str, words: Sequence[str] = ()) -> Generation:
    """Read the corpus, plan what can be planned, and keep the settings for later commands.

    Raises:
        LcmError: A setting is wrong, or the folder was begun with another plan (each difference is named).
    """
    folder = _absolute(folder)
    if not Root(folder).generate.exists() and not any(word.startswith("corpus") for word in words):
        raise ConfigError(f"Nothing was planned in {folder}. To begin, name a corpus, such as corpus=libritts corpus.root=DIR.")
    config = configure(folder, words)
    generation = Generation(Root(folder), config)
    generation.plan_codes(again=any(word.startswith("corpus") for word in words))
    if generation.has_overlay and not config.train and generation.overlay() is None:
        load_teacher(config.teacher, load_codec(config.codec))  # a wrong name or path is found now, not after all codes are made
    if generation.can_plan_overlay() and not generation.overlay_is_planned():
        generation.plan_overlay()
    keep(folder, config)
    return generation


def _absolute(folder: Path | str) -> Path:
    """Return the folder as jobs see it, which run elsewhere."""
    return Path(folder).expanduser().absolute()


def submit(folder: Path | str, words: Sequence[str] = (), *, retry: bool = False) -> Submitted:
    """Submit what is missing: codes, their merge, the teacher's training where asked, the overlay and its merge, chained.

    Shards in the hands of jobs that have not ended are left to them. On `cluster=local` this waits until all is made.

    Args:
        folder: The root.
        words: Settings that change; none repeats what was planned.
        retry: Whether shards that were given up are taken too.

    Raises:
        LcmError: A setting is wrong, the cluster refuses, or the budget does not reach.
    """
    folder = _absolute(folder)
    with writing(folder):
        with turn(Submissions(folder).folder):  # of two who submit at once the second finds what the first has submitted
            generation = prepare(folder, words)
            for store in [made for stage in STAGES if (made := generation.folder(stage))] if retry else []:
                jobs.forgive(store)
            at = site_of(generation)
            if at.cluster.kind == "slurm":
                return _submit_chain(generation, at, retry=retry)
        return _run_here(generation, at)


def _submit_chain(generation: Generation, at: Site, *, retry: bool) -> Submitted:
    done, live = Submitted(), jobs.live_jobs(generation.root.folder)
    after = submit_stage(generation, at, "codes", live, done, "", retry=retry)
    if generation.has_overlay:
        if generation.config.train and generation.trained() is None:
            after = submit_training(generation, at, live, done, after)
        submit_stage(generation, at, "overlay", live, done, after, retry=retry)
    if not done.lines:
        done.lines.append("Nothing to submit: all is made or in the hands of jobs.")
    if at.exclude and done.submissions:
        done.lines.append(f"nodes left out, as tasks keep failing there: {', '.join(at.exclude)}")
    return done


def site_of(generation: Generation) -> Site:
    """Return where a root's jobs run: its profile, a snapshot of the code, and without the nodes on which tasks keep failing."""
    stores = [store for stage in STAGES if (store := generation.folder(stage)) is not None]
    bad = sorted({node for store in stores for node in read_status(store).bad_nodes()})
    return site(generation.root.folder, generation.config.profile(), max_barren=generation.config.attempts, exclude=bad)


def _run_here(generation: Generation, at: Site) -> Submitted:
    """Make everything in processes of this machine, one stage after the other, and wait."""
    done, root = Submitted(), generation.root.folder
    frozen = freeze(root, generation.config)
    for stage in STAGES if generation.has_overlay else STAGES[:1]:
        if stage == "overlay" and generation.config.train:
            train_stage(root, frozen)
        folder = generation.folder(stage) or generation.plan_overlay()[0]
        if is_finished(folder):
            continue
        _fill_here(generation, at, stage, folder, done)
        merge_stage(root, stage, frozen)
    if not done.lines:
        done.lines.append("Nothing to do: all is made.")
    return done


def _fill_here(generation: Generation, at: Site, stage: str, folder: Path, done: Submitted) -> None:
    plan = Plan.read(StorePaths(folder).plan)
    with progress_bar(folder, plan):
        shards, submission = _start_here(generation, at, stage, folder, done)
        if submission is not None:
            jobs.wait(submission)
            done.submissions.append(submission)
            if Submissions(at.place).read(submission.name).cancelled:
                raise StoreError(f"Cancelled; what was made of {folder} stays. Submit again to go on.")
            check_made(folder, plan, at.logs / submission.name)
    done.lines.append(f"{stage}: {len(shards)} shards made")


def _start_here(generation: Generation, at: Site, stage: str, folder: Path, done: Submitted) -> tuple[list[int], Submission | None]:
    """Start processes for what is missing, once those of a command before, which go on when it is killed, have ended."""
    root = generation.root.folder
    submissions = Submissions(root)
    while True:
        live = [submissions.read(name) for name in jobs.live_jobs(root)]
        if any(one.kind == "slurm" for one in live):
            raise StoreError(f"Jobs on SLURM work for {root}: wait until they have ended, or `python -m slurm cancel store={root}`.")
        for one in live:
            jobs.wait(one, interruptible=False)
        with turn(submissions.folder):
            if jobs.live_jobs(root):
                continue
            shards = jobs.to_make(folder, max_barren=at.max_barren)
            say_given_up(folder, shards, set(), done)
            check_budget(generation, folder, shards)
            if not shards:
                return shards, None
            StorePaths(folder).index.unlink(missing_ok=True)  # a store with a shard missing is not finished
            work = partial(stage_work, root, stage, freeze(root, generation.config))
            return shards, jobs.submit_shards(at, stage, shards, work, target=generation.key(stage))


def calibrate(folder: Path | str, words: Sequence[str] = (), *, limit_s: float = 120.0) -> Submitted:
    """Measure clips a second: one job works for a while on the first stage that is not finished. What it makes is kept.

    Args:
        folder: The root.
        words: Settings that change.
        limit_s: Seconds to work, loading included.
    """
    folder = _absolute(folder)
    generation = prepare(folder, words)
    stage = next((s for s in STAGES if (f := generation.folder(s)) is not None and not is_finished(f)), None)
    done = Submitted()
    if stage is None:
        done.lines.append("Nothing to measure: all that was planned is made; `plan` shows the rate that was measured.")
        return done
    at, store = site_of(generation), generation.folder(stage)
    assert store is not None  # it was found above
    processes = 1 if at.cluster.kind == "local" else at.cluster.nodes * at.cluster.tasks_per_node
    target = generation.key(stage)
    live = jobs.live_jobs(folder)
    busy = {shard for name in (stage, f"calibrate {stage}") for shard in jobs.busy_shards(folder, name, live, target)}
    shards = _spread(jobs.to_make(store, busy=busy), processes)
    if not shards:
        done.lines.append("Nothing to measure: all that is missing is in the hands of jobs; `plan` shows the rate as they go on.")
        return done
    work = partial(stage_work, folder, stage, freeze(folder, generation.config))
    submission = jobs.submit_shards(at, f"calibrate {stage}", shards, work, target=target, limit_s=limit_s)
    done.add(submission, f"calibrating {stage} for {limit_s:g} s")
    if at.cluster.kind == "local":
        jobs.wait(submission)
    return done


def _spread(shards: Sequence[int], count: int) -> list[int]:
    """Return some shards, evenly spread and the last among them: items are in the order of their length."""
    count = min(count, len(shards))
    return sorted({shards[-1 - number * len(shards) // count] for number in range(count)})


def merge(folder: Path | str) -> list[str]:
    """Merge, here and now, every store whose shards are all there.

    Returns:
        A line a store.
    """
    folder, lines = _absolute(folder), []
    generation = Generation.at(folder)
    for stage in STAGES:
        store = generation.folder(stage)
        if store is not None and not is_finished(store):
            merge_stage(folder, stage)
            lines.append(f"{stage}: merged")
    return lines or ["Nothing to merge."]


def cancel(folder: Path | str) -> list[str]:
    """Cancel all of a root's jobs that have not ended; what they made stays.

    Returns:
        A line a submission.
    """
    folder, lines = _absolute(folder), []
    submissions = Submissions(folder)
    for name, ids in jobs.live_jobs(folder).items():
        submission = submissions.cancel(name)  # marked first: a task that starts between does nothing
        jobs.stop(submission, ids)
        lines.append(f"{submission.stage}: {len(ids)} jobs cancelled")
    return lines or ["No job of this folder has not ended."]

"""What `python -m slurm plan` prints: each stage's shards, jobs, costs, and the text that sbatch would get."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from lcm import degrade
from lcm.codec import load_codec
from lcm.corpus import Manifest
from lcm.store import StorePaths
from slurm import scheduler
from slurm.acts import prepare, site_of
from slurm.budget import used_gpu_hours
from slurm.cluster import Cluster
from slurm.cluster import light as light_profile
from slurm.estimate import estimate, measured_rate
from slurm.sbatch import sbatch_text
from slurm.shards import PlanHeader, make_plan, missing_shards
from slurm.site import Site, exports
from slurm.stages import STAGES, Generation, codes_plan, is_finished
from slurm.submission import into_arrays, into_elements
from slurm.submit import local_processes

_DEFAULT_MAX_ARRAY = 1001  # SLURM's own default, where no controller can be asked
_LATENT_BYTES = 2 * 128  # float16 latents of a frame


def report(folder: Path, words: Sequence[str]) -> Iterator[str]:
    """Plan a root and yield what would run, in lines. Nothing is submitted.

    Args:
        folder: The root.
        words: Settings, as on the command line.

    Raises:
        LcmError: A setting is wrong, or the folder was begun with another plan.
    """
    generation = prepare(folder, words)
    at = site_of(generation)
    for stage in STAGES if generation.has_overlay else STAGES[:1]:
        if stage == "overlay" and generation.config.train and generation.trained() is None:
            yield f"[teacher] one job: python -m sweeps.run objective=diffusion {' '.join(generation.config.train)}"
        yield from _stage(generation, at, stage)
    yield from _site(generation, at)


def _stage(generation: Generation, at: Site, stage: str) -> Iterator[str]:
    store, header = generation.folder(stage), _header(generation, stage)
    if store is not None and is_finished(store):
        yield f"[{stage}] finished: {header.clips} clips in {header.shards} shards, {store}"
        return
    missing = missing_shards(store, header) if store else list(range(header.shards))
    state = "planned" if store else "planned by the job before it, about"
    yield f"[{stage}] {state} {header.clips} clips in {header.shards} shards (identity {header.identity}), {len(missing)} to make"
    rate, cluster = measured_rate(store) if store else None, at.cluster
    per_task = -(-len(missing) // local_processes(cluster)) if cluster.kind == "local" else cluster.shards_per_task
    found = estimate(
        header,
        missing,
        rate,
        shards_per_task=max(per_task, 1),
        gpus_per_task=cluster.gpus_per_task,
        bytes_per_frame=_bytes(generation, stage),
    )
    yield from (f"  {line}" for line in found.lines())
    yield from _jobs(at, stage, missing)


def _jobs(at: Site, stage: str, missing: Sequence[int]) -> Iterator[str]:
    cluster = at.cluster
    if cluster.kind == "local":
        yield f"  {local_processes(cluster)} processes of this machine"
        return
    tasks = cluster.nodes * cluster.tasks_per_node
    elements = into_elements(missing, processes=tasks, shards_per_process=cluster.shards_per_task)
    largest, source = _max_array(cluster)
    arrays = into_arrays(len(elements), largest=largest, parallel=cluster.max_parallel)
    sizes = f"{len(elements)} jobs of {tasks} processes in {len(arrays)} arrays (MaxArraySize {largest}, {source})"
    yield f"  {sizes}, at most {cluster.max_parallel} jobs at once"
    for number, lane in enumerate(arrays[:1]):
        more = f" (array {number + 1} of {len(arrays)}; the others differ in size)" if len(arrays) > 1 else ""
        yield f"  sbatch script{more}:"
        folder, name = at.logs / "SUBMISSION", f"{stage}-SUBMISSION"
        text = sbatch_text(
            cluster,
            name=name,
            elements=lane.stop - lane.start,
            parallel=lane.parallel,
            folder=folder,
            exclude=at.exclude,
            setup=exports(at),
        )
        yield from (f"    {line}" for line in text.splitlines())


def _site(generation: Generation, at: Site) -> Iterator[str]:
    if at.cluster.kind == "slurm":
        merge = light_profile(at.cluster)
        asks = f"partition {merge.partition or 'default'}, {merge.mem_gb:g} GB, {merge.time}"
        yield f"merges: a job without GPU after each store's jobs (afterany), {asks}"
    if at.exclude:
        yield f"nodes left out, as tasks keep failing there: {', '.join(at.exclude)}"
    if generation.config.gpu_hours:
        yield f"budget: {used_gpu_hours(generation):.3g} of {generation.config.gpu_hours:g} GPU-hours used"
    yield f"code: {at.snapshot.folder if at.snapshot else 'as it is'}"
    yield "Nothing was submitted."


def _max_array(cluster: Cluster) -> tuple[int, str]:
    if cluster.max_array_size:
        return cluster.max_array_size, "from the profile"
    if scheduler.available():
        return scheduler.max_array_size(), "asked of scontrol"
    return _DEFAULT_MAX_ARRAY, "SLURM's default: there is no controller here to ask"


def _header(generation: Generation, stage: str) -> PlanHeader:
    """Return the stage's plan, or a guess where it cannot be made yet: quarantined clips will be missing, identities are unknown."""
    store, config = generation.folder(stage), generation.config
    if store is not None:
        return PlanHeader.read(StorePaths(store).plan)
    manifest = Manifest.read(generation.root.planned_corpus)
    codes = codes_plan(manifest, "unknown", config.degradation, shards=1)
    train = {u.utterance for u in manifest.utterances if u.split == "train"}
    variants = range(_variants(generation))
    items = [(f"{key}|{i}", length) for key, length in codes.items if key in train for i in variants]
    return make_plan(items, config.shards, seed=config.seed, attrs={"kind": "overlay", "store": "unknown"}).header


def _variants(generation: Generation) -> int:
    return len(degrade.draw(generation.config.degradation, "any", 0))


def _bytes(generation: Generation, stage: str) -> float:
    codes = 2 * load_codec(generation.config.codec).n_q
    return codes * (1 + _variants(generation)) if stage == "codes" else codes + _LATENT_BYTES * generation.config.latents

"""What a point needs before it trains: corpus, codes store, teacher, overlay. Each is made once and then found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from lcm.codec import Codec, best_device, first_codebooks, load_codec
from lcm.corpus import Manifest, build, current
from lcm.generate import CodesProducer, OverlayProducer
from lcm.objectives import needs_teacher, starts_from_teacher
from lcm.paths import Root, alone
from lcm.store import Store, StoreError, StorePaths, index_is_current
from lcm.store.staging import stage
from lcm.teachers import Teacher, load_teacher
from slurm.attempt import Producer
from slurm.local import run_plan
from slurm.shards import Plan
from slurm.stages import codes_plan, overlay_folder, overlay_plan, same_shards
from sweeps.config import Config


@dataclass
class Prepared:
    """A point's inputs.

    Attributes:
        manifest: The corpus.
        codec: The frozen codec, at the student's codebooks.
        store: The codes store.
        teacher: The teacher, or None for `original`.
        overlay: The teacher's codes, where the target asks for them.
    """

    manifest: Manifest
    codec: Codec
    store: Store
    teacher: Teacher | None
    overlay: Store | None

    @property
    def contents(self) -> dict[str, str]:
        """Identities for the signature."""
        model = self.teacher.model_identity if self.teacher else ""
        teacher = {"teacher": model} if model else {}  # its steps matter through the overlay alone
        overlay = {"overlay": self.overlay.identity} if self.overlay else {}
        return {"codec": self.codec.identity, "manifest": self.manifest.identity, "store": self.store.identity, **teacher, **overlay}

    @property
    def test_set(self) -> str:
        """Identity of what is evaluated on: the codes and who is in which split."""
        return f"{self.manifest.identity}-{self.store.identity}"

    def keys(self, split: str) -> list[str]:
        """Return the utterances of a split that are in the store."""
        return [u.utterance for u in self.manifest.split(split) if u.utterance in self.store]


def prepare(config: Config) -> Prepared:
    """Make or find everything a point needs. Points that share a root wait for one another here."""
    root = Root(Path(config.root))
    with alone(root.folder):
        manifest = build(config.corpus, root.corpus)
        codec, stored = codecs(config, best_device())
        store = codes_store(config, root, manifest, stored)
        teacher = load_teacher(config.teacher, stored, codec) if asks_teacher(config) else None
        overlay = teacher_overlay(config, root, store, teacher) if teacher and needs_overlay(config) else None
    return Prepared(manifest, codec, _near(config, store), teacher, _near(config, overlay) if overlay else None)


def find(config: Config) -> Prepared | None:
    """Return everything a point needs where all of it is there already, on the CPU; None where something is still to be made.

    Raises:
        LcmError: The corpus, codec or teacher that the config names cannot be read.
    """
    root = Root(Path(config.root))
    manifest = current(config.corpus, root.corpus)
    if manifest is None:
        return None
    codec, stored = codecs(config, torch.device("cpu"))
    plan = codes_plan(manifest, stored.identity, config.degradation, shards=same_shards(root.codes, config.shards))
    if not _is_made(root.codes, plan):
        return None
    teacher = load_teacher(config.teacher, stored, codec) if asks_teacher(config) else None
    store, overlay = Store(root.codes), None
    if teacher and needs_overlay(config):
        folder, plan = _overlay(config, root, store, teacher)
        if not _is_made(folder, plan):
            return None
        overlay = Store(folder)
    return Prepared(manifest, codec, store, teacher, overlay)


def codecs(config: Config, device: torch.device) -> tuple[Codec, Codec]:
    """Return the student's codec and that of the codes store, which may have more codebooks."""
    stored = load_codec(config.codec).to(device)
    n_q = config.blocks.codebooks
    return (load_codec(first_codebooks(config.codec, n_q)).to(device) if n_q else stored), stored


def needs_overlay(config: Config) -> bool:
    """Return whether the teacher's codes are a target."""
    return config.data.target != "hr"


def asks_teacher(config: Config) -> bool:
    """Return whether a teacher is loaded: for its codes, its trajectory or its weights."""
    starts = config.init == "teacher" and starts_from_teacher(config.objective)
    return needs_overlay(config) or starts or needs_teacher(config.objective)


def _is_made(folder: Path, plan: Plan) -> bool:
    file = StorePaths(folder).plan
    return file.exists() and Plan.read(file).identity == plan.identity and index_is_current(folder, plan)


def _near(config: Config, store: Store) -> Store:
    """Return a store as copied to this node's own disk, where there is one; a shared file system suffers from random reads."""
    return Store(stage(store.folder, Path(config.scratch))) if config.scratch else store


def codes_store(config: Config, root: Root, manifest: Manifest, codec: Codec) -> Store:
    """Encode the corpus and its degraded variants; finished shards are kept."""
    shards = same_shards(root.codes, config.shards)
    plan = codes_plan(manifest, codec.identity, config.degradation, shards=shards)
    return _fill(config, root.codes, plan, partial(CodesProducer, manifest, config.codec, config.degradation))


def teacher_overlay(config: Config, root: Root, store: Store, teacher: Teacher) -> Store:
    """Run the teacher over the train split's degraded codes; finished shards are kept."""
    folder, plan = _overlay(config, root, store, teacher)
    latents, n_q = config.objective.name == "pairs", config.blocks.codebooks
    codec = first_codebooks(config.codec, n_q) if n_q and config.teacher.name == "latent" else config.codec
    return _fill(config, folder, plan, partial(OverlayProducer, str(root.codes), codec, config.teacher, latents=latents))


def _overlay(config: Config, root: Root, store: Store, teacher: Teacher) -> tuple[Path, Plan]:
    """Return the folder and plan of a teacher's codes; `pairs` needs its latents too."""
    folder = overlay_folder(root, teacher, config.teacher.seed, latents=config.objective.name == "pairs")
    return folder, overlay_plan(store, teacher, config.teacher.seed, shards=same_shards(folder, config.shards))


def _fill(config: Config, folder: Path, plan: Plan, producer: Callable[[], Producer]) -> Store:
    """Make what a store lacks, in this process or in `jobs` processes."""
    try:
        run_plan(folder, plan, producer, processes=config.jobs if config.jobs > 1 else 0)
    except StoreError as error:
        raise StoreError(f"{error}\n(One root holds one corpus, codec and degradation: for another one set root=...)") from error
    return Store(folder)

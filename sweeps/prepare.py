"""What a point needs before it trains: corpus, codes store, teacher, overlay. Each is made once and then found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from lcm.codec import Codec, best_device, load_codec
from lcm.corpus import Manifest, build
from lcm.generate import CodesProducer, OverlayProducer
from lcm.objectives import needs_teacher, starts_from_teacher
from lcm.paths import Root, alone
from lcm.store import Store, StoreError
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
        codec: The frozen codec.
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
        model = getattr(self.teacher, "model_identity", None) or (self.teacher.identity if self.teacher else None)
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
        codec = load_codec(config.codec).to(best_device())
        store = codes_store(config, root, manifest, codec)
        asked = needs_teacher(config.objective) or (config.init == "teacher" and starts_from_teacher(config.objective))
        needs_overlay = config.data.target != "hr"
        teacher = load_teacher(config.teacher, codec) if asked or needs_overlay else None
        overlay = teacher_overlay(config, root, store, teacher) if teacher and needs_overlay else None
    return Prepared(manifest, codec, _near(config, store), teacher, _near(config, overlay) if overlay else None)


def _near(config: Config, store: Store) -> Store:
    """Return a store as copied to this node's own disk, where there is one; a shared file system suffers from random reads."""
    return Store(stage(store.folder, Path(config.scratch))) if config.scratch else store


def codes_store(config: Config, root: Root, manifest: Manifest, codec: Codec) -> Store:
    """Encode the corpus and its degraded variants; finished shards are kept."""
    shards = same_shards(root.codes, config.shards)
    plan = codes_plan(manifest, codec.identity, config.degradation, shards=shards)
    return _fill(config, root.codes, plan, partial(CodesProducer, manifest, config.codec, config.degradation))


def teacher_overlay(config: Config, root: Root, store: Store, teacher: Teacher) -> Store:
    """Run the teacher over the train split's degraded codes; finished shards are kept. `pairs` needs its latents too."""
    latents = config.objective.name == "pairs"
    folder = overlay_folder(root, teacher, config.teacher.seed, latents=latents)
    plan = overlay_plan(store, teacher, config.teacher.seed, shards=same_shards(folder, config.shards))
    return _fill(config, folder, plan, partial(OverlayProducer, str(root.codes), config.codec, config.teacher, latents=latents))


def _fill(config: Config, folder: Path, plan: Plan, producer: Callable[[], Producer]) -> Store:
    """Make what a store lacks, in this process or in `jobs` processes."""
    try:
        run_plan(folder, plan, producer, processes=config.jobs if config.jobs > 1 else 0)
    except StoreError as error:
        raise StoreError(f"{error}\n(One root holds one corpus, codec and degradation: for another one set root=...)") from error
    return Store(folder)

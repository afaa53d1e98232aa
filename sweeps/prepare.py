"""What a point needs before it trains: corpus, codes store, teacher, overlay. Each is made once and then found."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import torch

from lcm.codec import Codec, best_device, load_codec
from lcm.corpus import Manifest, build
from lcm.generate import CodesProducer, OverlayProducer, frames_of
from lcm.paths import Root
from lcm.store import Store
from lcm.teachers import Teacher, load_teacher
from slurm.local import run_plan
from slurm.shards import make_plan
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
        teacher = {"teacher": self.teacher.identity} if self.teacher else {}
        overlay = {"overlay": self.overlay.identity} if self.overlay else {}
        return {"codec": self.codec.identity, "store": self.store.identity, **teacher, **overlay}

    def keys(self, split: str) -> list[str]:
        """Return the utterances of a split that are in the store."""
        return [u.utterance for u in self.manifest.split(split) if u.utterance in self.store]


def prepare(config: Config) -> Prepared:
    """Make or find everything a point needs."""
    root = Root(Path(config.root))
    manifest = build(config.corpus, root.corpus)
    codec = load_codec(config.codec).to(best_device())
    store = codes_store(config, root, manifest, codec)
    starts_from_teacher = config.init == "teacher" and config.objective.name in ("ect", "regression")  # rivals start alike
    needs_teacher = starts_from_teacher or config.data.target != "hr"
    teacher = load_teacher(config.teacher, codec) if needs_teacher else None
    overlay = teacher_overlay(config, root, store, teacher) if teacher and config.data.target != "hr" else None
    return Prepared(manifest, codec, store, teacher, overlay)


def codes_store(config: Config, root: Root, manifest: Manifest, codec: Codec) -> Store:
    """Encode the corpus and its degraded variants; finished shards are kept."""
    items = [(u.utterance, frames_of(round(u.seconds * 24_000))) for u in manifest.utterances]
    attrs = {
        "kind": "codes",
        "codec": codec.identity,
        "manifest": manifest.identity,
        "degradation": asdict(config.degradation),
        "torch": torch.__version__,
    }
    plan = make_plan(items, config.shards, seed=0, attrs=attrs)
    run_plan(root.codes, plan, partial(CodesProducer, manifest, config.codec, config.degradation), jobs=config.jobs)
    return Store(root.codes)


def teacher_overlay(config: Config, root: Root, store: Store, teacher: Teacher) -> Store:
    """Run the teacher over the train split's degraded codes; finished shards are kept."""
    train = [k for k in store.keys if store.meta(k)["split"] == "train"]
    items = [(f"{k}|{i}", store.frames(k)) for k in train for i in range(len(store.meta(k)["degradations"]))]
    attrs = {"kind": "overlay", "store": store.identity, "teacher": teacher.identity, "torch": torch.__version__}
    plan = make_plan(items, config.shards, seed=config.teacher.seed, attrs=attrs)
    folder = root.overlay(f"{teacher.identity}-seed{config.teacher.seed}")
    run_plan(folder, plan, partial(OverlayProducer, str(root.codes), config.codec, config.teacher), jobs=config.jobs)
    return Store(folder)

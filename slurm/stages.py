"""The stages of a root: corpus, codes store, teacher, overlay; what each plans and who makes it. Sweeps find the same stores."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from lcm.audio import SAMPLE_RATE
from lcm.codec import CodecConfig, load_codec
from lcm.corpus import Manifest, build
from lcm.degrade import DegradationConfig
from lcm.generate import CodesProducer, OverlayProducer, frames_of
from lcm.paths import Root, write_bytes, write_text
from lcm.store import Store, StoreError, StorePaths, index_is_current, read_index
from lcm.teachers import Teacher, TeacherConfig, load_teacher
from slurm.attempt import Producer
from slurm.config import GenerateConfig, configure, key, thaw
from slurm.shards import Plan, PlanHeader, adopt_plan, make_plan
from slurm.task import Work

STAGES = ("codes", "overlay")


def codes_plan(manifest: Manifest, codec_identity: str, degradation: DegradationConfig, *, shards: int, seed: int = 0) -> Plan:
    """Plan the codes store of a corpus: an utterance an item."""
    items = [(u.utterance, frames_of(round(u.seconds * SAMPLE_RATE))) for u in manifest.utterances]
    made_of = {"kind": "codes", "codec": codec_identity, "manifest": manifest.identity, "degradation": asdict(degradation)}
    return make_plan(_by_length(items), shards, seed=seed, attrs=made_of)


def _by_length(items: list[tuple[str, int]]) -> list[tuple[str, int]]:
    """Return items such that those of one length are in one shard: only they can share a batch."""
    return sorted(items, key=lambda item: (item[1], item[0]))


def overlay_plan(store: Store, teacher: Teacher, teacher_seed: int, *, shards: int, seed: int = 0) -> Plan:
    """Plan a teacher's overlay: an item for each degraded variant of each utterance of the train split."""
    metas = {key: store.meta(key) for key in store.keys}
    train = [key for key in store.keys if metas[key]["split"] == "train"]
    items = [(f"{key}|{i}", store.frames(key)) for key in train for i in range(len(metas[key]["degradations"]))]
    made_of = {"kind": "overlay", "store": store.identity, "teacher": teacher.identity, "seed": teacher_seed}
    return make_plan(_by_length(items), shards, seed=seed, attrs=made_of)


def overlay_folder(root: Root, teacher: Teacher, teacher_seed: int, *, latents: bool) -> Path:
    """Return the folder of a teacher's overlay."""
    return root.overlay(f"{teacher.identity}-seed{teacher_seed}{'-latents' if latents else ''}")


def same_shards(folder: Path, shards: int) -> int:
    """Return the number of shards that a store was begun with, else the number asked: another cut is not another store."""
    plan = StorePaths(folder).plan
    return PlanHeader.read(plan).shards if plan.exists() else shards


@dataclass(frozen=True)
class Generation:
    """One root and what it is to hold."""

    root: Root
    config: GenerateConfig

    @classmethod
    def at(cls, folder: Path, frozen: str = "") -> Generation:
        """Return the generation that a root was planned for.

        Args:
            folder: The root.
            frozen: Digest of the settings of a submission; empty: those that were asked last.

        Raises:
            StoreError: Nothing was planned there.
        """
        if frozen:
            return cls(Root(folder), thaw(folder, frozen))
        if not Root(folder).generate.exists():
            raise StoreError(f"Nothing was planned in {folder}: run `python -m slurm plan store={folder} corpus=... teacher=...` first.")
        return cls(Root(folder), configure(folder, []))

    @property
    def has_overlay(self) -> bool:
        """Whether the teacher's codes are a store of their own."""
        return self.config.teacher.name != "original"

    def plan_codes(self, *, again: bool = True) -> Plan:
        """Read the corpus and make the plan of the codes store the store's.

        Args:
            again: Whether to look at the recordings where they were planned before; what was added since is then refused by name.

        Raises:
            StoreError: The store was begun with another plan; each difference is named.
        """
        before = {file: file.read_bytes() for file in self.root.corpus.glob("*.*") if file.is_file()}
        try:
            config, planned = self.config, (self.root.planned_corpus / "manifest.json").exists()
            manifest = build(config.corpus, self.root.corpus) if again or not planned else Manifest.read(self.root.planned_corpus)
            plan = codes_plan(manifest, load_codec(config.codec).identity, config.degradation, shards=config.shards, seed=config.seed)
            adopt_plan(self.root.codes, plan)
        except BaseException:
            for file, content in before.items():  # what is refused must not change the corpus that jobs and sweeps read
                write_bytes(file, content)
            raise
        if not (self.root.planned_corpus / "manifest.json").exists():
            manifest.write(self.root.planned_corpus)
        return plan

    def plan_overlay(self) -> tuple[Path, Plan]:
        """Plan the overlay of the finished codes store; returns its folder too."""
        store = Store(self.root.codes)
        config, teacher = self.config, load_teacher(self.teacher(), load_codec(self.config.codec))
        assert teacher is not None  # `original` has no overlay: nobody asks for one
        folder = overlay_folder(self.root, teacher, config.teacher.seed, latents=config.latents)
        plan = overlay_plan(store, teacher, config.teacher.seed, shards=config.shards, seed=config.seed)
        adopt_plan(folder, plan)
        noted = {"folder": folder.name, "teacher": asdict(self.teacher())}
        write_text(self.root.overlay_of(self.key("overlay")), json.dumps(noted, indent=1))
        return folder, plan

    def teacher(self) -> TeacherConfig:
        """Return the teacher's config; one that was trained in this root has its checkpoint by then.

        Raises:
            StoreError: It is to be trained and has not been.
        """
        if not self.config.train:
            return self.config.teacher
        trained = self.trained()
        if trained is None:
            raise StoreError(f"The teacher of {self.root.folder} has not been trained: `python -m slurm submit` does it after the codes.")
        return replace(self.config.teacher, checkpoint=str(trained))

    def key(self, stage: str) -> str:
        """Return the key of the settings that decide which store a stage fills."""
        return key(self.config, stage)

    def trained(self) -> Path | None:
        """Return the checkpoint of the teacher that was trained with these settings, or None."""
        try:
            noted = json.loads(self.root.trained_teacher(self.key("overlay")).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        model = Path(noted["checkpoint"])
        return model if model.exists() else None

    def overlay(self) -> Path | None:
        """Return the overlay's folder where it has been planned with these settings, else None."""
        try:
            noted = json.loads(self.root.overlay_of(self.key("overlay")).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        folder = self.root.overlay(noted["folder"])
        return folder if StorePaths(folder).plan.exists() else None

    def can_plan_overlay(self) -> bool:
        """Say whether there is all that the overlay's plan needs: the codes and the teacher."""
        return self.has_overlay and is_finished(self.root.codes) and (not self.config.train or self.trained() is not None)

    def overlay_is_planned(self) -> bool:
        """Say whether the overlay's plan is the one that would be made now; making it reads what is known of every clip."""
        folder, config = self.overlay(), self.config
        if folder is None:
            return False
        plan = PlanHeader.read(StorePaths(folder).plan)
        asked = (read_index(self.root.codes).identity, min(config.shards, plan.clips), config.seed)
        return (plan.attrs.get("store"), plan.shards, plan.seed) == asked

    def folder(self, stage: str) -> Path | None:
        """Return the folder of a stage's store; None where it has not been planned."""
        if stage == "codes":
            return self.root.codes if StorePaths(self.root.codes).plan.exists() else None
        return self.overlay() if self.has_overlay else None

    def producer(self, stage: str) -> Callable[[], Producer]:
        """Return what makes a stage's records."""
        config = self.config
        if stage == "codes":
            return partial(codes_producer, self.root.planned_corpus, config.codec, config.degradation, config.batch)
        return partial(
            overlay_producer, self.root.codes, config.codec, self.teacher(), config.batch, config.latents, config.profile().scratch
        )


def codes_producer(folder: Path, codec: CodecConfig, degradation: DegradationConfig, batch: int) -> Producer:
    """Return the producer of codes; the manifest is read where it works, the corpus is not listed again."""
    return CodesProducer(Manifest.read(folder), codec, degradation, batch=batch)


def overlay_producer(codes: Path, codec: CodecConfig, teacher: TeacherConfig, batch: int, latents: bool, scratch: str) -> Producer:
    """Return the producer of a teacher's codes; the codes store is copied to the node's own disk first where the profile names one."""
    from lcm.store.staging import stage

    folder = stage(codes, Path(scratch)) if scratch else codes
    return OverlayProducer(str(folder), codec, teacher, batch=batch, latents=latents)


def stage_work(folder: Path, stage: str, frozen: str = "") -> Work:
    """Return a stage's store and producer, as the disk says now: what a task of a chain asks when it starts.

    Raises:
        StoreError: The stage before has not been finished.
    """
    generation = Generation.at(folder, frozen)
    store = generation.folder(stage)
    if store is None and stage == "overlay" and generation.can_plan_overlay():
        store = generation.plan_overlay()[0]  # the merge before planned other settings' overlay; all who plan agree
    if store is None:
        raise StoreError(
            f"The {stage} store of {folder} has not been planned: the stage before it did not finish. See `python -m slurm status`."
        )
    planned = PlanHeader.read(StorePaths(store).plan).attrs
    _check_source(generation, stage, planned)
    return Work(store, partial(_expecting, generation.producer(stage), planned.get("codec" if stage == "codes" else "teacher")))


def _expecting(producer: Callable[[], Producer], identity: str | None) -> Producer:
    """Return a producer that refuses other weights than were planned: the file behind a path may have changed."""
    made = producer()
    if isinstance(made, (CodesProducer, OverlayProducer)):
        made.expects = identity or ""
    return made


def _check_source(generation: Generation, stage: str, planned: Mapping[str, Any]) -> None:
    """Refuse to fill a store from something else than it was planned for."""
    root = generation.root
    if stage == "codes":
        name, now = "manifest", Manifest.read(root.planned_corpus).identity
    else:
        name, now = "store", read_index(root.codes).identity
    if planned.get(name) != now:
        raise StoreError(
            f"The {stage} store of {root.folder} was planned for {name} {planned.get(name)}, which is {now} now. Use a new folder."
        )


def is_finished(folder: Path) -> bool:
    """Say whether a store has its index for its plan, and every shard at its size; contents are not read."""
    return index_is_current(folder, Plan.read(StorePaths(folder).plan))

"""What a root that was trained by `+preset=paper` holds: its points, its test clips, its teacher."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from lcm import checkpoint
from lcm.codec import Codec, best_device
from lcm.errors import LcmError
from lcm.evaluate import test_clips
from lcm.model import Model
from lcm.paths import Root, Run
from lcm.systems import Clip
from lcm.teachers import TeacherConfig
from sweeps.config import Config, read_config
from sweeps.prepare import Prepared, find

HOW = "Train it by `python -m sweeps.run +preset=paper root={root} corpus.root=/path/to/LibriTTS` (sweeps/conf/preset/paper.yaml says how)."


@dataclass(frozen=True)
class Point:
    """A trained point.

    Attributes:
        name: What a person calls it.
        seed: Its seed.
        target: `data.target` it was trained on.
        model: What was trained.
    """

    name: str
    seed: int
    target: str
    model: Model


@dataclass(frozen=True)
class PaperRoot:
    """A root's contents.

    Attributes:
        folder: The root.
        points: Trained points with the codec's codebooks.
        codec: The codec.
        clips: Test clips, as the points are evaluated on them.
        teacher: Settings of MultiBandDiffusion, or None where no point names it.
        without: Points that are left out, with the reason.
    """

    folder: Path
    points: tuple[Point, ...]
    codec: Codec
    clips: tuple[Clip, ...]
    teacher: TeacherConfig | None
    without: dict[str, str]

    @property
    def mbd(self) -> TeacherConfig:
        """Settings of MultiBandDiffusion without a latent teacher beside it.

        Raises:
            LcmError: No point names it.
        """
        if self.teacher is None:
            raise LcmError("no point names it (teacher.name=mbd)")
        return replace(self.teacher, checkpoint="shipped")


def paper_root(folder: Path) -> PaperRoot:
    """Find what a root holds, without making anything.

    Raises:
        LcmError: There is no trained point, or its stores are not there any more.
    """
    runs = [Run(path.parents[1]) for path in sorted(Root(folder).points.glob("*/checkpoints/model.safetensors"))]
    if not runs:
        raise LcmError(f"{folder} holds no trained point. {HOW.format(root=folder)}")
    configs = [replace(read_config(run.config), root=str(folder)) for run in runs]
    prepared = _prepared(configs[0], folder)
    codec = prepared.codec.to(best_device())
    points, without = [], {}
    for run, config in zip(runs, configs, strict=True):
        status = run.read_status()
        name = str(status.get("name") or run.folder.name)
        try:
            points.append(Point(name, config.seed, config.data.target, checkpoint.load_model(run.model, codec)))
        except LcmError as error:
            without[name] = str(error)
    clips = test_clips(prepared.manifest, prepared.store, configs[0].evaluate)
    teacher = next((c.teacher for c in configs if c.teacher.name == "mbd"), None)
    return PaperRoot(folder, tuple(points), codec, tuple(clips), teacher, without)


def _prepared(config: Config, folder: Path) -> Prepared:
    """Find corpus, codec and codes store; teachers are loaded only when they are asked for."""
    bare = replace(config, init="none", data=replace(config.data, target="hr"))
    found = find(replace(bare, objective=replace(bare.objective, name="regression")))
    if found is None:
        raise LcmError(f"The corpus or codes store of {folder} is not there or incomplete any more. {HOW.format(root=folder)}")
    return found

"""Records of what a point is compared with: resamplers and the codec once a root, and each teacher once.

The clips that these restore worst are not kept: what is heard beside a point's worst are the original and the input, and the
first `evaluate.samples` clips are there of every system. So points that differ in `evaluate.worst` share their baselines.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from lcm.evaluate import evaluate, evaluation_identity, test_clips
from lcm.listening import write_originals
from lcm.mbd.system import mbd_system
from lcm.model import Model
from lcm.paths import Root, Run, alone, write_text
from lcm.records import write_provenance, write_records
from lcm.systems import Clip, System, codec_system, model_system, resampler_systems
from lcm.teachers.mbd import MbdTeacher
from sweeps.config import Config, to_yaml
from sweeps.prepare import Prepared


def ensure_baselines(config: Config, prepared: Prepared, root: Root) -> None:
    """Evaluate what is missing or was evaluated by another protocol, test set or settings."""
    config = replace(config, evaluate=replace(config.evaluate, worst=0))
    fixed: list[System] = [*resampler_systems(), codec_system(prepared.codec, ceiling=False), codec_system(prepared.codec, ceiling=True)]
    wanted: list[tuple[Run, str, Sequence[System]]] = [(root.baselines, "baselines", fixed)]
    teacher = prepared.teacher
    if isinstance(teacher, MbdTeacher):
        made = mbd_system(teacher, prepared.codec, seed=config.evaluate.seed)
        wanted.append((root.teacher(teacher.identity), teacher.identity, [made]))
    if teacher and teacher.model:
        name = teacher.model_identity
        wanted.append((root.teacher(name), name, [teacher_system(config, prepared, teacher.model)]))
    with alone(root.baselines.folder):
        _ensure(config, prepared, wanted)


def _ensure(config: Config, prepared: Prepared, wanted: Sequence[tuple[Run, str, Sequence[System]]]) -> None:
    clips: list[Clip] = []
    evaluation = evaluation_identity(config.evaluate, prepared.test_set)
    for run, name, systems in wanted:
        if run.read_status().get("evaluation") != evaluation:
            clips = clips or test_clips(prepared.manifest, prepared.store, config.evaluate)
            what = {"signature": name, "seed": 0, "step": 0, "steps": 0, "error": None}
            run.write_status("running", **what, evaluation=None)  # cut short, it is neither the old evaluation nor the new one
            _evaluate(config, prepared, run, name, systems, clips)
            if name == "baselines":
                for clip in clips[: config.evaluate.samples]:
                    write_originals(run, clip)
            run.write_status("done", **what, evaluation=evaluation)


def teacher_system(config: Config, prepared: Prepared, teacher: Model) -> System:
    """Return a latent teacher at `evaluate.teacher_steps` Heun steps."""
    settings = config.evaluate
    return model_system(teacher, prepared.codec, steps=settings.teacher_steps, seed=settings.seed, tell_cutoff=settings.tell_cutoff)


def _evaluate(config: Config, prepared: Prepared, run: Run, name: str, systems: Sequence[System], clips: Sequence[Clip]) -> None:
    write_text(run.config, to_yaml(config))
    write_provenance(run.provenance, prepared.contents)
    write_records(run.records, evaluate(systems, clips, config.evaluate, run).assign(signature=name, seed=0))

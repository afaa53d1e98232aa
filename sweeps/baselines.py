"""Records of what a point is compared with: resamplers and the codec once a root, and each teacher once."""

from __future__ import annotations

from collections.abc import Sequence

from lcm.audio import SAMPLE_RATE, write
from lcm.evaluate import evaluate, evaluation_identity, test_clips
from lcm.paths import Root, Run, alone, write_text
from lcm.records import write_provenance, write_records
from lcm.systems import Clip, System, codec_system, model_system, resampler_systems
from lcm.teachers.latent import LatentTeacher
from sweeps.config import Config, to_yaml
from sweeps.prepare import Prepared


def ensure_baselines(config: Config, prepared: Prepared, root: Root) -> None:
    """Evaluate what is missing or was evaluated by another protocol, test set or settings."""
    fixed: list[System] = [*resampler_systems(), codec_system(prepared.codec, ceiling=False), codec_system(prepared.codec, ceiling=True)]
    wanted: list[tuple[Run, str, Sequence[System]]] = [(root.baselines, "baselines", fixed)]
    if isinstance(prepared.teacher, LatentTeacher):
        name = prepared.teacher.model_identity
        wanted.append((root.teacher(name), name, [teacher_system(config, prepared, prepared.teacher)]))
    with alone(root.baselines.folder):
        _ensure(config, prepared, wanted)


def _ensure(config: Config, prepared: Prepared, wanted: Sequence[tuple[Run, str, Sequence[System]]]) -> None:
    clips: list[Clip] = []
    for run, name, systems in wanted:
        evaluation = evaluation_identity(config.evaluate, prepared.test_set)
        if run.read_status().get("evaluation") != evaluation:
            clips = clips or test_clips(prepared.manifest, prepared.store, config.evaluate)
            _evaluate(config, prepared, run, name, systems, clips)
            if name == "baselines":
                _keep_originals(run, clips[: config.evaluate.samples])
            run.write_status("done", signature=name, seed=0, step=0, steps=0, error=None, evaluation=evaluation)


def teacher_system(config: Config, prepared: Prepared, teacher: LatentTeacher) -> System:
    """Return the teacher at `evaluate.teacher_steps` Heun steps."""
    settings = config.evaluate
    return model_system(teacher.model, prepared.codec, steps=settings.teacher_steps, seed=settings.seed, tell_cutoff=settings.tell_cutoff)


def _evaluate(config: Config, prepared: Prepared, run: Run, name: str, systems: Sequence[System], clips: Sequence[Clip]) -> None:
    write_text(run.config, to_yaml(config))
    write_provenance(run.provenance, prepared.contents)
    write_records(run.records, evaluate(systems, clips, config.evaluate, run).assign(signature=name, seed=0))


def _keep_originals(run: Run, clips: Sequence[Clip]) -> None:
    for clip in clips:
        write(run.sample(clip.utterance, "ground_truth"), clip.target.numpy(), SAMPLE_RATE)
        write(run.sample(clip.utterance, "degraded"), clip.degraded.numpy(), SAMPLE_RATE)

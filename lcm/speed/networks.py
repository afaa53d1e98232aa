"""The networks that are timed beside MultiBandDiffusion: untrained at their full size, or a root's trained points."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch

from lcm import checkpoint
from lcm.codec import Codec
from lcm.errors import CheckpointError
from lcm.model import Model, ModelSpec
from lcm.network import NetworkConfig
from lcm.network_speed import fast_model
from lcm.paths import Root, Run
from lcm.reference import ReferenceConfig
from lcm.speed.config import SpeedConfig
from lcm.speed.timed import Timed, of_model
from lcm.systems import NAMES

PAPER = NetworkConfig(width=256, depth=6, heads=8)  # sweeps/conf/preset/paper.yaml
REFERENCE = ReferenceConfig(feedforward=1024)  # the same
PAPER_FROM = 9  # codebooks from which the network and blocks of the preset are taken; up to 8 the shipped network's, with one block
TEACHER_STEPS, STUDENT_STEPS = 18, (1, 2, 4)


def untrained(config: SpeedConfig, codec: Codec, own: Codec, codec_name: str) -> Iterator[Timed]:
    """Yield the latent teacher, the student at 1, 2 and 4 steps and the reference's student for a codec's codebooks.

    Args:
        config: What is wanted.
        codec: The codec as published, which the reference's student runs with.
        own: The codec that our systems run with.
        codec_name: What that is called.
    """
    paper = codec.n_q >= PAPER_FROM
    network = PAPER if paper else NetworkConfig()
    blocks = (1,) * codec.n_q if paper else (codec.n_q,)
    size = f"{network.width} wide, {network.depth} layers"
    if config.wants("teacher"):
        teacher = _model(ModelSpec("diffusion", (codec.n_q,), codec.identity, network=network), own)
        label = f"latent teacher, {TEACHER_STEPS} Heun steps"
        with_own = {"steps": TEACHER_STEPS, "codec_name": codec_name}
        yield of_model(_own(teacher, codec, own), own, key="teacher", label=label, network=f"{size}, 1 block", **with_own)  # type: ignore[arg-type]
    wanted = [n for n in STUDENT_STEPS if config.wants(f"student-{n}")]
    student = _model(ModelSpec("consistency", blocks, codec.identity, network=network), own) if wanted else None
    for steps in wanted if student else []:
        what = {"key": f"student-{steps}", "label": f"student, {steps} step{'s' if steps > 1 else ''}"}
        words = f"{size}, {len(blocks)} block{'s' if len(blocks) > 1 else ''}"
        yield of_model(_own(student, codec, own), own, network=words, steps=steps, codec_name=codec_name, **what)  # type: ignore[arg-type]
        if steps == 1 and own is not codec:
            yield of_model(student, codec, network=words, steps=steps, **what)  # type: ignore[arg-type]
    if config.wants("reference"):
        model = _model(ModelSpec("token_ce", blocks, codec.identity, reference=REFERENCE), codec)
        words = f"{REFERENCE.width} wide, {REFERENCE.depth} layers, a pass a codebook"
        yield of_model(model, codec, key="reference", label="reference's student", network=words)


def _own(model: Model, codec: Codec, own: Codec) -> Model:
    """Return the faster copy of a network where the codec's faster copy is used too."""
    return model if own is codec else fast_model(model)


def _model(spec: ModelSpec, codec: Codec) -> Model:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Model(spec, codec).to(codec.device).eval().requires_grad_(False)


def trained(root: Path, codec: Codec, own: Codec, codec_name: str) -> Iterator[Timed | tuple[str, str]]:
    """Yield a root's trained points that use this codec, each at its numbers of steps; of others the name and the reason."""
    for file in sorted(Root(root).points.glob("*/checkpoints/model.safetensors")):
        run = Run(file.parents[1])
        name = f"{run.read_status().get('name') or run.folder.name} ({run.folder.name})"
        try:
            model = checkpoint.load_model(file, codec)
        except CheckpointError as error:
            yield name, str(error)
            continue
        reference = model.spec.kind == "token_ce"
        steps_of = {"consistency": STUDENT_STEPS, "diffusion": (TEACHER_STEPS,)}
        for steps in steps_of.get(model.spec.kind, (1,)):
            label = f"{NAMES[model.spec.kind]} {name}" + (f", {steps} steps" if steps > 1 else "")
            with_codec = (codec, "as published") if reference else (own, codec_name)
            words = f"{len(model.spec.partition)} blocks"
            restored = model if reference else _own(model, codec, own)
            yield of_model(restored, with_codec[0], key=name, label=label, network=words, steps=steps, codec_name=with_codec[1])

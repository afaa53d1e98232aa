"""On the login node: see to it that every weight a job will load is on disk."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from lcm import codec_files
from lcm.codec import WEIGHTS, Codec, CodecConfig, load_codec
from lcm.codec_files import ENCODEC_FILE
from lcm.errors import CheckpointError, CodecError
from lcm.mbd import audiocraft
from lcm.mbd.bands import codebooks_of
from lcm.mbd.fetch import fetch
from lcm.mbd.weights import locate, read
from lcm.offline import OFFLINE, job_environment, offline
from lcm.teachers import TeacherConfig, load_teacher
from lcm.teachers.latent import SHIPPED


def prefetch(codec: CodecConfig, teacher: TeacherConfig) -> list[str]:
    """Fetch what is missing and load everything once, as a job will.

    Args:
        codec: The codec of the jobs.
        teacher: Their teacher.

    Returns:
        One line a file: what it is, where, its size in bytes and its identity.

    Raises:
        LcmError: Something could not be fetched or loaded; it says what, and where to put it by hand.
    """
    model = _codec(codec)
    file = codec_file(codec) if codec.weights == "pretrained" else None
    first = _line(f"codec {codec.name}", file, model.identity)
    if teacher.name != "mbd":
        return [first, _teacher_line(teacher, model)]
    latent = [] if teacher.checkpoint == "shipped" else [_teacher_line(replace(teacher, name="latent"), model)]  # students start from it
    return [first, _mbd_line(teacher), *latent]


def codec_file(codec: CodecConfig) -> Path:
    """Return the file that a codec's weights are read from."""
    if codec.name == "encodec_small":
        return (Path(codec.folder or WEIGHTS) / "encodec_small.safetensors").absolute()
    cache = Path(job_environment()["TORCH_HOME"]) / "hub" / "checkpoints"
    return (codec_files.find(codec.folder) or Path(codec.folder or cache) / ENCODEC_FILE).absolute()


def _codec(config: CodecConfig) -> Codec:
    try:
        return load_codec(config)
    except CodecError as error:
        if config.name != "encodec_24khz" or codec_file(config).exists():
            raise
        if offline():
            raise CodecError(f"{error} ({OFFLINE} is set here: on the login node, unset it.)") from error
        raise CodecError(f"{error} Its address: {_address()}") from error


def _address() -> str:
    from encodec.model import ROOT_URL  # importable since the codec was tried

    return f"{ROOT_URL}{ENCODEC_FILE}"


def _teacher_line(config: TeacherConfig, codec: Codec) -> str:
    file = SHIPPED if config.checkpoint == "shipped" else Path(config.checkpoint).absolute()
    try:
        teacher = load_teacher(config, codec)
    except CheckpointError as error:
        raise CheckpointError(f"{error} Train a teacher, or name the file of one by teacher.checkpoint=PATH.") from error
    return f"teacher {config.name}: needs no weights" if teacher is None else _line(f"teacher {config.name}", file, teacher.identity)


def _mbd_line(config: TeacherConfig) -> str:
    """Fetch and convert what is missing. The four networks are not built here: a login node may not have the memory."""
    audiocraft.load()
    n_q, what = codebooks_of(config.bw), f"teacher mbd at {config.bw:g} kbps"
    if config.weights == "random":
        return f"{what}: random weights, for tests"
    try:
        locate(config.folder, n_q)
    except CheckpointError:
        if offline():
            raise
        fetch(n_q, config.folder)
    weights = read(config.folder, n_q)
    return _line(what, locate(config.folder, n_q), weights.identity)


def _line(what: str, file: Path | None, identity: str) -> str:
    if file is None:
        return f"{what}: random weights, for tests; identity {identity}"
    return f"{what}: {file}, {file.stat().st_size:,} bytes, identity {identity}"

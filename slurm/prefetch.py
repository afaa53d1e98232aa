"""On the login node: see to it that every weight a job will load is on disk."""

from __future__ import annotations

from pathlib import Path

from lcm.codec import ENCODEC_FILE, WEIGHTS, Codec, CodecConfig, load_codec
from lcm.errors import CheckpointError, CodecError
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
    return [_line(f"codec {codec.name}", file, model.identity), _teacher_line(teacher, model)]


def codec_file(codec: CodecConfig) -> Path:
    """Return the file that a codec's weights are read from."""
    small = codec.name == "encodec_small"
    cache = Path(job_environment()["TORCH_HOME"]) / "hub" / "checkpoints"
    folder = Path(codec.folder) if codec.folder else WEIGHTS if small else cache
    return (folder / ("encodec_small.safetensors" if small else ENCODEC_FILE)).absolute()


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


def _line(what: str, file: Path | None, identity: str) -> str:
    if file is None:
        return f"{what}: random weights, for tests; identity {identity}"
    return f"{what}: {file}, {file.stat().st_size:,} bytes, identity {identity}"

"""Read, write and resample audio. Shapes: audio [C, T] in files, [T] where a single channel is meant."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from lcm.errors import LcmError

SAMPLE_RATE = 24_000
HOP = 320  # samples in one codec frame: 75 frames a second

_BLOCK = 1 << 18
_UNKNOWN_LENGTH = 0x7FFF_0000  # a WAV written to a pipe carries a size from here up, or zero
_NO_LENGTH = 1 << 60  # what libsndfile says of a FLAC stream that was written to a pipe
_MP3_SLACK = 0.01  # an MP3's header may count the encoder's padding


class AudioError(LcmError):
    """A file that cannot be used as audio; the message names the file, the reason and the remedy.

    Attributes:
        reason: What is wrong, without the file's name.
    """

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path}: {reason}.")
        self.reason = reason


def read(path: Path | str) -> tuple[NDArray[np.float32], int]:
    """Read a whole audio file.

    Args:
        path: A WAV, FLAC, Ogg or MP3 file.

    Returns:
        Samples [C, T], full scale 1.0, and the sample rate in Hz.

    Raises:
        AudioError: The file is missing, empty, not audio, or holds less than its header promises.
    """
    blocks, sample_rate_hz = stream(path)
    return np.ascontiguousarray(np.concatenate(list(blocks)).T), sample_rate_hz


def stream(path: Path | str) -> tuple[Iterator[NDArray[np.float32]], int]:
    """Open an audio file for reading block by block, in bounded memory.

    Args:
        path: A WAV, FLAC, Ogg or MP3 file.

    Returns:
        An iterator over blocks [T, C], full scale 1.0, and the sample rate in Hz. The iterator closes the file.

    Raises:
        AudioError: As `read`; what only shows in the samples is raised by the iterator.
    """
    path = Path(path)
    try:
        _check_file(path)
        file = soundfile.SoundFile(os.fsencode(path))
    except OSError as error:
        raise AudioError(path, f"not readable ({error.strerror})") from error
    except soundfile.LibsndfileError as error:
        raise AudioError(path, f"not audio: libsndfile cannot read it ({error.error_string.rstrip('.')})") from error
    return _blocks(file, path), int(file.samplerate)


def _check_file(path: Path) -> None:
    """Refuse what is not a file, is empty, or is a WAV cut short."""
    if not path.exists():
        raise AudioError(path, "missing: no such file")
    if not path.is_file():
        raise AudioError(path, "not audio: not a regular file")
    if path.stat().st_size == 0:
        raise AudioError(path, "empty: 0 bytes")
    promised, held = _wav_bytes(path)
    if promised > held:
        raise AudioError(path, f"truncated: its header promises {promised} bytes of audio and it holds {held}")


def _wav_bytes(path: Path) -> tuple[int, int]:
    """Return the bytes of audio that a WAV header promises and those in the file; (0, 0) for anything else.

    libsndfile silently shortens a WAV file that was cut, so the header is read here.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        if file.read(4) != b"RIFF" or file.read(8)[4:] != b"WAVE":
            return 0, 0
        while len(header := file.read(8)) == 8:
            name, length = struct.unpack("<4sI", header)
            if name == b"data":
                return (0, 0) if length >= _UNKNOWN_LENGTH else (length, size - file.tell())
            file.seek(length + length % 2, os.SEEK_CUR)
    return 0, 0


def _blocks(file: Any, path: Path) -> Iterator[NDArray[np.float32]]:
    """Yield blocks [T, C] and raise if fewer samples come than the header promises."""
    with file:
        promised, held = int(file.frames), 0
        try:
            while len(block := file.read(_BLOCK, dtype="float32", always_2d=True)):
                held += len(block)
                yield block
        except soundfile.LibsndfileError as error:
            length = f"{promised} samples its header promises" if promised < _NO_LENGTH else "samples (its header states no length)"
            reason = f"truncated or damaged: decoding stops after about {held} of the {length}"
            raise AudioError(path, f"{reason}: {error.error_string.rstrip('.')}; encode it again") from error
    if held == 0:
        raise AudioError(path, "empty: no samples")
    slack = _MP3_SLACK * promised if file.format == "MP3" else 0
    if held < promised - slack:
        raise AudioError(path, f"truncated: its header promises {promised} samples and it holds {held}")


def write(path: Path | str, samples: NDArray[Any], sample_rate_hz: int) -> None:
    """Write 16-bit audio atomically: a reader sees the whole file or none.

    Args:
        path: Target; the suffix, `.flac` or `.wav`, selects the format. Its folder is made.
        samples: [T] or [C, T], full scale 1.0; what goes beyond is clipped.
        sample_rate_hz: Rate of `samples`.

    Raises:
        AudioError: The suffix is another, or a sample is NaN or infinite.
    """
    path = Path(path)
    container = {".flac": "FLAC", ".wav": "WAV"}.get(path.suffix.lower())
    if container is None:
        raise AudioError(path, f"cannot be written as {path.suffix or 'a file without a suffix'!r}; expected .flac or .wav")
    if not np.isfinite(samples).all():
        raise AudioError(path, "not written: its samples contain NaN or infinity")
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    soundfile.write(os.fsencode(part), np.clip(samples, -1.0, 1.0).T, sample_rate_hz, format=container, subtype="PCM_16")
    part.replace(path)


def resample(samples: NDArray[Any], from_hz: float, to_hz: float) -> NDArray[np.float32]:
    """Resample along the last axis with soxr's VHQ filter, which keeps time aligned.

    Args:
        samples: [..., T].
        from_hz: Rate of `samples`.
        to_hz: Wanted rate.

    Returns:
        [..., T'] with T' = T * to_hz / from_hz, rounded.
    """
    samples = np.asarray(samples, np.float32)
    if from_hz == to_hz or samples.size == 0:
        return samples
    rows = samples.reshape(-1, samples.shape[-1])
    resampled = np.stack([soxr.resample(row, from_hz, to_hz, "VHQ") for row in rows])
    return resampled.reshape(*samples.shape[:-1], -1).astype(np.float32, copy=False)


def load_mono_24k(path: Path | str) -> NDArray[np.float32]:
    """Read a file as one channel at 24 kHz.

    Args:
        path: An audio file at any rate, with any number of channels, which are averaged.

    Returns:
        Samples [T].

    Raises:
        AudioError: As `read`.
    """
    samples, sample_rate_hz = read(path)
    return resample(samples.mean(axis=0), sample_rate_hz, SAMPLE_RATE)

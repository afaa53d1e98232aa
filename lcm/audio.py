"""Read, write and resample audio. Shapes: audio [C, T] in files, [T] where a single channel is meant."""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from lcm import mp3
from lcm.errors import LcmError

SAMPLE_RATE = 24_000
HOP = 320  # samples in one codec frame: 75 frames a second

_BLOCK = 1 << 18  # samples of all channels together
_UNKNOWN_LENGTH = 0x7FFF_0000  # a WAV written to a pipe carries a size from here up, or zero
_NO_LENGTH = 1 << 60  # what libsndfile says of a FLAC stream that was written to a pipe
_OGG_PAGE = 65_307  # bytes of the longest
_MP3_SLACK = 0.01  # an MP3's header may count the encoder's padding
_LOST = re.compile(r"^(?: SSND|  Data Size|riff) *: (\d+) \(should be (\d+)\)", re.MULTILINE)  # AIFF, AU and W64 in libsndfile's log


class AudioError(LcmError):
    """A file that cannot be used as audio; the message names the file, the reason and the remedy.

    Attributes:
        path: The file.
        reason: What is wrong, without the file's name.
    """

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path}: {reason}.")
        self.path, self.reason = path, reason


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
    file = open_file(path)
    return _blocks(file, path), int(file.samplerate)


class _Forward(soundfile.SoundFile):  # type: ignore[misc]
    """A file read from its beginning to its end.

    soundfile seeks after each block to where it is. An MP3 decoder loses its bit reservoir by that, which garbles the next frames, and a
    FLAC that does not state its length cannot be sought in at all.
    """

    def seekable(self) -> bool:
        return False


def open_file(path: Path) -> Any:
    """Open an audio file and check what its header tells.

    Args:
        path: An audio file of any format that libsndfile reads.

    Returns:
        The open `soundfile.SoundFile`; the caller closes it.

    Raises:
        AudioError: The file is missing, not readable, empty, not audio, or visibly cut short.
    """
    try:
        _check_file(path)
        file = _Forward(os.fsencode(path))
        _check_length(file, path)
    except OSError as error:
        raise AudioError(path, f"not readable ({error.strerror}); check its permissions and its disk") from error
    except soundfile.LibsndfileError as error:
        raise AudioError(path, f"not audio: libsndfile cannot read it ({error.error_string.rstrip('.')}); convert it to FLAC") from error
    return file


def _check_length(file: Any, path: Path) -> None:
    """Refuse what libsndfile would shorten without a word; the file is closed then."""
    lost = _LOST.search(file.extra_info)
    reason = ""
    if lost and int(lost[1]) > int(lost[2]):
        reason = f"truncated: its header promises {lost[1]} bytes of audio and it holds {lost[2]}; copy it again"
    elif file.format == "MP3" and file.frames < mp3.least_samples(path):
        reason = f"damaged header: it promises {file.frames} samples and more follow; write it anew (ffmpeg -i IN -c copy OUT.mp3)"
    if reason:
        file.close()
        raise AudioError(path, reason)


def _check_file(path: Path) -> None:
    """Refuse what is not a file, is empty, or is a WAV cut short."""
    if not path.exists():
        raise AudioError(path, "missing: no such file; check the path")
    if not path.is_file():
        raise AudioError(path, "not audio: not a regular file")
    if path.stat().st_size == 0:
        raise AudioError(path, "empty: 0 bytes")
    promised, held = _wav_bytes(path)
    if promised > held:
        raise AudioError(path, f"truncated: its header promises {promised} bytes of audio and it holds {held}; copy it again")
    if promised == 0 < held:
        raise AudioError(path, f"empty: its header promises no audio, though {held} bytes follow; mend it (ffmpeg -i IN -c copy OUT)")
    if not _ogg_ends(path):
        raise AudioError(path, "truncated: its last Ogg page does not end the stream; copy it again, or mend it (ffmpeg -i IN -c copy OUT)")


def _ogg_ends(path: Path) -> bool:
    """Say whether a file's last Ogg page is whole and marked as the end; True for anything else. Source: RFC 3533, section 6."""
    with path.open("rb") as file:
        if file.read(4) != b"OggS":
            return True
        file.seek(max(0, path.stat().st_size - 2 * _OGG_PAGE))
        tail = file.read()
    page = tail[max(0, tail.rfind(b"OggS")) :]
    if len(page) < 27 or len(page) < 27 + page[26]:
        return False
    return bool(page[5] & 4) and len(page) >= 27 + page[26] + sum(page[27 : 27 + page[26]])


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
        length = max(1, _BLOCK // file.channels)
        try:
            while len(block := file.read(length, dtype="float32", always_2d=True)):
                held += len(block)
                yield block
        except soundfile.LibsndfileError as error:
            length = f"{promised} samples its header promises" if promised < _NO_LENGTH else "samples (its header states no length)"
            reason = f"truncated or damaged: decoding stops after about {held} of the {length}"
            raise AudioError(path, f"{reason}: {error.error_string.rstrip('.')}; encode it again") from error
    if held == 0:
        raise AudioError(path, "empty: no samples")
    slack = _MP3_SLACK * promised if file.format == "MP3" else 0
    if held < promised - slack and promised < _NO_LENGTH:
        raise AudioError(path, f"truncated: its header promises {promised} samples and it holds {held}; copy it again")


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

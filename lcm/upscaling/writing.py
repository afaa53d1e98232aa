"""Write audio block by block in the format asked for. Blocks: float [n, C], full scale 1.0; beyond it integers are limited, and counted."""

from __future__ import annotations

import errno
import os
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray

from lcm.audio import AudioError
from lcm.upscaling.part import Part, write_error

_BITS = {"PCM_16": 16, "PCM_24": 24, "PCM_32": 32}
_VORBIS_LEVEL = 0.2  # libsndfile's 1 - quality: a second lossy pass is not to cost anything audible
_SLICE = 4096  # frames: libsndfile's Vorbis encoder overflows the stack on blocks of millions


class Writer:
    """An audio file that is being written into a part.

    Attributes:
        frames: Samples of each channel so far.
        limited: Samples of all channels that did not fit an integer format and were limited.
    """

    def __init__(self, part: Part, sample_rate_hz: int, channels: int, container: str, subtype: str, tags: dict[str, str]) -> None:
        self.part, self.subtype = part, subtype
        self.frames, self.limited = 0, 0
        level = _VORBIS_LEVEL if subtype == "VORBIS" else None
        what = {"samplerate": sample_rate_hz, "channels": channels, "format": container, "subtype": subtype, "compression_level": level}
        try:
            self.file: Any = soundfile.SoundFile(part.descriptor, "w", closefd=False, **what)
        except soundfile.LibsndfileError as error:
            reason = f"{channels} channels at {sample_rate_hz} Hz cannot be written as {container} {subtype} ({error.error_string})"
            raise AudioError(part.path, f"{reason}; give --format wav") from error
        for name, text in tags.items():
            _tag(self.file, name, text)

    def write(self, block: NDArray[Any]) -> None:
        """Append a block [n, C].

        Raises:
            AudioError: The disk is full or refuses.
        """
        samples = self._in_format(block)
        for start in range(0, len(samples), _SLICE):
            self._append(samples[start : start + _SLICE])
        self.frames += len(block)

    def _append(self, samples: NDArray[Any]) -> None:
        try:
            self.file.write(samples)
        except (soundfile.LibsndfileError, AssertionError) as error:  # soundfile asserts that all was written
            raise self._refused() from error

    def _refused(self) -> AudioError:
        """Find out why libsndfile could not write, for it does not say: write a byte more."""
        try:
            os.pwrite(self.part.descriptor, b"\0" * _SLICE, os.fstat(self.part.descriptor).st_size)
        except OSError as error:
            return write_error(self.part.path, error)
        return write_error(self.part.path, OSError(errno.EIO, "the disk took less than was written"))

    def _in_format(self, block: NDArray[Any]) -> NDArray[Any]:
        """Round to the integers of the format, limiting and counting what is beyond; floats stay."""
        bits = _BITS.get(self.subtype)
        if bits is None:
            return block
        full = 2.0 ** (bits - 1)
        scaled = np.rint(block.astype(np.float64) * full)
        fitting = np.clip(scaled, -full, full - 1)
        self.limited += int(np.count_nonzero(scaled != fitting))
        return fitting.astype(np.int16) if bits == 16 else fitting.astype(np.int32) << (32 - bits)

    def close(self) -> None:
        """Finish the file and check that all of it is there.

        Raises:
            AudioError: It is not.
        """
        try:
            self.file.close()
            os.lseek(self.part.descriptor, 0, os.SEEK_SET)
            with soundfile.SoundFile(self.part.descriptor, closefd=False) as written:
                held = int(written.frames)
        except soundfile.LibsndfileError as error:
            raise self._refused() from error
        if held != self.frames:
            raise self._refused()


def _tag(file: Any, name: str, text: str) -> None:
    """Set a tag; a container that has no such tag goes without."""
    try:
        setattr(file, name, text.encode("utf-8", "replace").decode())
    except soundfile.LibsndfileError:
        return

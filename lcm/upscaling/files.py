"""Audio files as `lcm upscale` sees them: what a file is, its samples block by block, and the format of its output.

Blocks: float32 [n, C], full scale 1.0.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lcm.audio import AudioError, open_file, stream
from lcm.upscaling.core import RATES_HZ

FORMATS = {"wav": "WAV", "flac": "FLAC", "ogg": "OGG"}
"""What can be written: names of `--format` and libsndfile's containers."""
SUFFIXES = {"WAV": (".wav", ".wave"), "FLAC": (".flac",), "OGG": (".ogg", ".oga", ".opus"), "MP3": (".mp3",)}
"""Usual suffixes of the usual containers; the first is given to new names."""
AUDIO_SUFFIXES = frozenset(
    (".wav", ".wave", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".aifc", ".au", ".caf", ".rf64", ".w64")
)
"""What is taken for audio in a folder; a file that is named itself is tried whatever its suffix."""

_TAGS = ("title", "artist", "album", "date", "genre", "tracknumber", "comment", "copyright", "license")
_FAMILY = {"WAVEX": "WAV", "RF64": "WAV", "MP3": "FLAC"} | {name: name for name in FORMATS.values()}  # anything else becomes WAV
_KEPT = {
    "WAV": ("PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE"),
    "FLAC": ("PCM_16", "PCM_24"),
    "OGG": ("VORBIS", "OPUS"),
}
_FINE = ("PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ALAC_20", "ALAC_24", "ALAC_32")  # more than 16 bits
_MOST_CHANNELS = {"FLAC": 8, "OGG": 8}  # of the formats' own definitions; libsndfile crashes beyond 255 channels of Ogg
_LARGEST = 1e10  # times full scale: whole numbers of 32 bits in floats are below, damaged floats above
_BYTES = {"PCM_16": 2, "PCM_24": 3, "PCM_32": 4, "FLOAT": 4, "DOUBLE": 8}
_WAV_LIMIT = (1 << 32) - (1 << 20)  # a WAV counts its bytes in 32 bits


@dataclass(frozen=True)
class Header:
    """What a file says of itself.

    Attributes:
        path: The file.
        sample_rate_hz: 4,000 to 192,000.
        channels: At least 1.
        frames: Samples of each channel that it promises; more than 2^60 where it does not say.
        container: libsndfile's name, such as WAV, FLAC, OGG, MP3.
        subtype: libsndfile's name of the sample format, such as PCM_16.
        tags: Title, artist and the like.
    """

    path: Path
    sample_rate_hz: int
    channels: int
    frames: int
    container: str
    subtype: str
    tags: dict[str, str]

    @property
    def seconds(self) -> float:
        """Promised duration."""
        return self.frames / self.sample_rate_hz


@dataclass(frozen=True)
class Format:
    """How an output is written.

    Attributes:
        container: libsndfile's name.
        subtype: libsndfile's name of the sample format.
        note: What differs from the input, for the user; empty where nothing does.
    """

    container: str
    subtype: str
    note: str

    def name(self, path: Path) -> str:
        """Return the output's file name: the input's own, with another suffix only where that would not fit."""
        suffixes = SUFFIXES["WAV" if self.container in ("WAVEX", "RF64") else self.container]
        suffix = path.suffix.lower()
        if suffix in suffixes:
            return path.name
        return (path.stem if suffix in AUDIO_SUFFIXES else path.name) + suffixes[0]


def read_header(path: Path) -> Header:
    """Open a file and return what it says of itself.

    Raises:
        AudioError: As `lcm.audio.stream`, or the sample rate is one that nothing is made for.
    """
    with open_file(path) as file:
        tags = {name: value for name, value in file.copy_metadata().items() if name in _TAGS and value}
        found = Header(path, file.samplerate, file.channels, file.frames, file.format, file.subtype, tags)
    low, high = RATES_HZ
    if not low <= found.sample_rate_hz <= high:
        raise AudioError(path, f"sample rate {found.sample_rate_hz:,} Hz; expected {low:,} to {high:,} Hz: resample it first")
    return found


def read_blocks(path: Path) -> Iterator[NDArray[np.float32]]:
    """Yield a file's samples in blocks [n, C].

    Raises:
        AudioError: As `lcm.audio.stream`, or a sample is NaN or infinite, or beyond what 32 bits hold.
    """
    blocks, rate_hz = stream(path)
    before = 0
    for block in blocks:
        fine = np.abs(block) < _LARGEST
        if not fine.all():
            at, channel = np.argwhere(~fine)[0]
            where = f"{(before + at) / rate_hz:.4f} s (sample {before + at}, channel {channel + 1})"
            raise AudioError(path, f"{_what(float(block[at, channel]))} at {where}; write the file anew without it")
        before += len(block)
        yield block


def _what(sample: float) -> str:
    if np.isnan(sample):
        return "not finite: NaN"
    return "not finite: infinity" if np.isinf(sample) else f"not audio: a sample of {sample:.3g} times full scale"


def choose_format(header: Header, wanted: str | None) -> Format:
    """Choose the format of an output: the input's own where it can be written without loss of kind.

    Args:
        header: Of the input.
        wanted: `wav`, `flac` or `ogg`; None for the input's own.

    Raises:
        AudioError: The format cannot hold so many channels.
    """
    family = FORMATS[wanted] if wanted else _FAMILY.get(header.container, "WAV")
    own = _FAMILY.get(header.container) == family and header.container != "MP3"
    if header.channels > _MOST_CHANNELS.get(family, header.channels):
        raise AudioError(header.path, f"{header.channels} channels: {family} holds at most {_MOST_CHANNELS[family]}; give --format wav")
    subtype = header.subtype if header.subtype in _KEPT[family] else _nearest(family, header.subtype)
    container = header.container if own else family
    before, after = f"{header.container} {header.subtype}", f"{container} {subtype}"
    return Format(container, subtype, "" if before == after else f"{before} is written as {after}")


def _nearest(family: str, subtype: str) -> str:
    if family == "OGG":
        return "VORBIS"
    return "PCM_24" if subtype in _FINE else "PCM_16"


def large_container(form: Format, frames: int, channels: int) -> str:
    """Return the container for so much audio: RF64, which WAV readers take, where a WAV cannot count its bytes."""
    needed = frames * channels * _BYTES.get(form.subtype, 0)
    return "RF64" if form.container in ("WAV", "WAVEX") and needed > _WAV_LIMIT else form.container

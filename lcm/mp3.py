"""The frames of an MP3 file, counted: a header may state fewer, and decoders then stop early without a word."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

_KBPS = {
    (1, 1): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (1, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (1, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (2, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (2, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}  # by MPEG version (2 stands for 2.5 too) and layer; layer 3 of version 2 has layer 2's
_RATES_HZ = (44_100, 48_000, 32_000)
_PADDING_FRAMES = 6  # the encoder's delay and padding, and the frame that holds the header, are not counted as audio
_PADDING_SHARE = 0.001
_SEARCHED = 1 << 16


def least_samples(path: Path) -> int:
    """Count the frames of an MP3 file without decoding it.

    Args:
        path: A file whose content is MPEG audio, perhaps between tags.

    Returns:
        Samples that a decoder must give at the least, the encoder's padding taken off; 0 where nothing is recognised.

    Source: ISO/IEC 11172-3, 2.4.1.3 and 2.4.2.3 (header); 13818-3, 2.4.2.3 (low sample rates).
    """
    with path.open("rb") as file:
        at, kind, total, samples = _after_tag(file), None, 0, 0
        while (header := _next_header(file, at, kind)) is not None:
            at, kind, samples = header[0] + header[1], header[3], header[2]
            total += samples
    return max(0, int(total * (1 - _PADDING_SHARE)) - _PADDING_FRAMES * samples)


def _after_tag(file: BinaryIO) -> int:
    """Return where an ID3v2 tag at the beginning ends; 0 without one."""
    head = file.read(10)
    if len(head) < 10 or not head.startswith(b"ID3"):
        return 0
    return 10 + sum((byte & 0x7F) << shift for byte, shift in zip(head[6:], (21, 14, 7, 0), strict=True))


def _next_header(file: BinaryIO, at: int, kind: bytes | None) -> tuple[int, int, int, bytes] | None:
    """Return position, bytes, samples and kind of the frame at `at` or, within 64 KiB, of the next that another one follows."""
    file.seek(at)
    parsed = _parse(file.read(4), kind)
    if parsed:
        return at, *parsed
    file.seek(at)
    searched = file.read(_SEARCHED)
    place = searched.find(b"\xff")
    while place >= 0:
        parsed = _parse(searched[place : place + 4], kind)
        if parsed and _parse(searched[place + parsed[0] : place + parsed[0] + 4], parsed[2]):
            return at + place, *parsed
        place = searched.find(b"\xff", place + 1)
    return None


def _parse(header: bytes, kind: bytes | None) -> tuple[int, int, bytes] | None:
    """Return bytes, samples and kind (version, layer, rate) of a frame by its 4 bytes; None for anything else."""
    if len(header) < 4 or header[0] != 0xFF or header[1] & 0xE0 != 0xE0:
        return None
    version_bits, layer = header[1] >> 3 & 3, 4 - (header[1] >> 1 & 3)
    bitrate, rate, padding = header[2] >> 4, header[2] >> 2 & 3, header[2] >> 1 & 1
    found = bytes([header[1] & 0xFE, rate])
    if version_bits == 1 or layer == 4 or bitrate in (0, 15) or rate == 3 or kind not in (None, found):
        return None
    version = 1 if version_bits == 3 else 2
    bits_per_second = 1000 * _KBPS[version, layer if version == 1 else min(layer, 2)][bitrate - 1]
    rate_hz = _RATES_HZ[rate] // {3: 1, 2: 2, 0: 4}[version_bits]
    samples = {1: 384, 2: 1152, 3: 1152 if version == 1 else 576}[layer]
    if layer == 1:
        return 4 * (12 * bits_per_second // rate_hz + padding), samples, found
    return samples // 8 * bits_per_second // rate_hz + padding, samples, found

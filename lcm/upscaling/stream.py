"""Block by block: a recording of any length in constant memory, at a latency that is known.

Parts are restored with as much context on either side as can reach them, and noise is keyed to the absolute frame, so that they
join without a seam and the result does not depend on how the input was cut.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import soxr
from numpy.typing import NDArray

from lcm.audio import HOP, SAMPLE_RATE
from lcm.errors import LcmError

Added = Callable[[NDArray[np.float32], int], NDArray[np.float32]]
"""What is to be added to a part [C, T] at 24 kHz that begins at an absolute frame, [C, T]."""

_RESAMPLER_S = 0.3  # soxr works in parts of its own: 0.1 to 0.29 s were seen


class Stream:
    """Restores what is pushed into it.

    Args:
        added: What makes the high band.
        source_rate: Rate of the input in Hz.
        sample_rate: Rate of the output in Hz: 24,000, or the input's where that is higher.
        channels: Of input and output.
        frames: Codec frames restored at once.
        reach: Frames of context on either side.

    Attributes:
        latency_s: Input that must have come before a sample's output does, in seconds.
    """

    def __init__(self, added: Added, source_rate: int, sample_rate: int, channels: int, *, frames: int, reach: int) -> None:
        self.source_rate, self.sample_rate, self.channels = source_rate, sample_rate, channels
        resamplers = (source_rate != SAMPLE_RATE) + (sample_rate != SAMPLE_RATE)
        self.latency_s = (frames + reach) * HOP / SAMPLE_RATE + resamplers * _RESAMPLER_S
        self._added, self._frames, self._reach = added, frames, reach
        self._down = _resampler(source_rate, SAMPLE_RATE, channels)
        self._up = _resampler(SAMPLE_RATE, sample_rate, channels)
        self._audio = np.zeros((0, channels), np.float32)  # at 24 kHz, from frame `_first` on
        self._raw = np.zeros((0, channels), np.float32)  # at the output's rate, what was not yet given out, where that is above 24 kHz
        self._first = self._done = 0  # frames
        self._pushed = self._received = 0  # samples in, and at 24 kHz
        self._ended = False

    def push(self, block: NDArray[np.float32]) -> NDArray[np.float32]:
        """Take the next samples and return what they complete.

        Args:
            block: [n, C] of any n, floating point with full scale 1.0.

        Returns:
            [m, C], perhaps empty.

        Raises:
            LcmError: The block has another number of channels, or the stream has ended.
        """
        if self._ended or block.ndim != 2 or block.shape[1] != self.channels:
            ended = " that has ended" if self._ended else ""
            raise LcmError(f"A block of shape {list(block.shape)} for a stream of {self.channels} channels{ended}.")
        block = np.ascontiguousarray(block, dtype=np.float32)
        self._pushed += len(block)
        self._receive(block if self._down is None else self._down.resample_chunk(block))
        if self._up is not None:
            self._raw = np.concatenate([self._raw, block])
        return self._advance()

    def finish(self) -> NDArray[np.float32]:
        """Return the rest, so that in all as much time has come out as went in; the stream has then ended."""
        if self._ended:
            return np.zeros((0, self.channels), np.float32)
        self._ended = True
        if self._down is not None:
            self._receive(self._down.resample_chunk(np.zeros((0, self.channels), np.float32), last=True))
        total = round(self._pushed * SAMPLE_RATE / self.source_rate)
        self._audio = _to_length(self._audio, total - self._first * HOP)
        self._received = total
        return self._advance()

    def _receive(self, samples: NDArray[np.float32]) -> None:
        self._audio = np.concatenate([self._audio, samples])
        self._received += len(samples)

    def _advance(self) -> NDArray[np.float32]:
        made = []
        while self._done * HOP < self._received and (self._ended or (self._done + self._frames + self._reach) * HOP <= self._received):
            made.append(self._part())
        if self._ended:
            made.append(self._emit(np.zeros((0, self.channels), np.float32), last=True))
        return np.concatenate(made) if made else np.zeros((0, self.channels), np.float32)

    def _part(self) -> NDArray[np.float32]:
        """Restore the next frames and forget what no later ones can see."""
        low, stop = max(0, self._done - self._reach), self._done + self._frames
        seen = self._audio[(low - self._first) * HOP : (stop + self._reach - self._first) * HOP]
        added = self._added(np.ascontiguousarray(seen.T), low).T
        part = slice((self._done - low) * HOP, (stop - low) * HOP)
        own, new = seen[part], added[part]
        self._done = stop
        keep = max(0, stop - self._reach)
        self._audio, self._first = self._audio[(keep - self._first) * HOP :].copy(), keep
        return self._emit(new if self._up is not None else own + new)

    def _emit(self, samples: NDArray[np.float32], *, last: bool = False) -> NDArray[np.float32]:
        """Return samples at the output's rate; above 24 kHz they are what is added to the input as it came."""
        if self._up is None:
            return samples
        new = self._up.resample_chunk(np.ascontiguousarray(samples), last=last)
        if last:
            new = _to_length(new, len(self._raw))
        new = new[: len(self._raw)]
        own, self._raw = self._raw[: len(new)], self._raw[len(new) :]
        total: NDArray[np.float32] = own + new
        return total


def _resampler(source_hz: int, target_hz: int, channels: int) -> soxr.ResampleStream | None:
    if source_hz == target_hz:
        return None
    return soxr.ResampleStream(source_hz, target_hz, channels, dtype="float32", quality="VHQ")


def _to_length(samples: NDArray[np.float32], length: int) -> NDArray[np.float32]:
    """Cut, or fill up with zeros."""
    filled: NDArray[np.float32] = np.pad(samples[:length], ((0, max(0, length - len(samples))), (0, 0)))
    return filled

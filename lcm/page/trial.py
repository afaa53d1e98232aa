"""One recording through the upscaler: read within limits, restored, and kept as files for a while. Shapes: audio [C, T]."""

from __future__ import annotations

import secrets
import shutil
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import soundfile
from numpy.typing import NDArray

from lcm.audio import AudioError, resample, stream
from lcm.errors import LcmError

if TYPE_CHECKING:
    from lcm.upscaling.core import Upscaler

TRACKS = ("original", "restored", "sinc")
KEPT = 6
HIGHEST_PLAYED_HZ = 48_000  # browsers play 8 to 96 kHz; nothing above is heard
NARROWEST_HZ = 2_000

Samples = NDArray[np.float32]


@dataclass(frozen=True)
class Limits:
    """What one recording may be: bytes of its file, seconds and channels of its audio."""

    bytes: int = 128_000_000
    seconds: float = 300.0
    channels: int = 8


@dataclass(frozen=True)
class Settings:
    """What the page asks for.

    Attributes:
        narrow_hz: Band to cut the recording down to first, 2,000 to 12,000, so that the truth is known; None leaves it as it is.
        cutoff_hz: Bandwidth of the recording where it is known; None detects it.
    """

    narrow_hz: int | None = None
    cutoff_hz: float | None = None

    def __post_init__(self) -> None:
        if self.narrow_hz is not None and not NARROWEST_HZ <= self.narrow_hz <= 12_000:
            raise LcmError(f"Narrowing to {self.narrow_hz} Hz: expected {NARROWEST_HZ} to 12000 Hz, or nothing.")
        if self.cutoff_hz is not None and not 0 < self.cutoff_hz < float("inf"):
            raise LcmError(f"Bandwidth {self.cutoff_hz:g} Hz: expected a number above 0, or nothing to have it detected.")


@dataclass(frozen=True)
class Trial:
    """What the page says of one recording.

    Attributes:
        id: Names its files; not to be guessed.
        seconds, channels, rate_hz: of the recording.
        narrowed_hz: Band that it was cut down to first, None where it was not.
        cutoff_hz: Bandwidth that was found or given.
        passed: It was full-band already and is returned unchanged.
        output_rate_hz: of the restored file.
        player_rate_hz: All tracks are played at this rate, so that the browser resamples none of them.
        restore_s: Time that the upscaler took, encoding and decoding included.
    """

    id: str
    seconds: float
    channels: int
    rate_hz: int
    narrowed_hz: int | None
    cutoff_hz: float
    passed: bool
    output_rate_hz: int
    player_rate_hz: int
    restore_s: float

    def said(self) -> dict[str, object]:
        """Return what is sent to the page, as JSON."""
        tracks = {name: f"/results/{self.id}/{name}.wav" for name in TRACKS}
        return {**asdict(self), "tracks": tracks, "download": f"/results/{self.id}/download.wav"}


class Trials:
    """Makes trials, one at a time, and keeps the files of the latest KEPT in a folder of its own.

    Args:
        folder: An empty folder, which the caller removes at the end.
        upscaler: Restores the audio.
        limits: What a recording may be.
    """

    def __init__(self, folder: Path, upscaler: Upscaler, limits: Limits | None = None) -> None:
        self.folder, self.limits = folder, limits or Limits()
        self._upscaler, self._lock, self._ids = upscaler, threading.Lock(), list[str]()

    def make(self, file: Path, name: str, settings: Settings) -> Trial:
        """Restore one file and keep the result.

        Args:
            file: What was uploaded, below a name of ours.
            name: What its owner calls it, for messages only.
            settings: What was asked for.

        Returns:
            The trial; its files can be had from `file`.

        Raises:
            LcmError: The file is no audio, is beyond the limits, or cannot be restored; the message names it as its owner does.
        """
        try:
            waveform, rate_hz = read(file, self.limits)
            with self._lock:
                return self._make(waveform, rate_hz, settings)
        except AudioError as error:
            raise LcmError(f"{name}: {error.reason}.") from error
        except LcmError as error:
            raise LcmError(f"{name}: {error}") from error

    def file(self, trial: str, name: str) -> Path | None:
        """Return a track, or `download`, of a trial; None where it is unknown or kept no longer."""
        return self.folder / trial / f"{name}.wav" if trial in self._ids and name in (*TRACKS, "download") else None

    def _make(self, original: Samples, rate_hz: int, settings: Settings) -> Trial:
        given, given_hz = _narrowed(original, rate_hz, settings.narrow_hz)
        start = time.perf_counter()
        result = self._upscaler(given, given_hz, cutoff_hz=settings.cutoff_hz)
        took_s = time.perf_counter() - start
        out_hz = int(result.sample_rate)
        player_hz = min(HIGHEST_PLAYED_HZ, max(rate_hz, out_hz))
        trial = Trial(
            secrets.token_urlsafe(16), original.shape[1] / rate_hz, len(original), rate_hz, None if given is original else given_hz // 2,
            float(result.cutoff_hz), bool(result.passed), out_hz, player_hz, took_s,
        )  # fmt: skip
        sinc = resample(given, given_hz, out_hz)
        heard = {"original": (original, rate_hz), "restored": (result.waveform, out_hz), "sinc": (sinc, out_hz)}
        self._keep(trial, {name: resample(samples, hz, player_hz) for name, (samples, hz) in heard.items()}, result.waveform)
        return trial

    def _keep(self, trial: Trial, tracks: dict[str, Samples], download: Samples) -> None:
        """Write the files as 32-bit float, which neither clips nor rounds, and forget the oldest trial."""
        folder = self.folder / trial.id
        folder.mkdir()
        try:
            for name, samples in tracks.items():
                soundfile.write(folder / f"{name}.wav", samples.T, trial.player_rate_hz, subtype="FLOAT")
            soundfile.write(folder / "download.wav", download.T, trial.output_rate_hz, subtype="FLOAT")
        except (OSError, soundfile.LibsndfileError) as error:
            shutil.rmtree(folder, ignore_errors=True)
            raise LcmError(f"the result cannot be written to {self.folder} ({error}): is its disk full? TMPDIR names another.") from error
        self._ids.append(trial.id)
        while len(self._ids) > KEPT:
            shutil.rmtree(self.folder / self._ids.pop(0), ignore_errors=True)


def read(file: Path, limits: Limits) -> tuple[Samples, int]:
    """Read a file as far as the limits allow: a small compressed file can hold days.

    Args:
        file: Any format that libsndfile reads.
        limits: What it may hold.

    Returns:
        Samples [C, T] and the rate in Hz.

    Raises:
        AudioError: It is no audio or beyond the limits.
    """
    blocks, rate_hz = stream(file)
    channels = soundfile.info(file).channels
    if channels > limits.channels:
        raise AudioError(file, f"{channels} channels; this page takes at most {limits.channels}. `lcm upscale` takes any number")
    held: list[Samples] = []
    samples = 0
    for block in blocks:
        held.append(block)
        samples += len(block)
        if samples > limits.seconds * rate_hz:
            raise AudioError(file, f"longer than {limits.seconds:g} s, the most that this page takes. `lcm upscale` takes any length")
    return np.ascontiguousarray(np.concatenate(held).T), rate_hz


def _narrowed(waveform: Samples, rate_hz: int, narrow_hz: int | None) -> tuple[Samples, int]:
    """Return audio without what is above `narrow_hz`, at twice that rate; unchanged where it has no more than that."""
    if narrow_hz is None or 2 * narrow_hz >= rate_hz:
        return waveform, rate_hz
    return resample(waveform, rate_hz, 2 * narrow_hz), 2 * narrow_hz

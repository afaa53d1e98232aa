"""One file from input to output, in two passes: where its content ends, then the restoring. Memory does not grow with its length."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lcm.audio import AudioError
from lcm.paths import sha256
from lcm.upscaling.bandwidth import Bandwidth, BandwidthMeter
from lcm.upscaling.core import STRENGTH, Upscaler
from lcm.upscaling.files import Header, large_container, read_blocks
from lcm.upscaling.inputs import shown
from lcm.upscaling.part import Part, write_error
from lcm.upscaling.plan import Job
from lcm.upscaling.state import State
from lcm.upscaling.writing import Writer

Advance = Callable[[float], None]
"""Told the seconds of audio that were just finished."""
_CHANNEL_SECONDS = 160.0  # restored at once, all channels together


@dataclass(frozen=True)
class Settings:
    """What the result depends on, and what is done about files that are there.

    Attributes:
        steps: Network calls a part.
        precision: As `Upscaler`'s.
        cutoff_hz: In place of measuring it.
        model: Its source, and what tells its content.
        overwrite: Whether files that another hand has written are replaced.
    """

    steps: int = 1
    precision: str = "auto"
    cutoff_hz: float | None = None
    model: str = "shipped"
    overwrite: bool = False

    def told(self, job: Job) -> dict[str, Any]:
        """Return what decides about a result, for the state file."""
        settings = asdict(self)
        del settings["overwrite"]
        return {**settings, "strength": STRENGTH, "format": f"{job.form.container} {job.form.subtype}"}


@dataclass(frozen=True)
class Scan:
    """What the first pass tells: samples of each channel, and the bandwidth."""

    frames: int
    bandwidth: Bandwidth


@dataclass(frozen=True)
class Outcome:
    """What became of a job.

    Attributes:
        action: `finished` (nothing was to do), `upscaled` or `passed`.
        sample_rate_hz: Of the output.
        cutoff_hz: Where the content of the input ends.
        limited: Samples that did not fit the integer format.
        silent: Whether there is nothing to hear.
    """

    action: str
    sample_rate_hz: int
    cutoff_hz: float
    limited: int = 0
    silent: bool = False


def finished(job: Job, settings: Settings, state: State, digest: str) -> Outcome | None:
    """Return the outcome of an earlier run where it still holds; None where the file is to be made.

    Raises:
        AudioError: Something else lies there.
    """
    own = state.entry(job.output)
    if own is None:
        if job.output.is_dir():
            raise AudioError(job.output, "a folder has the output's name; give another -o")
        if job.output.exists() and not settings.overwrite:
            raise AudioError(job.output, "exists already and is not, or no longer, what this command wrote; give --overwrite or another -o")
        return None
    if own.get("source_sha256") != digest or own.get("settings") != settings.told(job):
        return None
    return Outcome("finished", own.get("sample_rate_hz", 0), own.get("cutoff_hz", 0.0), own.get("limited", 0), own.get("silent", False))


def scan(header: Header, cutoff_hz: float | None) -> Scan:
    """Read a file once, checking every sample.

    Args:
        header: Of the file.
        cutoff_hz: Taken in place of what is measured.

    Raises:
        AudioError: As `read_blocks`.
    """
    meter, frames = BandwidthMeter(header.sample_rate_hz), 0
    for block in read_blocks(header.path):
        meter.add(block)
        frames += len(block)
    found = meter.result()
    return Scan(frames, found if cutoff_hz is None else replace(found, cutoff_hz=cutoff_hz, full_band=False))


def upscale_file(job: Job, settings: Settings, state: State, load: Callable[[], Upscaler], advance: Advance) -> Outcome:
    """Make one output, or find it made.

    Args:
        job: What to make.
        settings: How.
        state: What is finished; a line is added.
        load: Gives the model, where one is needed.
        advance: Told of progress.

    Raises:
        LcmError: It cannot be made; nothing is left under its name then that was not there before.
    """
    digest = sha256(job.header.path)
    if earlier := finished(job, settings, state, digest):
        return earlier
    found = scan(job.header, settings.cutoff_hz)
    with Part(job.output) as part:
        outcome = _pass(job, found, part, advance) if found.bandwidth.full_band else _restore(job, found, part, load(), advance)
        if sha256(job.header.path) != digest:
            raise AudioError(job.header.path, "changed while it was read; run again")
        part.sync()
        try:
            state.add(
                job.output, source=str(job.header.path), source_sha256=digest, settings=settings.told(job),
                **asdict(outcome), frames=found.frames, output_sha256=sha256(part.part),
            )  # fmt: skip
        except OSError as error:
            raise write_error(state.path, error) from error
        part.commit()
    return outcome


def _pass(job: Job, found: Scan, part: Part, advance: Advance) -> Outcome:
    """Pass a full-band file through: its bytes, or its samples where another format was asked for."""
    header, limited = job.header, 0
    if job.form.note:
        writer = _writer(job, part, header.sample_rate_hz, found.frames)
        for block in _again(job, found, advance):
            writer.write(block)
        writer.close()
        limited = writer.limited
    else:
        try:
            with header.path.open("rb") as source, open(part.descriptor, "wb", closefd=False) as target:
                shutil.copyfileobj(source, target, 1 << 20)
        except OSError as error:
            raise write_error(job.output, error) from error
        advance(found.frames / header.sample_rate_hz)
    return Outcome("passed", header.sample_rate_hz, found.bandwidth.cutoff_hz, limited)


def _restore(job: Job, found: Scan, part: Part, upscaler: Upscaler, advance: Advance) -> Outcome:
    header, bandwidth = job.header, found.bandwidth
    chunk_s = min(upscaler.chunk_s, max(1.0, _CHANNEL_SECONDS / header.channels))
    stream = upscaler.stream(header.sample_rate_hz, header.channels, cutoff_hz=bandwidth.cutoff_hz, gain=bandwidth.gain, chunk_s=chunk_s)
    length = round(found.frames * stream.sample_rate / header.sample_rate_hz)
    writer = _writer(job, part, stream.sample_rate, length)
    for block in _again(job, found, advance):
        writer.write(stream.push(block))
    writer.write(stream.finish())
    writer.close()
    if writer.frames != length:
        raise AudioError(header.path, f"{writer.frames} samples were made where {length} belong: please report this")
    return Outcome("upscaled", stream.sample_rate, bandwidth.cutoff_hz, writer.limited, bandwidth.silent)


def _writer(job: Job, part: Part, sample_rate_hz: int, frames: int) -> Writer:
    container = large_container(job.form, frames, job.header.channels)
    return Writer(part, sample_rate_hz, job.header.channels, container, job.form.subtype, job.header.tags)


def _again(job: Job, found: Scan, advance: Advance) -> Iterator[NDArray[np.float32]]:
    """Yield the blocks a second time, telling of them when they have been worked on."""
    read, rate_hz = 0, job.header.sample_rate_hz
    for block in read_blocks(job.header.path):
        read += len(block)
        if read > found.frames:
            break
        yield block
        advance(len(block) / rate_hz)
    if read != found.frames:
        raise AudioError(job.header.path, f"changed while it was read ({shown(job.header.path)} had {found.frames} samples); run again")

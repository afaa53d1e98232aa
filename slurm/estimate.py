"""What a store will cost, from a measured rate: GPU-hours, hours a task, a time limit, disk and inodes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from lcm.store import StorePaths
from slurm.history import read_all_progress
from slurm.progress import Progress
from slurm.shards import Plan, PlanHeader
from slurm.status import duration

CALIBRATION, FINISHED_SHARDS = "calibration", "finished shards"
_FRAMES_PER_S = 75.0  # of the codecs' latents, as in lcm.codec, which brings torch along
_LIMIT_FACTOR, _LIMIT_EXTRA_MIN, _LIMIT_STEP_MIN = 1.5, 10, 15
_BYTES_A_CLIP = 500  # key, meta, offset, checksum, and its part of the index and the plan
_BYTES_A_SHARD = 16_384  # HDF5's own tables, and the heartbeat
_FILES_A_SHARD, _FILES_A_TASK, _FILES_A_STORE = 2, 4, 8  # shard, heartbeat; a job's pickle, result and two logs; plan, index ...
_FILES_UNDER_WAY = 3  # of a task: a folder, a journal, the file that is being built


@dataclass(frozen=True)
class Rate:
    """How fast one task is.

    Attributes:
        clips_per_s: Clips a second.
        frames_per_s: Codec frames a second, which depends less on how long the clips are.
        load_s: Seconds that loading codec and teacher takes.
        device: What was measured on; several are named with commas.
        clips: How many clips were measured.
        source: `finished shards`, or `calibration` where none is finished yet.
    """

    clips_per_s: float
    frames_per_s: float
    load_s: float
    device: str
    clips: int
    source: str


@dataclass(frozen=True)
class Estimate:
    """What is left to do and what it takes.

    Attributes:
        clips: Clips to make.
        frames: Codec frames to make.
        audio_h: Hours of audio.
        tasks: Tasks that make them.
        gpu_hours: GPU-hours, loading included; None where no rate has been measured, 0 for tasks without a GPU.
        task_h: Hours of the longest task; None likewise.
        limit_min: Time limit to ask for, in minutes: half as much again and ten minutes more; None likewise.
        disk_gb: Size of the whole finished store, in 10^9 bytes.
        inodes: Files and folders of the whole store while it is made.
        rate: What the times rest on.
    """

    clips: int
    frames: int
    audio_h: float
    tasks: int
    gpu_hours: float | None
    task_h: float | None
    limit_min: int | None
    disk_gb: float
    inodes: int
    rate: Rate | None = None

    def lines(self) -> list[str]:
        """Return the estimate for people, a line each."""
        lines = [
            f"to make: {self.clips} clips, {self.audio_h:.1f} h of audio, in {self.tasks} tasks",
            f"disk: {self.disk_gb:.2f} GB, {self.inodes} files and folders",
        ]
        if self.rate is None or self.task_h is None or self.gpu_hours is None:
            return [*lines, "time: unknown until a rate has been measured: `python -m slurm calibrate`"]
        rate = f"{self.rate.frames_per_s / _FRAMES_PER_S:.3g} s of audio a second on {self.rate.device or 'an unnamed device'}"
        measured = f"{rate} ({self.rate.source}, {self.rate.clips} clips, loading {duration(self.rate.load_s)})"
        times = f"time: {self.gpu_hours:.1f} GPU-hours, {duration(self.task_h * 3600)} for the longest task; limit {self.limit_min} min"
        return [*lines, times, f"rate: {measured}"]


def measured_rate(folder: Path) -> Rate | None:
    """Return the rate that a store's tasks have had so far: the median over the shards on which work was done.

    Args:
        folder: The store, finished or not.

    Returns:
        The rate; None where nothing has been made.

    Raises:
        StoreError: The folder holds no plan.
    """
    paths = StorePaths(folder)
    header = PlanHeader.read(paths.plan)
    worked = [p for p in read_all_progress(paths) if p.shard < header.shards and p.done > 0 and p.busy_s > 0]
    if not worked:
        return None
    return Rate(
        clips_per_s=median(progress.done / progress.busy_s for progress in worked),
        frames_per_s=median(_frames_made(progress, header) / progress.busy_s for progress in worked),
        load_s=median(progress.load_s for progress in worked),
        device=", ".join(sorted({progress.device for progress in worked if progress.device})),
        clips=sum(progress.done for progress in worked),
        source=FINISHED_SHARDS if any(progress.state == "done" for progress in worked) else CALIBRATION,
    )


def estimate(
    plan: Plan | PlanHeader, missing: Sequence[int], rate: Rate | None, *, shards_per_task: int, gpus_per_task: int, bytes_per_frame: float
) -> Estimate:
    """Return what making the missing shards of a plan takes.

    Args:
        plan: The plan or its header.
        missing: Numbers of the shards to make.
        rate: Rate of one task; None leaves the times unknown.
        shards_per_task: Most shards of a task, at least 1.
        gpus_per_task: GPUs that each task holds; 0 without.
        bytes_per_frame: Bytes of all streams of one codec frame.
    """
    header = plan.header if isinstance(plan, Plan) else plan
    tasks = [missing[start : start + shards_per_task] for start in range(0, len(missing), shards_per_task)]
    seconds = [rate.load_s + sum(map(header.frames, task)) / rate.frames_per_s for task in tasks] if rate else None
    frames, all_frames = sum(map(header.frames, missing)), sum(header.shard_frames)
    return Estimate(
        clips=sum(map(header.clips_of, missing)),
        frames=frames,
        audio_h=frames / _FRAMES_PER_S / 3600,
        tasks=len(tasks),
        gpu_hours=None if seconds is None else sum(seconds) * gpus_per_task / 3600,
        task_h=None if seconds is None else max(seconds, default=0.0) / 3600,
        limit_min=None if seconds is None else _limit_min(max(seconds, default=0.0)),
        disk_gb=(all_frames * bytes_per_frame + header.clips * _BYTES_A_CLIP + header.shards * _BYTES_A_SHARD) / 1e9,
        inodes=_FILES_A_SHARD * header.shards + _FILES_A_TASK * len(tasks) + _FILES_UNDER_WAY * len(tasks) + _FILES_A_STORE,
        rate=rate,
    )


def _frames_made(progress: Progress, header: PlanHeader) -> float:
    """Return the frames of all attempts at a shard: `frames` counts the last one's alone, `busy_s` is of all."""
    return header.frames(progress.shard) * progress.done / max(progress.total, 1)


def _limit_min(seconds: float) -> int:
    return math.ceil((seconds / 60 * _LIMIT_FACTOR + _LIMIT_EXTRA_MIN) / _LIMIT_STEP_MIN) * _LIMIT_STEP_MIN

"""Memory of training: an estimate before it starts, and what to do when it runs out.

The estimate runs real forward and backward passes on two and on three clips and follows every tensor. Between the two the
live bytes after each operation grow by those of one clip, so the trace of the full micro-batch, and its peak, follow.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from lcm.codec import FRAME_RATE_HZ
from lcm.data import CropSource
from lcm.errors import TrainingError
from lcm.losses import LossConfig
from lcm.training.calibrate import Part, gradient_norms
from lcm.training.draws import Draws
from lcm.training.optim import TrainConfig, make_optimiser
from lcm.training.step import Held, TrainStep
from lcm.training.tracker import MemoryTracker

PROBES = (2, 3)  # not 1 and 2: a batch of one takes shortcuts (no copies where an axis has length 1)
_NO_MEMORY = ("can't allocate memory", "not enough memory", "out of memory", "std::bad_alloc", "CUBLAS_STATUS_ALLOC_FAILED")


@dataclass(frozen=True)
class MemoryEstimate:
    """Bytes of one process at the peak of a training step.

    Attributes:
        weights: Of the student, and of a teacher that is asked while training.
        averages: Weights for evaluation and, where there is one, the target network.
        codec: The frozen codec.
        moments: The optimiser's.
        gradients: Of the student.
        activations: What a step needs beyond them at its peak.
    """

    weights: int
    averages: int
    codec: int
    moments: int
    gradients: int
    activations: int

    @property
    def total(self) -> int:
        """The sum."""
        return sum(asdict(self).values())

    def to_gb(self) -> dict[str, float]:
        """Return every part and the total in GB, 10^9 bytes."""
        return {f"{name}_gb": round(size / 1e9, 4) for name, size in {**asdict(self), "total": self.total}.items()}


Pass = Callable[[int], Callable[[], object]]
"""From a number of clips to what a step runs on that many; it may leave gradients."""


def estimate(
    config: TrainConfig,
    network: nn.Module,
    weights: Iterable[nn.Module],
    averages: Iterable[nn.Module],
    codec: nn.Module,
    passes: Iterable[Pass],
) -> MemoryEstimate:
    """Estimate the peak of a training step; weights, gradients and random state stay as they are.

    Args:
        config: The optimisation.
        network: What is trained, without gradients yet, on its device.
        weights: The student and what it asks while training.
        averages: Its averages.
        codec: The frozen codec.
        passes: What a step may run, one after another.
    """
    gradients = sum(p.numel() * p.element_size() for p in network.parameters() if p.requires_grad)
    with torch.random.fork_rng():
        peaks = [_extrapolated(run, network, config.micro_batch) for run in passes]
    moments, update = _optimiser(config, network)
    activations = max(*peaks, gradients + update) - gradients
    return MemoryEstimate(_bytes(weights), _bytes(averages), _bytes([codec]), moments, gradients, activations)


def step_passes(step: TrainStep, source: CropSource, config: TrainConfig, losses: LossConfig, fabric: Fabric) -> list[Pass]:
    """Return a step's forward and backward pass and, where weights are automatic, their calibration.

    Args:
        step: The loss terms, not yet wrapped for several processes.
        source: Draws the clips.
        config: The optimisation.
        losses: The auxiliary terms.
        fabric: Knows the device and the precision.
    """
    last = config.steps - 1  # a curriculum's last stage is its largest

    def clips(count: int) -> Part:
        batch = source.batch(count, seed=0, step=0).to(fabric.device)
        return replace(batch, mask=torch.ones_like(batch.mask)), Draws(0, 0, 0, count)  # the longest that crops can be

    def train(part: Part) -> None:
        # Gradients of an earlier micro-batch, or DDP's buckets, are there while the next is computed.
        for _ in range(min(2, config.accumulate * config.devices)):
            with fabric.autocast():
                terms = step(Held(part[0]), last, part[1])
            torch.stack(list(terms.values())).sum().backward()

    def calibration(part: Part) -> None:
        with fabric.autocast():
            gradient_norms(step, [part], last, [step.objective.name, *losses.auto])

    works = [train, calibration] if losses.auto else [train]
    return [lambda count, work=work: partial(work, clips(count)) for work in works]  # type: ignore[misc]  # the default is no argument


def _extrapolated(run: Pass, network: nn.Module, clips: int) -> int:
    """Return the peak of a pass over a micro-batch."""
    if clips <= max(PROBES):
        return max(_trace(run, network, clips))
    few, more = (_trace(run, network, n) for n in PROBES)
    if len(few) != len(more):  # an operation chose another path
        few, more = [max(few)], [max(more)]
    step = PROBES[1] - PROBES[0]
    peaks = [a + (clips - PROBES[0]) * (b - a) // step for a, b in zip(few, more, strict=True)]
    return max(peaks)


def _trace(run: Pass, network: nn.Module, clips: int) -> list[int]:
    ready = run(clips)
    with MemoryTracker() as tracker:
        ready()
    network.zero_grad(set_to_none=True)
    trace: list[int] = tracker.trace
    return trace


def _optimiser(config: TrainConfig, network: nn.Module) -> tuple[int, int]:
    """Return the bytes of the optimiser's state, and of what an update needs beside it; measured on a copy."""
    copies = [p.detach().clone() for p in network.parameters() if p.requires_grad]
    for copy in copies:
        copy.grad = torch.zeros_like(copy)
    optimiser = make_optimiser(config, copies)
    optimiser.step()
    with MemoryTracker() as tracker:
        optimiser.step()
    return sum(t.nbytes for state in optimiser.state.values() for t in state.values() if isinstance(t, Tensor)), tracker.peak


def _bytes(modules: Iterable[nn.Module]) -> int:
    return sum(t.nbytes for module in modules for t in (*module.parameters(), *module.buffers()))


def reset_peak(device: torch.device) -> None:
    """Start measuring; only CUDA's allocator counts."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def peak_gb(device: torch.device) -> float | None:
    """Return the most that tensors held on the GPU since `reset_peak`, in GB; None on other devices."""
    return torch.cuda.max_memory_allocated(device) / 1e9 if device.type == "cuda" else None


@contextmanager
def explain_out_of_memory(config: TrainConfig, crop_frames: int, where: str) -> Iterator[None]:
    """Turn an allocator's error into one that names the micro-batch, the length and the settings to change.

    Args:
        config: The optimisation.
        crop_frames: Length of a crop.
        where: What was done, and for which run.

    Raises:
        TrainingError: Memory ran out in the body.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:  # torch.OutOfMemoryError is a RuntimeError, the CPU allocator's is no more
        if isinstance(error, RuntimeError) and not any(text in str(error) for text in _NO_MEMORY):
            raise
        raise TrainingError(
            f"Out of memory in {where}, with a micro-batch of {config.micro_batch} crops of {crop_frames} frames "
            f"({crop_frames / FRAME_RATE_HZ:.2f} s) a process. Raise train.accumulate (now {config.accumulate}), set "
            f"train.activation_checkpointing=true (now {str(config.activation_checkpointing).lower()}), or lower data.crop_frames or "
            "network.width. Checkpoints are kept: run the same command with the change."
        ) from error

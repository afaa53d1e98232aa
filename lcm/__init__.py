"""The science: audio in, audio out. Knows nothing of schedulers, hydra or plots."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["upscale"]


def upscale(
    waveform: NDArray[Any],
    sample_rate: int,
    *,
    steps: int = 1,
    cutoff_hz: float | None = None,
    device: str = "auto",
    seed: int = 0,
    source: str = "shipped",
) -> NDArray[np.float32]:
    """Restore the high band of a recording; its own band, level and timing stay.

    Args:
        waveform: [T] or [C, T], floating point with full scale 1.0.
        sample_rate: In Hz, 4,000 to 192,000.
        steps: Network calls.
        cutoff_hz: Where the recording's content ends; None: measured. What is full-band is returned as it is.
        device: `auto`, `cpu` or `cuda`.
        seed: Seed of the noise.
        source: Which model: `shipped`, a path, or the name of a repository on the Hugging Face hub.

    Returns:
        The same layout at 24 kHz, or at the input's own rate where that is higher; a full-band input keeps its rate.
        `lcm.upscaling.Upscaler` returns the rate and the cutoff too, and keeps the model between calls.

    Raises:
        LcmError: The input, a setting or the model cannot be used; the message says what and why.
    """
    from lcm.upscaling import shared

    return shared(source, device, steps, seed)(waveform, sample_rate, cutoff_hz=cutoff_hz).waveform

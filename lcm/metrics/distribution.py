"""Frechet distance between the high bands of two sets of speech: are they spread alike, whatever the pairing?

A patch is 16 log-mel bands of HF x 3 consecutive frames. Gaussians are fitted to the patches of both sets.
Shapes: power [..., bins, frames]; patches [n, 48].
Source: Frechet distance of Gaussians as in FID (Heusel et al. 2017, eq. 6) and FAD (Kilgour et al. 2019).
"""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lcm.errors import LcmError
from lcm.metrics.spectral import active_frames, log_power, power_spectrogram
from lcm.protocol import DEFAULT, Protocol

Array = npt.NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class FrechetResult:
    """Hold the distance in dB^2, the patches it rests on, and why it is NaN (empty when it is not)."""

    value: float
    patches: int
    reason: str = ""


class FrechetDistance:
    """Accumulate HF log-mel patches of estimates and targets over a test set.

    The band is one for the whole set: give the lowest bandwidth in it, or its mel bands would not mean the same
    throughout. Values of sets of different size are not comparable (a small sample inflates the distance).

    Args:
        cutoff_hz: Lower edge of HF.
        bandwidth_hz: Where the content of the narrowest recording ends.
        protocol: STFT, mel bands, patch length, floor and activity threshold.
    """

    def __init__(self, *, cutoff_hz: float, bandwidth_hz: float, protocol: Protocol = DEFAULT) -> None:
        self.protocol = protocol
        self.band_hz = protocol.hf_band_hz(cutoff_hz, bandwidth_hz)
        self._filters, self._reason = _filters_or_reason(self.band_hz, protocol)
        size = protocol.mel_bands * protocol.mel_patch_frames
        self._estimate, self._target = _Moments(size), _Moments(size)

    def update(self, estimate: Tensor, target: Tensor) -> None:
        """Add a pair of signals [T] or [B, T] at 24 kHz."""
        self.update_power(power_spectrogram(estimate, protocol=self.protocol), power_spectrogram(target, protocol=self.protocol))

    def update_power(self, estimate_power: Tensor, target_power: Tensor) -> None:
        """Add a pair by its power [..., bins, frames], for callers that have it; patches are those active in the target."""
        if self._filters is None:
            return
        active = active_frames(target_power, protocol=self.protocol)
        self._estimate.add(self._patches(estimate_power, active))
        self._target.add(self._patches(target_power, active))

    def compute(self) -> FrechetResult:
        """Return the distance over all pairs so far, in dB^2; NaN with a reason where it cannot be estimated."""
        count = self._target.count
        needed = self.protocol.mel_patches_per_dimension * len(self._target.total)
        if self._filters is None:
            return FrechetResult(float("nan"), count, self._reason)
        if count < needed:
            return FrechetResult(
                float("nan"), count, f"{count} patches: a covariance of {len(self._target.total)} dimensions needs {needed}; use more clips"
            )
        return FrechetResult(gaussian_frechet(*self._estimate.fit(), *self._target.fit()), count)

    def _patches(self, power: Tensor, active: Tensor) -> Array:
        """Cut the log-mel spectrum in dB into patches [n, bands * frames] whose middle frame is active, stride one frame."""
        frames = self.protocol.mel_patch_frames
        if self._filters is None or power.shape[-1] < frames:
            return np.zeros((0, len(self._target.total)))
        mel = 10 * log_power(self._filters.to(power.device) @ power, self.protocol.level_floor)
        patches = mel.unfold(-1, frames, 1).transpose(-2, -3).flatten(-2)
        middle = active[..., frames // 2 : frames // 2 + patches.shape[-2]]
        return np.asarray(patches[middle].double().cpu().numpy(), dtype=np.float64)


def _filters_or_reason(band_hz: tuple[float, float], protocol: Protocol) -> tuple[Tensor | None, str]:
    """Return the mel filters, or why the band has none."""
    if band_hz[0] >= band_hz[1]:
        return None, f"the high band {band_hz[0]:g}-{band_hz[1]:g} Hz is empty"
    try:
        return mel_filters(band_hz, protocol=protocol), ""
    except LcmError as error:
        return None, str(error)


def mel_filters(band_hz: tuple[float, float], *, protocol: Protocol = DEFAULT) -> Tensor:
    """Return triangular mel filters [mel_bands, bins] within the band, each of unit sum: a filter gives a mean power.

    Raises:
        LcmError: If the band is so narrow that a filter holds no bin.

    Source: mel = 2595 log10(1 + f / 700) (O'Shaughnessy 1987; HTK).
    """
    low, high = (2595 * np.log10(1 + edge / 700) for edge in band_hz)
    edges = torch.from_numpy(700 * (10 ** (np.linspace(low, high, protocol.mel_bands + 2) / 2595) - 1))[:, None]
    centres = torch.linspace(0, protocol.sample_rate_hz / 2, protocol.stft_size // 2 + 1, dtype=torch.float64)
    rising = (centres - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - centres) / (edges[2:] - edges[1:-1])
    filters = torch.minimum(rising, falling).clamp(min=0)
    sums = filters.sum(1, keepdim=True)
    if not bool((sums > 0).all()):
        raise LcmError(
            f"Frechet distance: the band {band_hz[0]:g}-{band_hz[1]:g} Hz is too narrow for {protocol.mel_bands} mel bands "
            f"of a {protocol.stft_size}-point STFT: expected a bin in each. Use a lower cutoff."
        )
    return (filters / sums).float()


def gaussian_frechet(mean_a: Array, covariance_a: Array, mean_b: Array, covariance_b: Array) -> float:
    """Return |mean_a - mean_b|^2 + tr(A + B - 2 (A B)^(1/2)), at least 0.

    tr (A B)^(1/2) is the sum of the singular values of A^(1/2) B^(1/2), whose factors come from symmetric
    eigenvalues: real and stable for singular covariances too, which scipy's sqrtm of the product is not.
    """
    cross = np.linalg.svd(_symmetric_root(covariance_a) @ _symmetric_root(covariance_b), compute_uv=False).sum()
    difference = mean_a - mean_b
    return max(0.0, float(difference @ difference + np.trace(covariance_a) + np.trace(covariance_b) - 2 * cross))


def _symmetric_root(matrix: Array) -> Array:
    values, vectors = np.linalg.eigh((matrix + matrix.T) / 2)
    return np.asarray((vectors * np.sqrt(values.clip(min=0))) @ vectors.T)


class _Moments:
    """Count, sum and sum of outer products, around a shift that keeps the difference of large numbers small."""

    def __init__(self, size: int) -> None:
        self.count = 0
        self.shift = np.zeros(size)
        self.total = np.zeros(size)
        self.outer = np.zeros((size, size))

    def add(self, patches: Array) -> None:
        """Add patches [n, size]."""
        if self.count == 0 and len(patches):
            self.shift = patches.mean(0)
        centred = patches - self.shift
        self.count += len(patches)
        self.total += centred.sum(0)
        self.outer += centred.T @ centred

    def fit(self) -> tuple[Array, Array]:
        """Return the mean and the unbiased covariance."""
        mean = self.total / self.count
        return mean + self.shift, (self.outer - self.count * np.outer(mean, mean)) / (self.count - 1)

"""Log-spectral metrics on power spectrograms, one value per item.

Shapes: samples [T] or [B, T] at 24 kHz; power [..., bins, frames]; values [] or [B]. A value is NaN where it is not
defined: the band is empty, the clip is shorter than half an STFT window, or no frame is active.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from lcm.protocol import DEFAULT, Protocol


def power_spectrogram(samples: Tensor, *, protocol: Protocol = DEFAULT) -> Tensor:
    """Return the power |X|^2 of the protocol's STFT.

    Args:
        samples: Audio [T] or [B, T] at 24 kHz.
        protocol: Window, size and hop.

    Returns:
        Power [..., size / 2 + 1, frames], float32; no frames where T is at most half the STFT's size.
    """
    if samples.shape[-1] <= protocol.stft_size // 2:  # the ends cannot be reflected
        return samples.new_zeros((*samples.shape[:-1], protocol.stft_size // 2 + 1, 0), dtype=torch.float32)
    window = torch.hann_window(protocol.stft_size, device=samples.device)
    spectrum = torch.stft(samples.float(), protocol.stft_size, protocol.stft_hop, window=window, pad_mode="reflect", return_complex=True)
    return spectrum.real.square() + spectrum.imag.square()


def log_power(power: Tensor, floor: float) -> Tensor:
    """Return log10 of the power, clamped from below at `floor`."""
    return power.clamp(min=floor).log10()


def log_spectral_distance(estimate_log: Tensor, target_log: Tensor) -> Tensor:
    """Average over frames the root mean square over bins of the difference of two log-power spectra.

    Args:
        estimate_log: log10 of the power, [..., bins, frames], cut to the band.
        target_log: The same of the target.

    Returns:
        Distance [...] in units of log10; NaN without bins or frames.

    Source: Gray & Markel (1976), in the form of AP-BWE (Lu et al. 2024).
    """
    return _root_mean((estimate_log - target_log).square())


def log_spectral_distances(estimate_log: Tensor, target_log: Tensor, bands: Mapping[str, slice]) -> dict[str, Tensor]:
    """Return the log-spectral distance in each of several bands; the difference is squared once for all.

    Args:
        estimate_log: log10 of the power, [..., bins, frames], over the whole spectrum.
        target_log: The same of the target.
        bands: Name to bins, which may overlap; no bins give NaN.

    Returns:
        Distance [...] by name.
    """
    squares = (estimate_log - target_log).square()
    return {name: _root_mean(squares[..., bins, :]) for name, bins in bands.items()}


def _root_mean(squares: Tensor) -> Tensor:
    """Average over frames the root of the mean over bins."""
    return squares.mean(-2).sqrt().mean(-1)


def lsd(
    estimate: Tensor,
    target: Tensor,
    *,
    floor: float | None = None,
    band_hz: tuple[float, float] | None = None,
    protocol: Protocol = DEFAULT,
) -> Tensor:
    """Return the log-spectral distance of two signals.

    Args:
        estimate: Audio [T] or [B, T] at 24 kHz.
        target: Audio of the same shape.
        floor: Power floor; the protocol's 1e-8 when not given.
        band_hz: Band (low, high) in Hz; 0 to 12,000 when not given.
        protocol: STFT and band edges.

    Returns:
        Distance [] or [B] in units of log10.
    """
    floor = protocol.lsd_floor if floor is None else floor
    bins = protocol.bins(band_hz or (0.0, protocol.top_hz))
    a, b = (log_power(power_spectrogram(x, protocol=protocol)[..., bins, :], floor) for x in (estimate, target))
    return log_spectral_distance(a, b)


def active_frames(target_power: Tensor, *, protocol: Protocol = DEFAULT) -> Tensor:
    """Return which frames [..., frames] of the target are within 40 dB of its loudest; none in a silent clip."""
    energy = target_power.sum(-2)
    if energy.shape[-1] == 0:
        return energy.bool()
    loudest = energy.amax(-1, keepdim=True)
    return (energy > loudest * 10 ** (-protocol.active_below_peak_db / 10)) & (loudest > 0)


def hf_bias_db(estimate_power: Tensor, target_power: Tensor, *, band_hz: tuple[float, float], protocol: Protocol = DEFAULT) -> Tensor:
    """Return how much louder the estimate's high band is than the target's, averaged in dB over active frames.

    A frame's level is its mean power over the band's bins, clamped at the protocol's floor of 1e-6, so an empty
    estimate gives the target's height above that floor, not minus infinity.

    Args:
        estimate_power: Power [..., bins, frames] over the whole spectrum.
        target_power: The same of the target; its frames within 40 dB of the loudest count.
        band_hz: Band (low, high) in Hz, see `Protocol.level_band_hz`.
        protocol: Floor and activity threshold.

    Returns:
        Bias [...] in dB; 0 is right, negative is dull.
    """
    bins = protocol.bins(band_hz)
    estimate_level, target_level = (
        10 * log_power(power[..., bins, :].mean(-2), protocol.level_floor) for power in (estimate_power, target_power)
    )
    return _masked_mean(estimate_level - target_level, active_frames(target_power, protocol=protocol))


def fine_structure(estimate_power: Tensor, target_power: Tensor, *, band_hz: tuple[float, float], protocol: Protocol = DEFAULT) -> Tensor:
    """Return the ratio of the standard deviations of the high band's fine structure, estimate over target.

    Fine structure is the log10 power (floor 1e-6) minus its own moving average over 500 Hz of frequency, in each
    active frame. Its deviation is the root mean square over the active frames' bins.

    Args:
        estimate_power: Power [..., bins, frames] over the whole spectrum.
        target_power: The same of the target.
        band_hz: Band (low, high) in Hz, see `Protocol.level_band_hz`.
        protocol: Floor, width of the moving average and activity threshold.

    Returns:
        Ratio [...]; 1 is right, below 1 is smoothed as conditional means are, above 1 is noisy. NaN where the target has none.
    """
    bins, active = protocol.bins(band_hz), active_frames(target_power, protocol=protocol)
    estimate_variance, target_variance = (
        _masked_mean(_fine(log_power(power[..., bins, :], protocol.level_floor), protocol).square().mean(-2), active)
        for power in (estimate_power, target_power)
    )
    return torch.where(target_variance > 0, estimate_variance / target_variance, torch.nan).sqrt()


def mr_stft(estimate: Tensor, target: Tensor, *, protocol: Protocol = DEFAULT) -> Tensor:
    """Return auraloss's multi-resolution STFT loss of each item.

    Args:
        estimate: Audio [T] or [B, T] at 24 kHz.
        target: Audio of the same shape.
        protocol: Sizes, hops and windows.

    Returns:
        Loss [] or [B]; NaN for a clip shorter than half the largest window or a silent target.

    Source: Yamamoto et al. (2020), eq. 2-5; auraloss (Steinmetz & Reiss 2020).
    """
    loss = _mr_stft_loss(protocol).to(estimate.device)
    undefined = estimate.new_tensor(torch.nan)
    pairs = zip(torch.atleast_2d(estimate), torch.atleast_2d(target), strict=True)
    fits = estimate.shape[-1] > max(protocol.mr_stft_sizes) // 2
    # One item a call: auraloss's spectral convergence is a norm over the whole batch.
    values = [loss(e[None, None].float(), t[None, None].float()) if fits and bool(t.any()) else undefined for e, t in pairs]
    return torch.stack(values).reshape(estimate.shape[:-1])


@functools.lru_cache(maxsize=4)
def _mr_stft_loss(protocol: Protocol) -> Any:
    from auraloss.freq import MultiResolutionSTFTLoss

    return MultiResolutionSTFTLoss(
        fft_sizes=list(protocol.mr_stft_sizes), hop_sizes=list(protocol.mr_stft_hops), win_lengths=list(protocol.mr_stft_windows)
    )


def _fine(log_spectrum: Tensor, protocol: Protocol) -> Tensor:
    """Subtract the moving average over frequency, which at the band's edges averages the bins there are."""
    half = round(protocol.envelope_hz / 2 * protocol.stft_size / protocol.sample_rate_hz)
    if 0 in log_spectrum.shape:
        return log_spectrum
    rows = log_spectrum.transpose(-1, -2)
    flat = rows.reshape(-1, 1, rows.shape[-1])
    smooth = F.avg_pool1d(flat, 2 * half + 1, stride=1, padding=half, count_include_pad=False)
    return (flat - smooth).reshape(rows.shape).transpose(-1, -2)


def _masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Average values [..., frames] where the mask holds; NaN where it holds nowhere."""
    return torch.where(mask, values, 0.0).sum(-1) / mask.sum(-1)

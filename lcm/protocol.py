"""The evaluation protocol: everything that a metric's value depends on, fixed under one version number.

Records carry the number, so that values of two protocols are never averaged. To change a field, raise `PROTOCOL`:
a test holds each number to its fingerprint.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math

from lcm.errors import LcmError

PROTOCOL = 1


@dataclasses.dataclass(frozen=True)
class Protocol:
    """Fix how estimates are compared with targets.

    Spectra are un-normalised STFTs in float32 of samples in -1..1, centred with reflected ends. Log-spectral values
    are log10 of the power |X|^2, clamped from below at a power floor. Nothing is level-matched: gain is part of the error.

    Source: power floor 1e-8 and STFT as in AP-BWE (Lu et al. 2024); 1e-6 is about the noise of 16-bit samples.
    """

    version: int = PROTOCOL
    sample_rate_hz: int = 24_000
    resampler: str = "soxr VHQ"
    gain: str = "none"
    precision: str = "float32"
    # SI-SDR of a silent estimate is 0 / 0: a fixed, very low value, so that silence is neither left out nor rewarded.
    silent_si_sdr_db: float = -100.0
    # Short-time spectrum behind every log-spectral metric.
    stft_window: str = "hann"
    stft_size: int = 2048
    stft_hop: int = 512
    stft_normalised: bool = False
    # Log-spectral distance: the mean over frames of the root mean square over bins.
    lsd_floor: float = 1e-8
    lsd_floor_16_bit: float = 1e-6
    # Bands. LF is 0 Hz to the cutoff, HF is the cutoff to `top_hz` or to where the recording ends, in whole steps.
    top_hz: float = 12_000.0
    bandwidth_step_hz: float = 500.0
    # HF level and fine structure leave out the edges: 6.5-11.5 kHz for a cutoff of 6 kHz.
    level_guard_hz: float = 500.0
    level_top_hz: float = 11_500.0
    level_floor: float = 1e-6
    active_below_peak_db: float = 40.0
    envelope_hz: float = 500.0
    # Frechet distance of log-mel patches of HF.
    mel_bands: int = 16
    mel_patch_frames: int = 3
    mel_patches_per_dimension: int = 4
    # MR-STFT: spectral convergence + L1 of log magnitudes (Yamamoto et al. 2020), auraloss's defaults spelled out.
    mr_stft_sizes: tuple[int, ...] = (1024, 2048, 512)
    mr_stft_hops: tuple[int, ...] = (120, 240, 50)
    mr_stft_windows: tuple[int, ...] = (600, 1200, 240)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of all fields, 16 hexadecimal digits."""
        fields = json.dumps(dataclasses.asdict(self), sort_keys=True)
        return hashlib.sha256(fields.encode()).hexdigest()[:16]

    @property
    def lsd_bands_hz(self) -> dict[str, tuple[float, float]]:
        """Metric to (low, high) in Hz of the log-spectral distance's steps from 0 Hz to `top_hz`: `lsd_06000hz` is 6,000 to 6,500 Hz."""
        edges_hz = [step * self.bandwidth_step_hz for step in range(math.ceil(self.top_hz / self.bandwidth_step_hz))]
        return {f"lsd_{low:05.0f}hz": (low, min(low + self.bandwidth_step_hz, self.top_hz)) for low in edges_hz}

    def top_of_band_hz(self, bandwidth_hz: float) -> float:
        """Return the upper edge of HF for a recording whose content ends at `bandwidth_hz`: 11,025 gives 11,000."""
        if not bandwidth_hz > 0:
            raise LcmError(f"Protocol: bandwidth_hz is {bandwidth_hz}: expected a positive frequency. Correct the manifest's column.")
        whole_hz = self.bandwidth_step_hz * math.floor(bandwidth_hz / self.bandwidth_step_hz)
        return min(self.top_hz, whole_hz)

    def hf_band_hz(self, cutoff_hz: float, bandwidth_hz: float) -> tuple[float, float]:
        """Return the HF band (low, high) in Hz; it is empty (low >= high) where nothing was removed."""
        return cutoff_hz, self.top_of_band_hz(bandwidth_hz)

    def level_band_hz(self, cutoff_hz: float, bandwidth_hz: float) -> tuple[float, float]:
        """Return HF without its edges, (low, high) in Hz, for levels and fine structure."""
        return cutoff_hz + self.level_guard_hz, min(self.level_top_hz, self.top_of_band_hz(bandwidth_hz))

    def bins(self, band_hz: tuple[float, float]) -> slice:
        """Return the STFT bins whose centres lie in low <= f < high, none where low >= high; a band to 12 kHz includes 12 kHz."""
        if band_hz[0] >= band_hz[1]:
            return slice(0, 0)
        spacing_hz = self.sample_rate_hz / self.stft_size
        first, last = (math.ceil(edge / spacing_hz) for edge in band_hz)
        return slice(first, last + 1 if band_hz[1] >= self.sample_rate_hz / 2 else last)


DEFAULT = Protocol()

"""Remove the high band: resampling to a lower rate and back, or a low-pass filter applied at 24 kHz.

All are free of delay, so that the degraded signal lines up with the original sample by sample. The filters
run forwards and backwards (zero phase): a filter designed with order n acts with order 2n and twice its
attenuation in dB, 6 dB at the cutoff of a Butterworth or Bessel filter.

`reference` is how ASR-LCM-Research prepares its data (preprocessing.py, codes_generation.py): the clip is divided by its
peak, taken to the lower rate by `scipy.signal.resample` (a brick wall in the spectrum) and back by torchaudio's sinc of
width 6. It alone changes the level: `gain` says by what, so that an evaluation can undo it.

Source: the mix of families follows NVSR (Liu et al. 2022, "Neural Vocoder is All You Need for Speech
Super-resolution"), which shows that a model trained on one filter alone fails on others.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import signal

from lcm.audio import SAMPLE_RATE, resample
from lcm.errors import LcmError

FAMILIES = ("resample", "butterworth", "chebyshev", "bessel", "elliptic")
"""What random variants are drawn from, if nothing else is said."""
REFERENCE = "reference"
WITHOUT_ORDER = ("resample", REFERENCE)
REFERENCE_STEP_HZ = 50  # torchaudio's filter bank grows with the denominator of the ratio of the rates
RIPPLE_DB = 0.05  # passband ripple of one pass of chebyshev (type I) and elliptic; 0.1 dB in all
STOPBAND_DB = 40.0  # attenuation of one pass of elliptic; 80 dB in all
MAX_ORDER = 16  # above it the designs lose accuracy at low cutoffs


@dataclass(frozen=True)
class Degradation:
    """One way to remove the high band.

    Attributes:
        cutoff_hz: Upper edge of what is kept, above 0 and below 12,000 Hz.
        family: One of FAMILIES, or `reference`. `resample` goes to a rate of 2 * cutoff_hz and back with soxr VHQ:
            with 6,000 Hz it is 24 -> 12 -> 24 kHz. `reference` does so as ASR-LCM-Research does, for multiples of 50 Hz.
        order: Design order of the filter, 1 to 16; 0 for `resample` and `reference`, which have none. It acts with twice this order.
    """

    cutoff_hz: float = 6_000.0
    family: str = "resample"
    order: int = 0

    def __post_init__(self) -> None:
        if self.family not in (*FAMILIES, REFERENCE):
            valid = ", ".join((*FAMILIES, REFERENCE))
            raise LcmError(f"Unknown filter family {self.family!r} in a degradation. Valid families are: {valid}.")
        if not 0 < self.cutoff_hz < SAMPLE_RATE / 2:
            raise LcmError(f"cutoff_hz = {self.cutoff_hz} in a degradation; expected above 0 and below {SAMPLE_RATE // 2} Hz.")
        if self.family in WITHOUT_ORDER and self.order != 0:
            raise LcmError(f"order = {self.order} for family {self.family!r}, which has none: set it to 0 or choose another family.")
        if self.family not in WITHOUT_ORDER and not 1 <= self.order <= MAX_ORDER:
            raise LcmError(f"order = {self.order} for family {self.family!r}; expected 1 to {MAX_ORDER}.")
        if self.family == REFERENCE and self.cutoff_hz % REFERENCE_STEP_HZ:
            raise LcmError(f"cutoff_hz = {self.cutoff_hz} for family 'reference': expected a multiple of {REFERENCE_STEP_HZ} Hz.")

    @property
    def name(self) -> str:
        """A short name for files and tables, such as `resample-6000` or `butterworth8-5000`."""
        return f"{self.family}{self.order or ''}-{self.cutoff_hz:.10g}"

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as JSON-able values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Degradation:
        """Rebuild from `to_dict`.

        Raises:
            LcmError: A field is unknown or out of range.
        """
        valid = [field.name for field in fields(cls)]
        if unknown := sorted(set(values) - set(valid)):
            raise LcmError(f"Unknown field(s) of a degradation: {', '.join(unknown)}. Valid fields are: {', '.join(valid)}.")
        return cls(**values)


def apply(samples: NDArray[Any], degradation: Degradation) -> NDArray[np.float32]:
    """Degrade a signal; the same input gives the same output.

    Args:
        samples: [T] at 24 kHz.
        degradation: What to do to it.

    Returns:
        [T] at 24 kHz, aligned with the input; by family `reference` at the level of `gain`.

    Raises:
        LcmError: The input has more than one dimension.
    """
    samples = np.asarray(samples)
    if samples.ndim != 1:
        raise LcmError(f"degrade.apply takes one channel, [T]; got shape {samples.shape}. Degrade the channels one by one.")
    if samples.size == 0:
        return samples.astype(np.float32)
    if degradation.family == "resample":
        return _down_and_up(samples, 2 * degradation.cutoff_hz)
    if degradation.family == REFERENCE:
        return _as_the_reference(samples * gain(samples, degradation), int(2 * degradation.cutoff_hz))
    sos = _design(degradation)
    padding = min(3 * (2 * len(sos) + 1), samples.size - 1)
    return signal.sosfiltfilt(sos, samples.astype(np.float64), padlen=padding).astype(np.float32)  # type: ignore[no-any-return]


def gain(samples: NDArray[Any], degradation: Degradation) -> float:
    """Return by what a degradation amplifies a clip [T]: 1, but 1 / peak for `reference`; 1 for silence too."""
    peak = float(np.abs(samples).max()) if degradation.family == REFERENCE and len(samples) else 1.0
    return 1 / peak if peak > 0 else 1.0


def levelled(samples: NDArray[Any], degradation: Degradation) -> NDArray[np.float32]:
    """Return the original [T] at the level that its degraded version has: what a model is to restore and audio losses compare with."""
    return np.asarray(samples * gain(samples, degradation), np.float32)


def _as_the_reference(samples: NDArray[Any], rate_hz: int) -> NDArray[np.float32]:
    """Resample a levelled signal to a lower rate and back as ASR-LCM-Research does; an odd last sample is filled with zero.

    Source: its preprocessing.py (scipy.signal.resample of the whole clip, float32) and encodec.utils.convert_audio (torchaudio).
    """
    import torch

    from lcm.compat import import_encodec

    import_encodec()  # torchaudio may need its stand-in
    from torchaudio.functional import resample as sinc

    count = int(len(samples) * rate_hz) // SAMPLE_RATE
    if count == 0:
        return np.zeros(len(samples), np.float32)
    low = torch.from_numpy(np.asarray(signal.resample(samples.astype(np.float64), count), np.float32))
    restored: NDArray[np.float32] = sinc(low, rate_hz, SAMPLE_RATE).numpy()
    return np.pad(restored, (0, max(0, samples.size - restored.size)))[: samples.size]


def _down_and_up(samples: NDArray[Any], rate_hz: float) -> NDArray[np.float32]:
    """Resample to a lower rate and back, at the same length."""
    restored = resample(resample(samples, SAMPLE_RATE, rate_hz), rate_hz, SAMPLE_RATE)
    return np.pad(restored, (0, max(0, samples.size - restored.size)))[: samples.size]


def _design(degradation: Degradation) -> NDArray[np.float64]:
    """Return second-order sections of the low-pass filter for one pass."""
    order, cutoff_hz = degradation.order, degradation.cutoff_hz
    common: dict[str, Any] = {"btype": "lowpass", "output": "sos", "fs": SAMPLE_RATE}
    designs: dict[str, Any] = {
        "butterworth": lambda: signal.butter(order, cutoff_hz, **common),
        "chebyshev": lambda: signal.cheby1(order, RIPPLE_DB, cutoff_hz, **common),
        "bessel": lambda: signal.bessel(order, cutoff_hz, norm="mag", **common),
        "elliptic": lambda: signal.ellip(order, RIPPLE_DB, STOPBAND_DB, cutoff_hz, **common),
    }
    sections: NDArray[np.float64] = designs[degradation.family]()
    return sections


@dataclass
class DegradationConfig:
    """How many degraded variants an utterance gets, and from which range.

    `reference` has a level of its own, which the store's original codes share: it is not mixed with other families.

    Attributes:
        variants: Number of variants, at least 1.
        cutoff_hz: Cutoff of variant 0, the same for every utterance.
        family: Filter family of variant 0.
        order: Filter order of variant 0; 0 for `resample` and `reference`.
        random_cutoff_hz: Lowest and highest cutoff of the further variants.
        random_families: Families of the further variants.
        random_orders: Lowest and highest order of the further variants.
    """

    variants: int = 1
    cutoff_hz: float = 6_000.0
    family: str = "resample"
    order: int = 0
    random_cutoff_hz: tuple[float, float] = (4_000.0, 8_000.0)
    random_families: tuple[str, ...] = FAMILIES
    random_orders: tuple[int, int] = (2, 10)

    def __post_init__(self) -> None:
        if self.variants < 1:
            raise LcmError(f"variants = {self.variants} in the degradation config; expected at least 1.")
        if not self.random_families:
            raise LcmError(f"random_families is empty in the degradation config. Choose from: {', '.join(FAMILIES)}.")
        used = {self.family, *(self.random_families if self.variants > 1 else ())}
        if REFERENCE in used and self.variants > 1:
            raise LcmError("degradation.variants: family 'reference' changes the level and stands alone: set variants=1 or other families.")
        for name, (low, high) in {"random_cutoff_hz": self.random_cutoff_hz, "random_orders": self.random_orders}.items():
            if low > high:
                raise LcmError(f"{name} = ({low}, {high}) in the degradation config; expected the lower bound first.")

    @property
    def fixed(self) -> Degradation:
        """Variant 0."""
        return Degradation(self.cutoff_hz, self.family, self.order)


def draw(config: DegradationConfig, utterance_id: str, seed: int) -> list[Degradation]:
    """Draw the variants of one utterance.

    Variant 0 is the config's fixed one; variant i depends on (utterance_id, seed, i) alone, so asking for
    more variants keeps the earlier ones.

    Args:
        config: Ranges and the number of variants.
        utterance_id: Id of the utterance in the manifest.
        seed: Seed of the store.

    Returns:
        One degradation for each variant.
    """
    return [config.fixed, *(_draw_one(config, f"{utterance_id}|{seed}|{i}") for i in range(1, config.variants))]


def _draw_one(config: DegradationConfig, key: str) -> Degradation:
    """Draw one random degradation; a hash, for library generators may change between releases."""
    digest = hashlib.sha256(key.encode()).digest()
    family, cutoff, order = (int.from_bytes(digest[6 * i : 6 * i + 6], "big") / 2**48 for i in range(3))
    low_hz, high_hz = config.random_cutoff_hz
    lowest, highest = config.random_orders
    name = config.random_families[int(family * len(config.random_families))]
    steps = 0 if name == "resample" else lowest + int(order * (highest - lowest + 1))
    return Degradation(float(round(low_hz + cutoff * (high_hz - low_hz))), name, steps)

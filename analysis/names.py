"""The systems and metrics of the records, as a reader should see them: label, unit, direction, order."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Metric:
    """One metric of the records.

    Attributes:
        label: name for axes and headers.
        unit: unit for axes, "" where there is none.
        better: "higher", "lower", or "target" (nearest to `target`).
        target: value of a perfect system, for `better="target"`.
        digits: decimals worth printing.
    """

    label: str
    unit: str
    better: str
    target: float = 0.0
    digits: int = 2

    @property
    def axis(self) -> str:
        """Return the axis title: label, unit and direction."""
        hint = {"higher": "↑ better", "lower": "↓ better"}.get(self.better, f"best at {self.target:g}")
        return f"{self.label} ({self.unit}, {hint})" if self.unit else f"{self.label} ({hint})"

    def cost(self, value: float) -> float:
        """Return a number that is lower for a better value."""
        return {"higher": -value, "lower": value}.get(self.better, abs(value - self.target))


METRICS: dict[str, Metric] = {
    "lsd_hf": Metric("LSD-HF", "", "lower"),
    "si_sdr": Metric("SI-SDR", "dB", "higher"),
    "lsd": Metric("LSD", "", "lower"),
    "lsd_lf": Metric("LSD-LF", "", "lower"),
    "mr_stft": Metric("MR-STFT", "", "lower"),
    "stoi": Metric("STOI", "", "higher", digits=3),
    "estoi": Metric("ESTOI", "", "higher", digits=3),
    "frechet_hf": Metric("Fréchet HF", "", "lower", digits=1),
    "hf_bias": Metric("HF bias", "dB", "target", target=0.0),
    "fine_structure": Metric("Fine structure", "", "target", target=1.0),
    "lsd_hf_1e6": Metric("LSD-HF (floor 1e-6)", "", "lower"),
    "lsd_1e6": Metric("LSD (floor 1e-6)", "", "lower"),
    "lsd_lf_1e6": Metric("LSD-LF (floor 1e-6)", "", "lower"),
    "time_encode": Metric("Time, encode", "s", "lower", digits=4),
    "time_network": Metric("Time, network", "s", "lower", digits=4),
    "time_decode": Metric("Time, decode", "s", "lower", digits=4),
    "time_copy": Metric("Time, copy", "s", "lower", digits=4),
    "time_total": Metric("Time per clip", "s", "lower", digits=4),
    "rtf": Metric("RTF", "", "lower", digits=4),
}

SYSTEMS: dict[str, str] = {
    "student": "student",
    "teacher": "teacher",
    "mbd": "MultiBandDiffusion",
    "flow": "flow",
    "token_ce": "token_ce",
    "regression": "regression",
    "degraded_codes": "degraded codes",
    "codec_ceiling": "codec ceiling",
    "sinc": "sinc",
    "linear": "linear",
    "zero_order_hold": "zero-order hold",
}
UNTRAINED = ("mbd", "degraded_codes", "codec_ceiling", "sinc", "linear", "zero_order_hold")
"""Systems without a seed of their own: nothing of them is trained in a sweep."""
RESAMPLERS = ("sinc", "linear", "zero_order_hold")
"""Systems that are never scored with low-band copy: they have the input's band already."""
REFERENCES = ("sinc", "codec_ceiling")
"""Systems that every quality figure and table shows beside the others."""


def metric(name: str) -> Metric:
    """Return the description of a metric; one that is not known is shown under its own name."""
    return METRICS.get(name, Metric(name, "", "lower"))


OPTIMISES: dict[str, tuple[str, ...]] = {
    "mr_stft": ("mr_stft",), "si_sdr": ("si_sdr",), "pesq": ("pesq",), "hf_log_magnitude": ("lsd_hf", "lsd"),
}  # fmt: skip
"""Auxiliary loss -> the metrics it optimises, exactly or nearly: who is trained on a metric is not judged by it alone."""


def system_label(system: str, steps: int) -> str:
    """Return a reader's name for a system and its step count: "student, 1 step"."""
    label = SYSTEMS.get(system, system)
    if steps <= 0:
        return label
    return f"{label}, {steps} step" + ("s" if steps > 1 else "")


def system_order(system: str) -> int:
    """Return the position of a system in tables and legends; unknown systems come last."""
    return list(SYSTEMS).index(system) if system in SYSTEMS else len(SYSTEMS)

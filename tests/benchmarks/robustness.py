"""How `lcm upscale` does on inputs that are not those of training: other filters and cutoffs, MP3, telephone, music and noise.

    OMP_NUM_THREADS=1 python tests/benchmarks/robustness.py SPEECH [-o FOLDER] [--source MODEL] [--clips N] [--strength S] [--only WORDS]

Every clip is degraded, written as the condition says, restored as a user would (nothing is told: the bandwidth is measured), and scored
against the original beside `sinc`, the degraded input brought to 24 kHz and nothing more. HF is above the condition's cutoff. Music and
noise are synthesised: chords of decaying harmonics, and pink noise. Prints a table, and writes robustness.md and robustness.csv.
"""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import soundfile
import torch
from numpy.typing import NDArray
from scipy import signal

from lcm import degrade
from lcm.audio import load_mono_24k, resample
from lcm.corpus.bandwidth import detect_bandwidth_hz
from lcm.degrade import Degradation
from lcm.metrics import score
from lcm.upscaling import Upscaler
from lcm.upscaling.core import STRENGTH

Audio = NDArray[np.float32]
RATE = 24_000
TRAINED = "12 kHz (training's)"
METRICS = ("lsd_hf", "lsd_lf", "lsd", "si_sdr")


def filtered(cutoff_hz: float, family: str = "resample", order: int = 0) -> Callable[[Audio], tuple[Audio, int]]:
    """Return a low-pass at 24 kHz."""
    return lambda x: (degrade.apply(x, Degradation(cutoff_hz, family, order)), RATE)


def rate(hz: int) -> Callable[[Audio], tuple[Audio, int]]:
    """Return resampling to a lower sample rate."""
    return lambda x: (resample(x, RATE, hz), hz)


def mp3(hz: int, level: float) -> Callable[[Audio], tuple[Audio, int]]:
    """Return MP3 at a sample rate, by libsndfile's constant bit rate at a compression level, brought back to the input's start."""

    def encode(x: Audio) -> tuple[Audio, int]:
        low, file = resample(x, RATE, hz), io.BytesIO()
        settings = {"format": "MP3", "subtype": "MPEG_LAYER_III", "compression_level": level, "bitrate_mode": "CONSTANT"}
        with soundfile.SoundFile(file, "w", samplerate=hz, channels=1, **settings) as out:
            out.write(low)
        file.seek(0)
        decoded = soundfile.read(file, dtype="float32")[0]
        lag = int(np.argmax(signal.correlate(decoded[: 8 * hz], low[: 8 * hz]))) - (min(len(low), 8 * hz) - 1)
        return np.pad(decoded[max(lag, 0) :], (max(-lag, 0), len(low)))[: len(low)].astype(np.float32), hz

    return encode


def telephone(x: Audio) -> tuple[Audio, int]:
    """Return 300 to 3400 Hz at 8 kHz in mu-law."""
    low = resample(x, RATE, 8_000)
    low = signal.sosfiltfilt(signal.butter(4, (300, 3_400), "bandpass", fs=8_000, output="sos"), low)
    squeezed = np.sign(low) * np.log1p(255 * np.abs(np.clip(low, -1, 1))) / np.log(256)
    coded = np.round(squeezed * 127) / 127
    return (np.sign(coded) * np.expm1(np.abs(coded) * np.log(256)) / 255).astype(np.float32), 8_000


CONDITIONS: dict[str, tuple[float, Callable[[Audio], tuple[Audio, int]]]] = {
    TRAINED: (6_000, rate(12_000)),
    "8 kHz": (4_000, rate(8_000)),
    "16 kHz": (8_000, rate(16_000)),
    "resampled, 5 kHz": (5_000, filtered(5_000)),
    "Butterworth 8, 5 kHz": (5_000, filtered(5_000, "butterworth", 8)),
    "Butterworth 4, 6 kHz": (6_000, filtered(6_000, "butterworth", 4)),
    "Chebyshev 6, 6 kHz": (6_000, filtered(6_000, "chebyshev", 6)),
    "Bessel 8, 6 kHz": (6_000, filtered(6_000, "bessel", 8)),
    "elliptic 6, 7 kHz": (7_000, filtered(7_000, "elliptic", 6)),
    "MP3 32 kbps, 12 kHz": (6_000, mp3(12_000, 0.5)),
    "MP3 32 kbps, 16 kHz": (8_000, mp3(16_000, 0.83)),
    "MP3 64 kbps, 16 kHz": (8_000, mp3(16_000, 0.62)),
    "telephone, mu-law": (3_400, telephone),
}


def chords(seconds: float) -> Audio:
    """Return chords of decaying harmonics up to 11 kHz."""
    time_s, made, generator = np.arange(int(seconds * RATE)) / RATE, np.zeros(int(seconds * RATE)), np.random.default_rng(0)
    for start in np.arange(0, seconds, 0.5):
        age = np.clip(time_s - start, 0, None)
        for note in generator.choice([110, 146.8, 164.8, 220, 277.2, 329.6], 3, replace=False):
            for k in range(1, int(11_000 / note)):
                made += (time_s >= start) * np.exp(-age * (2 + 0.3 * k)) * np.sin(2 * np.pi * k * note * age) / k
    return (0.3 * made / np.abs(made).max()).astype(np.float32)


def pink(seconds: float) -> Audio:
    """Return pink noise."""
    spectrum = np.fft.rfft(np.random.default_rng(1).standard_normal(int(seconds * RATE)))
    noise = np.fft.irfft(spectrum / np.sqrt(np.maximum(np.arange(len(spectrum)), 1)))
    return (0.1 * noise / np.abs(noise).std() / 3).astype(np.float32)


def clips(folder: Path, most: int) -> Iterator[tuple[str, str, Audio]]:
    """Yield kind, name and samples at 24 kHz."""
    files = sorted(path for path in folder.rglob("*") if path.suffix in {".flac", ".wav", ".ogg"})
    for path in files[: most or None]:
        yield "speech", path.stem, load_mono_24k(path)
    yield "music (synthesised)", "chords", chords(8)
    yield "pink noise", "pink", pink(8)


def measure(upscaler: Upscaler, kind: str, name: str, original: Audio) -> Iterator[dict[str, object]]:
    """Yield the rows of one clip."""
    bandwidth_hz = detect_bandwidth_hz(original, RATE)
    for condition, (cutoff_hz, make) in CONDITIONS.items():
        if kind != "speech" and condition != TRAINED:
            continue
        degraded, hz = make(original)
        result = upscaler(degraded, hz)
        plain = degraded if hz == RATE else resample(degraded, hz, RATE)
        for system, made in (("lcm upscale", result.waveform), ("sinc", plain)):
            fitted = np.pad(made[: len(original)], (0, max(0, len(original) - len(made))))
            values = score(torch.from_numpy(fitted), torch.from_numpy(original), cutoff_hz=cutoff_hz, bandwidth_hz=bandwidth_hz)
            row = {"condition": condition if kind == "speech" else kind, "clip": name, "system": system, "measured_hz": result.cutoff_hz}
            yield {**row, **{metric: values[metric] for metric in METRICS}}


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """Return means by condition, `lcm upscale` beside sinc."""
    means = rows.groupby(["condition", "system"], sort=False)[[*METRICS, "measured_hz"]].mean().unstack("system")
    made = pd.DataFrame({"edge found, Hz": means["measured_hz"]["sinc"].round(0).astype(int)})
    for metric in METRICS:
        made[f"{metric}"] = means[metric]["lcm upscale"].round(2)
        made[f"{metric}, sinc"] = means[metric]["sinc"].round(2)
    return made


def markdown(made: pd.DataFrame) -> str:
    """Return a table in Markdown."""
    lines = ["| condition | " + " | ".join(made.columns) + " |", "|---" * (len(made.columns) + 1) + "|"]
    lines += [
        "| " + " | ".join([str(name), *(f"{value:g}" for value in row)]) + " |"
        for name, row in zip(made.index, made.to_numpy(), strict=True)
    ]
    return "\n".join(lines)


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("speech", type=Path)
    parser.add_argument("-o", "--out", type=Path)
    parser.add_argument("--source", default="shipped")
    parser.add_argument("--clips", type=int, default=0)
    parser.add_argument("--strength", type=float, default=STRENGTH)
    parser.add_argument("--only", default="", metavar="WORDS", help="conditions whose name holds these words")
    asked = parser.parse_args()
    for name in [name for name in CONDITIONS if asked.only not in name]:
        del CONDITIONS[name]
    upscaler, rows = Upscaler.load(asked.source, strength=asked.strength), []
    for kind, name, original in clips(asked.speech, asked.clips):
        rows += measure(upscaler, kind, name, original)
        print(f"{kind}: {name}", file=sys.stderr)
    frame = pd.DataFrame(rows)
    print(markdown(table(frame)))
    if asked.out:
        asked.out.mkdir(parents=True, exist_ok=True)
        (asked.out / "robustness.md").write_text(markdown(table(frame)) + "\n", encoding="utf-8")
        frame.round(4).to_csv(asked.out / "robustness.csv", index=False)


if __name__ == "__main__":
    main()

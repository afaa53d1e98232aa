"""What upscaling costs against the stock `encodec` package's encode + decode of the same audio, and where the time goes.

    OMP_NUM_THREADS=2 python tests/benchmarks/upscaling.py [--seconds 20] [--rounds 9] [-o FILE.md]

Upscaling is end to end: bandwidth detection, encode, network, decode, low-band copy; EnCodec has random weights of the real
architecture. Cases take turns within each round, so that a machine that slows down slows all of them down; times are the best of the
rounds, ratios are medians over rounds of ratios within one, with the ratio of the best beside them.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lcm.audio import SAMPLE_RATE, resample
from lcm.codec import Codec, CodecConfig, load_codec
from lcm.codec_speed import fast
from lcm.model import Model, ModelSpec
from lcm.network_speed import fast_model
from lcm.pretrained import from_pretrained
from lcm.provenance import processor
from lcm.upscaling.core import Upscaler

SECTIONS = ("encode", "network", "decode")
COLUMNS = ("system", "ms", "of stock (median)", "of stock (best)", "RTF", *(f"{name} ms" for name in SECTIONS), "rest ms")


class Clock:
    """Charges calls to sections: those of the fastest round are kept."""

    def __init__(self) -> None:
        self.seconds = dict.fromkeys(SECTIONS, 0.0)

    def charge(self, section: str, owner: Any, method: str) -> None:
        """Time a method of an object from now on."""
        inner = getattr(owner, method)

        def timed(*given: Any, **named: Any) -> Any:
            start_s = time.perf_counter()
            result = inner(*given, **named)
            self.seconds[section] += time.perf_counter() - start_s
            return result

        object.__setattr__(owner, method, timed)


@dataclass
class Case:
    """One system: what it is called, what it runs, its clock, and (total, sections) in seconds round by round."""

    name: str
    run: Callable[[], object]
    clock: Clock | None = None
    rounds: list[tuple[float, dict[str, float]]] = field(default_factory=list)

    @property
    def totals_s(self) -> list[float]:
        return [total for total, _ in self.rounds]


def codec_case(name: str, codec: Codec, audio: torch.Tensor) -> Case:
    """Return encode + decode; the stock codec goes through its package's own calls."""
    if "stock" in name:
        return Case(name, lambda: codec.model.decode(codec.model.encode(audio)))
    return Case(name, lambda: codec.decode(codec.latents(codec.encode(audio)), audio.shape[-1]))


def upscaling_case(name: str, model: Model, codec: Codec, wave: np.ndarray) -> Case:
    """Return whole upscaling."""
    upscaler, clock = Upscaler(model, codec), Clock()
    for section, owner, method in zip(
        SECTIONS, (upscaler.codec, upscaler.model, upscaler.codec), ("encode", "restore", "decode"), strict=True
    ):
        clock.charge(section, owner, method)
    if upscaler(wave, SAMPLE_RATE).passed:
        raise SystemExit(f"{name}: the input was passed through: there is nothing to time.")
    return Case(name, lambda: upscaler(wave, SAMPLE_RATE), clock)


def cases(seconds: float) -> list[Case]:
    """Return the systems; the first is what the others are compared with."""
    noise = 0.1 * np.random.default_rng(0).standard_normal(round(seconds * SAMPLE_RATE)).astype(np.float32)
    wave = resample(resample(noise, SAMPLE_RATE, 12_000), 12_000, SAMPLE_RATE)[: len(noise)]
    audio = torch.from_numpy(wave)[None, None]
    stock = load_codec(CodecConfig("encodec_24khz", 6.0, weights="random"))
    model = Model(ModelSpec("consistency", (stock.n_q,), stock.identity), stock).eval()
    student, small = from_pretrained("shipped", device="cpu")
    return [
        codec_case("stock encodec: encode + decode", stock, audio),
        codec_case("fast encodec: encode + decode", fast(stock), audio),
        upscaling_case("upscaling, EnCodec 24 kHz", fast_model(model), fast(stock), wave),
        codec_case("encodec_small: encode + decode", small, audio),
        codec_case("fast encodec_small: encode + decode", fast(small), audio),
        upscaling_case("upscaling, encodec_small", fast_model(student), fast(small), wave),
    ]


@torch.no_grad()
def measure(timed: list[Case], rounds: int) -> None:
    """Time every case once a round, after one unmeasured round."""
    for number in range(rounds + 1):
        for case in timed:
            if case.clock:
                case.clock.seconds = dict.fromkeys(SECTIONS, 0.0)
            start_s = time.perf_counter()
            case.run()
            total_s = time.perf_counter() - start_s
            if number:
                case.rounds.append((total_s, case.clock.seconds if case.clock else {}))


def rows(timed: list[Case], seconds: float) -> list[list[str]]:
    """Return a row a case."""
    stock, table = timed[0].totals_s, []
    for case in timed:
        best_s, sections = min(case.rounds, key=lambda r: r[0])
        ratio = statistics.median(own / theirs for own, theirs in zip(case.totals_s, stock, strict=True))
        parts = (
            [f"{1e3 * sections[name]:.1f}" for name in SECTIONS] + [f"{1e3 * (best_s - sum(sections.values())):.1f}"]
            if sections
            else [""] * 4
        )
        table.append([case.name, f"{1e3 * best_s:.1f}", f"{ratio:.3f}", f"{best_s / min(stock):.3f}", f"{best_s / seconds:.4f}", *parts])
    return table


def main() -> None:
    """Parse the command line, measure, print and write."""
    parser = argparse.ArgumentParser(prog="python tests/benchmarks/upscaling.py", description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seconds", type=float, default=20.0, help="length of the audio; default: 20")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--only", default="", metavar="TEXT", help="only systems whose names hold this, against the first of them")
    parser.add_argument("-o", "--output", type=Path, help="write the table there, as Markdown")
    asked = parser.parse_args()
    timed = [case for case in cases(asked.seconds) if asked.only in case.name]
    before = os.getloadavg()[0]
    measure(timed, asked.rounds)
    load = f"load {before:.1f} before, {os.getloadavg()[0]:.1f} after"
    where = f"{processor()}, {torch.get_num_threads()} thread(s), torch {torch.__version__}"
    title = f"{asked.seconds:g} s at 24 kHz; {where}, {asked.rounds} rounds, {load}"
    lines = [list(COLUMNS), ["---"] * len(COLUMNS), *rows(timed, asked.seconds)]
    text = f"{title}\n\n" + "".join(f"| {' | '.join(line)} |\n" for line in lines)
    print(text)
    if asked.output:
        asked.output.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()

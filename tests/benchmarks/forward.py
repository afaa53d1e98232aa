"""One forward pass for K codebooks against the reference's K passes: same width, depth and heads, same machine, one run.

    OMP_NUM_THREADS=2 python tests/benchmarks/forward.py [-o FILE.csv|FILE.md]

Cases take turns within each round, so that a machine that slows down slows all of them down; a ratio is the median over
rounds of (the reference's time / the case's time in the same round). Output is what the pass ends with: `latents` (for the
decoder), `tokens` (requantised block by block, as the reference ends with an argmax) or `logits` (for the token loss; the
reference's own). The codec's encoder and decoder are not part of it.
"""

from __future__ import annotations

import argparse
import csv
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from lcm.blocks import Blocks
from lcm.codec import FRAME_RATE_HZ, Codec, CodecConfig, load_codec
from lcm.network import LcmMcb, NetworkConfig
from lcm.reference import ReferenceConfig, TokenClassifier
from lcm.timing import synchronise

WIDTH, DEPTH, HEADS = 256, 6, 8
CUTOFF_HZ, GOAL, BITS = 6000.0, 12.0, 0.75
"""Bandwidth of the input; how many times faster is wanted; kbps of one codebook."""
COLUMNS = ("system", "blocks", "cascade", "output", "ms", "ratio", "ratio_low", "ratio_high", "ratio_best", "ratio_1024")


@dataclass
class Case:
    """A forward pass to time: what it is called, what it runs, and its milliseconds round by round."""

    system: str
    run: Callable[[], object]
    blocks: str = ""
    cascade: str = ""
    output: str = ""
    times_ms: list[float] = field(default_factory=list)


def partitions(codebooks: int) -> list[tuple[int, ...]]:
    """Return one block, four equal ones, doubling ones and one a codebook; K = 32 gives [1, 1, 2, 4, 8, 16]."""
    doubling = (1, *(2**i for i in range(codebooks.bit_length() - 1)))
    return [(codebooks,), (codebooks // 4,) * 4, doubling, (1,) * codebooks]


def reference_case(codec: Codec, frames: int, feedforward: int) -> Case:
    """Return the reference's passes; in evaluation mode PyTorch runs its fused layers."""
    model = TokenClassifier(ReferenceConfig(WIDTH, DEPTH, HEADS, feedforward), codec.n_q).eval().to(codec.device)
    codes = torch.randint(1024, (1, codec.n_q, frames), device=codec.device)
    return Case(f"reference {feedforward}", lambda: model(codes).argmax(-1), output="tokens")


def our_case(codec: Codec, partition: tuple[int, ...], frames: int, output: str, head_width: int, *, cascade: bool) -> Case:
    """Return one pass of LCM-MCB at the reference's width, depth and heads; its feed-forward width is 4 x 256."""
    config = NetworkConfig(WIDTH, DEPTH, HEADS, head_width=head_width, cascade=cascade, logits=output == "logits")
    model = LcmMcb(config, partition, codec.dimension).eval().to(codec.device)
    blocks = Blocks(partition, codec.dimension).to(codec.device)
    codes = torch.randint(1024, (1, codec.n_q, frames), device=codec.device)
    x = torch.randn(1, len(partition) * codec.dimension, frames, device=codec.device)
    sigma, cutoff = torch.full((1,), 10.0, device=codec.device), torch.full((1,), CUTOFF_HZ, device=codec.device)

    def run() -> object:
        prediction = model(x, sigma, blocks.condition(codec, codes), cutoff, logits=output == "logits")
        if output == "logits":
            return prediction.logits
        return blocks.to_codes(codec, prediction.state) if output == "tokens" else blocks.to_latents(prediction.state)

    name = str(list(partition)) if len(partition) <= 8 else f"[{partition[0]}] * {len(partition)}"
    return Case("LCM-MCB", run, name, "on" if cascade else "off", output)


def cases(codec: Codec, frames: int, head_width: int) -> list[Case]:
    """Return the reference at both feed-forward widths, then ours for every output, partition and cascade."""
    ours = [
        our_case(codec, partition, frames, output, head_width, cascade=cascade)
        for output, partition, cascade in product(("latents", "tokens", "logits"), partitions(codec.n_q), (True, False))
        if cascade or len(partition) > 1  # one block has no earlier ones to see
    ]
    return [*(reference_case(codec, frames, width) for width in (2048, 1024)), *ours]


@torch.no_grad()
def measure(timed: list[Case], rounds: int, device: torch.device) -> None:
    """Time every case once a round, after one unmeasured round."""
    for number in range(rounds + 1):
        for case in timed:
            synchronise(device)
            start_s = time.perf_counter()
            case.run()
            synchronise(device)
            if number:
                case.times_ms.append(1e3 * (time.perf_counter() - start_s))


def rows(timed: list[Case]) -> list[dict[str, str]]:
    """Return a row a case: median milliseconds, and how many times faster than the reference it is.

    `ratio` is the median over rounds, with its quartiles; `ratio_best` compares the fastest rounds, which a busy machine
    disturbs least; `ratio_1024` is the median against the reference with our feed-forward width.
    """
    wide, narrow = timed[0], timed[1]
    table = []
    for case in timed:
        ratios = sorted(a / b for a, b in zip(wide.times_ms, case.times_ms, strict=True))
        fair = statistics.median(a / b for a, b in zip(narrow.times_ms, case.times_ms, strict=True))
        best = min(wide.times_ms) / min(case.times_ms)
        numbers = (statistics.median(case.times_ms), statistics.median(ratios), _at(ratios, 0.25), _at(ratios, 0.75), best, fair)
        values = (case.system, case.blocks, case.cascade, case.output, *(f"{n:.2f}" for n in numbers))
        table.append(dict(zip(COLUMNS, values, strict=True)))
    return table


def _at(ordered: list[float], share: float) -> float:
    return ordered[round(share * (len(ordered) - 1))]


def write(path: Path, title: str, table: list[dict[str, str]]) -> None:
    """Write the rows as CSV, or as a Markdown table under its title."""
    with path.open("w", newline="") as file:
        if path.suffix != ".md":
            writer = csv.DictWriter(file, COLUMNS)
            writer.writeheader()
            writer.writerows(table)
            return
        lines = [list(COLUMNS), ["---"] * len(COLUMNS), *(list(row.values()) for row in table)]
        file.write(f"{title}\n\n" + "".join(f"| {' | '.join(line)} |\n" for line in lines))


def show(title: str, table: list[dict[str, str]]) -> None:
    """Print the rows; ratios that reach the goal are green."""
    view = Table(*COLUMNS, title=title)
    for row in table:
        style = "green" if row["system"] == "LCM-MCB" and float(row["ratio"]) >= GOAL else None
        view.add_row(*row.values(), style=style)
    Console(width=140).print(view)


def main() -> None:
    """Parse the command line, measure, show and write."""
    parser = argparse.ArgumentParser(prog="python tests/benchmarks/forward.py", description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("-o", "--output", type=Path, help="write the table there, as .csv or .md")
    parser.add_argument("--codebooks", type=int, default=32, choices=(8, 16, 32))
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--head-width", type=int, default=NetworkConfig.head_width, help="hidden channels of our block heads")
    asked = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    where = torch.cuda.get_device_name() if device.type == "cuda" else f"CPU, {torch.get_num_threads()} thread(s)"
    codec = load_codec(CodecConfig("encodec_24khz", BITS * asked.codebooks, weights="random")).to(device)
    timed = cases(codec, round(asked.seconds * FRAME_RATE_HZ), asked.head_width)
    measure(timed, asked.rounds, device)
    what = f"{asked.codebooks} codebooks, {asked.seconds:g} s, head width {asked.head_width}"
    title = f"{what}; {where}, torch {torch.__version__}, {asked.rounds} rounds, against row 1"
    table = rows(timed)
    show(title, table)
    if asked.output:
        write(asked.output, title, table)


if __name__ == "__main__":
    main()

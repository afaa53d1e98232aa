"""From timings to rows: ratios of medians to MultiBandDiffusion as audiocraft runs it, clip by clip.

A system that was not measured has a row with its reason.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from lcm.speed.honest import Timing
from lcm.speed.published import Published

STOCK = "mbd"


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        system, codebooks, network, calls, codec, batch: What was timed; `codec` is empty where nothing was.
        tflop: 1e12 operations of its network a clip.
        encode_s, network_s, decode_s: Median seconds a clip.
        whole_s, fastest_s, slowest_s: With encoding and decoding: median, fastest and slowest round.
        bare_ratio, whole_ratio: How many times less than stock MultiBandDiffusion's; None without it.
        bare_rtf, whole_rtf: Seconds a second of audio.
        rounds: Measured rounds.
        missing: Why there are no times.
    """

    system: str
    codebooks: int
    network: str = ""
    calls: int = 0
    codec: str = ""
    batch: int = 1
    tflop: float | None = None
    encode_s: float | None = None
    network_s: float | None = None
    decode_s: float | None = None
    whole_s: float | None = None
    fastest_s: float | None = None
    slowest_s: float | None = None
    bare_ratio: float | None = None
    whole_ratio: float | None = None
    bare_rtf: float | None = None
    whole_rtf: float | None = None
    rounds: int = 0
    missing: str = ""
    key: str = ""

    def to_dict(self) -> dict[str, object]:
        """Return the fields."""
        return asdict(self)


def rows(timings: Sequence[Timing], missing: Mapping[str, str], tflops: Mapping[int, float | None]) -> list[Row]:
    """Return a row a timing, then one for each system that is missing.

    Args:
        timings: What was measured.
        missing: Reasons by name.
        tflops: Operations by `id` of the system.
    """
    stock = next((t for t in timings if t.system.key == STOCK and t.batch == 1), None)
    return [_row(t, stock, tflops.get(id(t.system))) for t in timings] + [Row(name, 0, missing=why) for name, why in missing.items()]


def _row(timing: Timing, stock: Timing | None, tflop: float | None) -> Row:
    system, networks = timing.system, timing.system.calls > 0
    low, high = timing.spread
    return Row(
        system.label, system.codebooks, system.network, system.calls, system.codec, timing.batch, tflop,
        timing.section_s("encode"), timing.bare_s if networks else None, timing.section_s("decode"), timing.whole_s, low, high,
        stock.bare_s / timing.bare_s if stock and networks else None, stock.whole_s / timing.whole_s if stock else None,
        timing.bare_s / timing.clip_s if networks else None, timing.whole_s / timing.clip_s, timing.rounds, key=system.key,
    )  # fmt: skip


@dataclass(frozen=True)
class PublishedRow:
    """One line of the reference's protocol.

    Attributes:
        system, codebooks: What was timed.
        batch_s: Mean seconds a batch of two clips, as that protocol sees them.
        ratio: How many times less than MultiBandDiffusion's; None without it.
        batches: Measured batches.
    """

    system: str
    codebooks: int
    batch_s: float
    ratio: float | None
    batches: int
    key: str = ""

    def to_dict(self) -> dict[str, object]:
        """Return the fields."""
        return asdict(self)


def published_rows(measured: Sequence[Published]) -> list[PublishedRow]:
    """Return a row a system; ratios are of means, as published."""
    stock = next((m.mean_s for m in measured if m.system.key == STOCK), None)
    return [
        PublishedRow(m.system.label, m.system.codebooks, m.mean_s, stock / m.mean_s if stock else None, len(m.seconds), m.system.key)
        for m in measured
    ]

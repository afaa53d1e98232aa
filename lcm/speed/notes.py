"""Where the two protocols differ and why, a line each; and what the table says first."""

from __future__ import annotations

from collections.abc import Sequence

from lcm.speed.config import FULL_CALLS, SpeedConfig
from lcm.speed.table import Row

GOALS = {"whole, 8 codebooks": 200.0, "bare, 32 codebooks": 900.0, "bare, 8 codebooks": 2000.0}

DIFFERENCES = (
    "Codec: the reference times the student's logits and argmax alone. Users wait for encoding and decoding: here both sides have them.",
    "Synchronisation: without it a GPU's clock stops when work is queued, not when it is done. On a CPU it makes no difference.",
    "Batch: its time is that of a batch of two clips, noted for each of the two. Here a time is divided by the clips of its batch.",
    "Warm-up: its first batch counts, with all that happens once. Here nothing counts before each system has run.",
    "Codebooks: its teacher was trained for 4 codebooks and is given 32, so its condition is none that it has seen. The time is the same.",
    "Equaliser: it times `generate`; `tokens_to_wav`, which made its teacher's audio, also decodes and matches 32 bands.",
    "Teacher's level: its teacher is scored as stored, loudness-normalised and compressed by tanh, which SI-SDR counts as distortion.",
    "Band: MultiBandDiffusion decodes tokens; it was not trained to add anything above its input's band, whatever it costs.",
    "SI-SDR: it stands without a baseline. Plain sinc resampling of the same input has about 19.5 dB, 16 more than its student's 3.27.",
)
QUIET = 0.7  # load above which others take a core's time


def headline(rows: Sequence[Row]) -> list[str]:
    """Return the student's one step against stock MultiBandDiffusion, with the codec first, for each number of codebooks."""
    lines = []
    for row in rows:
        if row.key == "student-1" and row.batch == 1 and row.whole_ratio and row.bare_ratio and row.whole_s and row.network_s:
            lines.append(
                f"{row.codebooks} codebooks, codec {row.codec}: one step of the student takes {1e3 * row.whole_s:.0f} ms with encoding and "
                f"decoding, **{row.whole_ratio:.0f}x** less than audiocraft's MultiBandDiffusion; {1e3 * row.network_s:.1f} ms and "
                f"{row.bare_ratio:.0f}x bare."
            )
    return lines or ["No headline: it needs the systems mbd and student-1."]


def goals(rows: Sequence[Row]) -> list[str]:
    """Return which goals are reached, for the codecs of the goals."""
    found: dict[str, float] = {}
    for row in rows:
        if row.key == "student-1" and row.batch == 1:
            for kind, ratio in (("whole", row.whole_ratio), ("bare", row.bare_ratio)):
                name = f"{kind}, {row.codebooks} codebooks"
                found[name] = max(found.get(name, 0.0), ratio or 0.0)
    return [f"Goal {name}, at least {goal:.0f}x: {_verdict(found.get(name, 0.0), goal)}." for name, goal in GOALS.items()]


def _verdict(found: float, goal: float) -> str:
    return f"{found:.0f}x, {'reached' if found >= goal else 'missed'}" if found else "not measured"


def caveats(config: SpeedConfig, load: float = 0.0) -> list[str]:
    """Return what a reader must know of this run; `load` is the machine's before it."""
    lines = []
    if load > QUIET:
        lines.append(f"The machine was NOT idle (load {load:.2f} before the run): threads waited for each other, so no ratio is safe.")
    if config.mbd_calls != FULL_CALLS:
        lines.append(f"MultiBandDiffusion ran {config.mbd_calls} of its {FULL_CALLS} calls a band: NOT its full time, and no ratio is.")
    if (config.hidden, config.res_blocks) != (48, 2):
        lines.append("MultiBandDiffusion's U-Nets were not of the released size: its times mean nothing.")
    kinds = {"random": "untrained", "pretrained": "released"}
    lines.append(
        f"Weights: MultiBandDiffusion {kinds[config.weights]}, codec {kinds[config.codec_weights]}, other networks untrained at full size"
        + (f", and the trained points of {config.root}." if config.root else ".")
    )
    lines.append(
        "Fast codec: not used." if not config.fast_codec else
        "Fast codec: `lcm.codec_speed`, and for our networks `lcm.network_speed`, in the rows that say so; audiocraft's and the "
        "reference's rows have both as published."
    )  # fmt: skip
    return lines

"""The command line."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lcm.speed.config import SYSTEMS, SpeedConfig


def parse(words: Sequence[str]) -> tuple[SpeedConfig, Path | None]:
    """Return the settings, and the folder to write to if there is one.

    Raises:
        LcmError: A value is out of range.
    """
    given: dict[str, Any] = vars(_parser().parse_args(list(words)))
    out = given.pop("output")
    settings: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in given.items()}
    return SpeedConfig(**settings), out


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m lcm.speed",
        description="Time MultiBandDiffusion, the latent teacher, the student and the reference's student, by an honest protocol and by "
        "the reference's, in one run. Models are untrained at full size unless weights are named: time does not depend on them.",
    )
    default = SpeedConfig()

    def add(name: str, text: str, **how: Any) -> None:
        field = name.lstrip("-").replace("-", "_")
        value = getattr(default, field)
        settings = {"type": type(value), "default": value, "help": text, **how}
        parser.add_argument(name, **settings)

    add("--codec", "which codec (default: %(default)s)", choices=("encodec_24khz", "encodec_small"))
    add("--codec-weights", "default: %(default)s", choices=("random", "pretrained"))
    add("--codec-folder", "folder of the codec's weights", metavar="FOLDER")
    add("--kbps", "bandwidths: 6 is 8 codebooks, 24 is 32 (default: both)", nargs="+", type=float, metavar="KBPS")
    add("--weights", "weights of MultiBandDiffusion (default: %(default)s)", choices=("random", "pretrained"))
    add("--folder", "folder of these weights", metavar="FOLDER")
    add("--bw", "bandwidth that MultiBandDiffusion was trained for (default: %(default)g kbps)", choices=(1.5, 3.0, 6.0))
    add("--hidden", "channels of its U-Nets; other than %(default)s for tests")
    add("--res-blocks", "residual blocks of a layer of its U-Nets; other than %(default)s for tests")
    add("--seconds", "length of a clip (default: %(default)g)")
    add("--batch", "clips of a batch; MultiBandDiffusion works clip by clip (default: %(default)s)", metavar="N")
    add("--repeats", "measured rounds of the cheap systems (default: %(default)s)", metavar="N")
    add("--mbd-calls", "U-Net calls of each band; less than %(default)s is a quick look, marked as such", metavar="N")
    add("--mbd-repeats", "measured calls of MultiBandDiffusion (default: %(default)s)", metavar="N")
    add("--only", f"comma-separated: {','.join(SYSTEMS)}", type=_names, metavar="NAMES")
    add("--root", "root folder whose trained points are timed too", metavar="R")
    add("--audio", "recordings, or folders of them, to take clips from (default: synthesised)", nargs="+", type=str, metavar="FILE")
    add("--fast-codec", "whether our systems use the faster copy of the codec", action=argparse.BooleanOptionalAction)
    add("--reference", "whether to run the reference's protocol too", action=argparse.BooleanOptionalAction)
    parser.add_argument("-o", "--output", type=Path, metavar="FOLDER", help="write speed.md, speed.csv and speed.json there")
    return parser


def _names(text: str) -> tuple[str, ...]:
    return tuple(name for name in text.split(",") if name)

"""The commands of `python -m lcm.mbd`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from lcm.command import run


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    return run(_parser(), arguments)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m lcm.mbd", description="The MultiBandDiffusion teacher.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    convert = commands.add_parser("convert", help="turn a released .pt into safetensors and JSON, without running what it may carry")
    convert.add_argument("file", type=Path, metavar="FILE.pt", help="mbd_comp_2.pt, mbd_comp_4.pt or mbd_comp_8.pt")
    convert.add_argument("folder", type=Path, nargs="?", metavar="FOLDER", help="where to; the file's own folder otherwise")
    convert.set_defaults(run=_convert)
    check = commands.add_parser("check", help="compare the fast path with audiocraft's own code here: result, time, cost of autocast")
    check.add_argument("--weights", choices=("pretrained", "random"), default="pretrained", help="random: the architecture untrained")
    check.add_argument("--folder", metavar="FOLDER", help="folder of mbd_comp_N; the caches otherwise")
    check.add_argument("--codec-folder", metavar="FOLDER", help="folder of EnCodec's weights; the caches otherwise")
    check.add_argument("--bw", type=float, default=3.0, help="bandwidth in kbps that it was trained for: 1.5, 3 or 6; default: 3")
    check.add_argument("--steps", type=int, default=20, help="calls of each band's U-Net; default: 20")
    check.add_argument("--hidden", type=int, default=48, help="channels of the U-Nets; another number with random weights only")
    check.add_argument("--seconds", type=float, default=4.0, help="length of the clip; default: 4")
    check.add_argument("--audio", type=Path, metavar="FILE", help="a recording; noise otherwise")
    check.set_defaults(run=_check)
    return parser


def _convert(asked: argparse.Namespace) -> None:
    from lcm.mbd.convert import convert  # torch is loaded only where it is needed

    print(*convert(asked.file, asked.folder).lines(), sep="\n")


def _check(asked: argparse.Namespace) -> None:
    from lcm.codec import CodecConfig, best_device, load_codec
    from lcm.mbd.check import check, example
    from lcm.teachers import TeacherConfig

    settings = {name: getattr(asked, name) for name in ("weights", "folder", "bw", "steps", "hidden")}
    codec = load_codec(CodecConfig("encodec_24khz", asked.bw, asked.codec_folder, asked.weights)).to(best_device())
    for agreement in check(TeacherConfig("mbd", **settings), codec, example(codec, asked.seconds, asked.audio)):
        print(agreement, flush=True)

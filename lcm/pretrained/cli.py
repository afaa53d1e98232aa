"""The commands of `python -m lcm.pretrained`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from lcm.command import run


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    return run(_parser(), arguments)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m lcm.pretrained", description="Trained models as files.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    packing = commands.add_parser("pack", help="turn a run folder into weights, card and README")
    packing.add_argument("folder", type=Path, metavar="RUN_FOLDER", help="ROOT/points/SIGNATURE-sSEED")
    packing.add_argument("-o", "--out", type=Path, required=True, metavar="FOLDER")
    packing.add_argument("--half", action="store_true", help="store float16: half the size; loaded as float32")
    packing.add_argument("--name", default="", help="default: the run folder's name")
    packing.add_argument("--licence", default="not stated", help="of the weights, such as 'CC BY 4.0'")
    packing.add_argument("--data", default="", metavar="TEXT", help="sources of the training data and their licences")
    packing.set_defaults(run=_pack)
    publish = commands.add_parser("push", help="publish such a folder on the Hugging Face hub")
    publish.add_argument("folder", type=Path, metavar="FOLDER")
    publish.add_argument("repository", metavar="OWNER/NAME")
    publish.add_argument("--private", action="store_true", help="make a private repository where there is none")
    publish.set_defaults(run=_push)
    exporting = commands.add_parser("export", help="write network, encoder and decoder as torch.export programs or ONNX")
    exporting.add_argument("source", metavar="SOURCE", help="shipped, a model, a folder, or owner/name on the hub")
    exporting.add_argument("-o", "--out", type=Path, required=True, metavar="FILE.pt2|FILE.onnx", help="FILE-encoder, -network, -decoder")
    exporting.add_argument("--frames", type=int, metavar="N", help="fix the length in 75ths of a second; any length otherwise")
    exporting.set_defaults(run=_export)
    return parser


def _pack(asked: argparse.Namespace) -> None:
    from lcm.pretrained.pack import pack  # torch is loaded only where it is needed

    card = pack(asked.folder, asked.out, half=asked.half, name=asked.name, licence=asked.licence, data=asked.data)
    print(f"{asked.out}: {card['name']}, {card['sizes']['bytes']:,} bytes, {len(card['metrics'])} figures; licence {card['licence']}")


def _push(asked: argparse.Namespace) -> None:
    from lcm.pretrained.remote import push

    print(push(asked.folder, asked.repository, private=asked.private))


def _export(asked: argparse.Namespace) -> None:
    from lcm.export import export

    for file in export(asked.source, asked.out, frames=asked.frames):
        print(f"{file}: {file.stat().st_size:,} bytes")

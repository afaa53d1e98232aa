"""The demo: the whole pipeline at its smallest, from a folder of speech to a report.

python -m sweeps.demo [--speech FOLDER [--test FOLDER]] [--root runs/demo]

It runs commands that a user could type; each is printed. To resume, run it again.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

import torch
from rich.console import Console

from lcm.paths import write_text

QUESTION = (
    "Does one step of a consistency student restore 12 kHz speech to 24 kHz better than its teacher, "
    "than the reference's token classifier, than plain resampling?"
)
NOTE = (
    "A demo: seconds of training a point, a small codec and a small teacher. "
    "Its figures show that the pipeline works, not how good the method is."
)
RIVALS = (
    ("regression", ["objective.name=regression"]),
    ("token_ce, the reference system", ["objective.name=token_ce", "train.batch=2", "train.steps=60"]),
)


def quote(value: str) -> str:
    """Quote a value for hydra's override grammar."""
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def corpus_overrides(speech: Path | None, test: Path | None) -> list[str]:
    """Return the overrides that name the recordings; none means the synthesised ones.

    Raises:
        SystemExit: A folder does not exist, or a test folder comes without speech to train on.
    """
    if speech is None:
        if test is not None:
            raise SystemExit("TEST is given without SPEECH: name the folder of speech to train on, too.")
        return []
    for name, folder in (("SPEECH", speech), ("TEST", test)):
        if folder is not None and not folder.is_dir():
            raise SystemExit(f"{name}={folder} is not a folder: give one that holds wav, flac, ogg or mp3 files.")
    named = {"corpus.source": "folder", "corpus.root": quote(str(speech.resolve()))}
    if test is not None:
        named["corpus.test_root"] = quote(str(test.resolve()))
    return [f"{key}={value}" for key, value in named.items()]


def precision() -> str:
    """Return bf16 where the processor multiplies it natively, which trains twice as fast."""
    native = not torch.cuda.is_available() and torch.cpu._is_avx512_bf16_supported()
    return "bf16-mixed" if native else "auto"


def commands(common: list[str]) -> list[tuple[str, list[str]]]:
    """Return every command of the demo with its title: the rivals, then the grid."""
    single = [(title, ["sweeps.run", "+preset=demo", *extra, *common]) for title, extra in RIVALS]
    return [*single, ("twelve students", ["sweeps.run", "--multirun", "+preset=demo", "+ablation=demo", *common])]


def snapshot(root: Path) -> dict[Path, int]:
    """Return when each run's records were written: unchanged means that nothing was done."""
    return {path: path.stat().st_mtime_ns for path in root.glob("*/*/records.parquet")}


def main() -> int:
    """Run the demo."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--speech", type=Path, help="folder of recordings; default: synthesised voices")
    parser.add_argument("--test", type=Path, help="folder of held-out recordings; default: speakers split off")
    parser.add_argument("--root", type=Path, default=Path("runs/demo"))
    args, further = parser.parse_known_args()
    return run(
        args.root, [*corpus_overrides(args.speech, args.test), f"root={quote(str(args.root))}", f"train.precision={precision()}", *further]
    )


def run(root: Path, common: list[str]) -> int:
    """Run every command, then the report."""
    console, started, before = Console(), time.monotonic(), snapshot(root)
    write_text(root / "report.json", json.dumps({"title": "LCM-MCB demo", "note": NOTE, "question": QUESTION}, indent=1))
    for title, command in commands(common):
        console.rule(title)
        console.print("python -m " + " ".join(command), style="dim", highlight=False, markup=False)
        done = subprocess.run([sys.executable, "-m", *command], check=False).returncode
        if done:
            console.print(f"Stopped: the command above failed ({done}). What is done is kept: mend it and run again.", style="red")
            return done
    page = root / "report" / "index.html"
    if page.exists() and snapshot(root) == before:
        console.print(f"Nothing to do: all {len(before)} runs of {root} are done. Report: {page}")
        return 0
    done = subprocess.run([sys.executable, "-m", "analysis.report", str(root), "-o", str(root / "report")], check=False).returncode
    console.print(f"{time.monotonic() - started:.0f} s. Report: {page}", highlight=False)
    return done


if __name__ == "__main__":
    sys.exit(main())

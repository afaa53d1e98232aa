"""The demo: the whole pipeline at its smallest, from a folder of speech to a report.

python -m sweeps.demo [--speech FOLDER [--test FOLDER]] [--root runs/demo]

It runs commands that a user could type; each is printed. To resume, run it again.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
import time
from pathlib import Path

import torch
import yaml
from rich.console import Console
from rich.table import Table

import analysis
from analysis import tables
from analysis.report import build
from lcm.paths import write_text
from sweeps.identity import flatten

QUESTION = (
    "Does one step of a consistency student restore 12 kHz speech to 24 kHz better than its teacher, "
    "than the reference's token classifier, than plain resampling?"
)
NOTE = (
    "A demo: seconds of training a point, a small codec and a small teacher. "
    "Its figures show that the pipeline works, not how good the method is. token_ce has as many steps as the students, "
    "but the reference's batch of 2 and no teacher to start from. The shipped codec and teacher have heard the synthesised voices."
)
SHOWN = ("lsd_hf", "lsd", "si_sdr", "frechet_hf", "time_total")
SINGLES = (
    ("regression", ["objective=regression"]),
    ("token_ce, the reference system", ["objective=token_ce", "train.batch=2", "train.optimiser=adamw", "train.rate=2e-4"]),
    ("a student of the teacher's stored codes", ["data.target=teacher", "objective=ect_alone"]),
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


def default_root(speech: Path | None, test: Path | None) -> Path:
    """Return a root of its own for each pair of folders: one root holds one corpus."""
    if speech is None:
        return Path("runs/demo")
    key = hashlib.sha256(f"{speech.resolve()}|{test.resolve() if test else None}".encode()).hexdigest()[:6]
    return Path("runs") / f"{speech.resolve().name}-{key}"


def precision() -> str:
    """Return bf16 where the processor multiplies it natively, which trains twice as fast."""
    native = not torch.cuda.is_available() and torch.cpu._is_avx512_bf16_supported()
    return "bf16-mixed" if native else "auto"


def commands(common: list[str]) -> list[tuple[str, list[str]]]:
    """Return every command of the demo with its title: single points, then the grid."""
    single = [(title, ["sweeps.run", "+preset=demo", *common, *extra]) for title, extra in SINGLES]
    return [*single, ("twelve students", ["sweeps.run", "--multirun", "+preset=demo", "+ablation=demo", *common])]


def snapshot(root: Path) -> dict[Path, int]:
    """Return when each run's records were written: unchanged means that nothing was done."""
    return {path: path.stat().st_mtime_ns for path in root.glob("*/*/records.parquet")}


def main() -> int:
    """Run the demo."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--speech", type=Path, help="folder of recordings; default: synthesised voices")
    parser.add_argument("--test", type=Path, help="folder of held-out recordings; default: speakers split off")
    parser.add_argument("--root", type=Path, help="default: runs/demo, with --speech runs/NAME-HASH of the folders")
    args, further = parser.parse_known_args()
    corpus, root = corpus_overrides(args.speech, args.test), args.root or default_root(args.speech, args.test)
    return run(root, [*corpus, f"root={quote(str(root))}", f"train.precision={precision()}", *further])


def run(root: Path, common: list[str]) -> int:
    """Run every command, then the report."""
    console, started = Console(), time.monotonic()
    for title, command in commands(common):
        console.rule(title)
        console.print("python -m " + " ".join(command), style="dim", highlight=False, markup=False)
        done = subprocess.run([sys.executable, "-m", *command], check=False).returncode
        if done:
            console.print(f"Stopped: the command above failed ({done}). What is done is kept: mend it and run again.", style="red")
            return done
    page = root / "report" / "index.html"
    fresh = not page.exists() or page.stat().st_mtime_ns < max(snapshot(root).values())
    if fresh:
        about = {"title": "LCM-MCB demo", "note": NOTE, "question": QUESTION, "student": default_student(root)}
        write_text(root / "report.json", json.dumps(about, indent=1))
        build(root, root / "report")
    print_table(root, console)
    console.print(
        f"Done in {time.monotonic() - started:.0f} s." if fresh else f"Nothing to do: all {len(snapshot(root))} runs of {root} are done."
    )
    console.print(f"Report: {page}", soft_wrap=True, highlight=False)
    return 0


def default_student(root: Path) -> str:
    """Return the signature of the grid's point with the default settings, which stands for the student in the report.

    It is named before anything is measured: choosing the best point on the test set would flatter it.
    """
    default = {"objective.name": "ect", "blocks.partition": [8], "losses.hf_log_magnitude": 1.0, "objective.stages": 2, "data.target": "hr"}
    for path in sorted(root.glob("points/*/config.yaml")):
        config = flatten(yaml.safe_load(path.read_text(encoding="utf-8")))
        if all(config[key] == value for key, value in default.items()):
            return path.parent.name.rsplit("-s", 1)[0]
    return ""


def print_table(root: Path, console: Console) -> None:
    """Print systems x metrics, means with 95 % intervals."""
    named = json.loads((root / "report.json").read_text())["student"]
    cells = tables.wide(tables.results(analysis.load(root).table, named), SHOWN)
    table = Table(*cells.columns, title=f"{root}: mean [95 % interval]")
    for row in cells.astype(str).itertuples(index=False):
        table.add_row(*row)
    console.print(table)


if __name__ == "__main__":
    sys.exit(main())

"""The built-in demo corpus: many espeak-ng voices as speakers."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from lcm.corpus.config import CorpusError
from lcm.corpus.espeak import Voice

# Phonetically rich sentences (after the Harvard lists, IEEE 1969, in the public domain) and pangrams.
TEXTS = (
    "The birch canoe slid on the smooth planks, and glue the sheet to the dark blue background.",
    "It is easy to tell the depth of a well. These days a chicken leg is a rare dish.",
    "Rice is often served in round bowls. The juice of lemons makes fine punch.",
    "The box was thrown beside the parked truck, and the hogs were fed chopped corn and garbage.",
    "Four hours of steady work faced us. A large size in stockings is hard to sell.",
    "The boy was there when the sun rose. A rod is used to catch pink salmon.",
    "The source of the huge river is the clear spring. Kick the ball straight and follow through.",
    "Help the woman get back to her feet. A pot of tea helps to pass the evening.",
    "Smoky fires lack flame and heat. The soft cushion broke the man's fall.",
    "The salt breeze came across from the sea, and the girl at the booth sold fifty bonds.",
    "She sells sea shells by the sea shore; the shells she sells are surely sea shells.",
    "Six thick thistle sticks pressed against the thatched fence as the fresh fish flashed past.",
    "The quick brown fox jumps over the lazy dog while five wizards box with vexing quips.",
    "Just six exact fusses forced fresh zephyrs to chase the jazzy physics of each showy shuttle.",
    "Which witch wished to switch the Swiss wrist watch? She chose the sixth silver chest.",
    "A zestful chef squeezed juicy citrus over fresh shellfish, parsley and spicy chickpeas.",
)

_NUMBERED = ("f1", "m1", "f2", "m2", "f3", "m3", "f4", "m4", "f5", "m5")
_NAMED = ("Annie", "m7", "belinda", "john", "linda", "max", "steph", "pablo", "anika", "david")
VARIANTS = (*_NUMBERED, *_NAMED)
ACCENTS = ("en-us", "en", "en-gb-scotland", "en-029", "de", "nl")
VOICES = tuple(
    Voice(f"{ACCENTS[i % len(ACCENTS)]}+{variant}", rate_wpm=140 + 9 * (i % 6), pitch=30 + 6 * (i % 8), pitch_range=40 + 7 * (i % 5))
    for i, variant in enumerate(VARIANTS)
)


def synthesise_corpus(cache: Path, voices: int, utterances: int) -> Path:
    """Speak the demo corpus into the cache, unless it is there. The samples are the same every time.

    Args:
        cache: Folder for synthesised speech; each size of corpus has a subfolder of its own.
        voices: Number of voices, 2 to 20.
        utterances: Utterances of each voice, 1 to 16, about 5 s each.

    Returns:
        The folder that holds `<voice>/<voice>-<number>.flac`, 22,050 Hz.

    Raises:
        CorpusError: A number is out of range, or espeak-ng failed.
    """
    lines = plan(voices, utterances)
    identity = json.dumps([lines, version("espeakng-loader")]).encode()
    folder = cache / hashlib.sha256(identity).hexdigest()[:12]
    if not folder.is_dir():
        part = folder.with_name(f"{folder.name}.{os.getpid()}.part")
        _speak([{**line, "path": str(part / line["path"])} for line in lines])
        try:
            part.rename(folder)
        except OSError:  # another process was first, with the same samples
            shutil.rmtree(part)
    return folder


def plan(voices: int, utterances: int) -> list[dict[str, Any]]:
    """Return what is said by whom into which file, in order."""
    if not (2 <= voices <= len(VOICES) and 1 <= utterances <= len(TEXTS)):
        expected = f"expected 2 to {len(VOICES)} voices and 1 to {len(TEXTS)} utterances of each"
        raise CorpusError(f"demo_voices = {voices} and demo_utterances = {utterances} in the corpus config; {expected}.")
    cells = [(i, j) for i in range(voices) for j in range(utterances)]
    return [
        {
            "text": TEXTS[(i * utterances + j) % len(TEXTS)],
            "voice": asdict(VOICES[i]),
            "path": f"{VARIANTS[i]}/{VARIANTS[i]}-{j:02d}.flac",
        }
        for i, j in cells
    ]


def _speak(lines: list[dict[str, Any]]) -> None:
    """Run `lcm.corpus.speak` in a fresh process."""
    package = str(Path(__file__).resolve().parents[2])  # so that it runs from a checkout too
    paths = os.pathsep.join([package, *filter(None, [os.environ.get("PYTHONPATH")])])
    command = [sys.executable, "-m", "lcm.corpus.speak"]
    done = subprocess.run(
        command, input=json.dumps(lines), text=True, capture_output=True, check=False, env={**os.environ, "PYTHONPATH": paths}
    )
    if done.returncode != 0:
        reason = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise CorpusError(f"The demo speech could not be synthesised: {reason}. Is `espeakng-loader` installed and the disk not full?")

"""Synthesise a list of utterances: `python -m lcm.corpus.speak`, with a JSON list on standard input.

espeak-ng carries state from one utterance to the next that no call resets, neither seeding nor starting
it again. A list spoken in its order by a fresh process, with seeds, is the same to the bit every time,
so the demo corpus is made by this program rather than by a function call.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from lcm.audio import write
from lcm.corpus.espeak import Voice, synthesise

GAIN = 0.7  # headroom: some voices reach full scale, and resampling overshoots


def main() -> None:
    """Speak each line, {text, voice: {...}, path}, into its file."""
    for line in json.load(sys.stdin):
        samples, sample_rate_hz = synthesise(line["text"], Voice(**line["voice"]))
        write(Path(line["path"]), GAIN * samples, sample_rate_hz)


if __name__ == "__main__":
    main()

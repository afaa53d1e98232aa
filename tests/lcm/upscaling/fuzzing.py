"""Damage audio files at random and put them through reading and the jobs: python fuzzing.py FOLDER SEED COUNT.

The model adds nothing here: its time would go into mutated headers that tell of a thousand channels. Everything else is real.
"""

import contextlib
import io
import json
import os
import sys
from pathlib import Path

import numpy as np
import soundfile
from recordings import encoded, voice

from lcm.codec import CodecConfig, load_codec
from lcm.model import Model, ModelSpec
from lcm.network import NetworkConfig
from lcm.upscaling import Upscaler
from lcm.upscaling.jobs import run
from lcm.upscaling.one import Settings
from lcm.upscaling.plan import make_plan

KINDS = [
    ("WAV", "PCM_16", ".wav"), ("WAV", "FLOAT", ".wav"), ("WAV", "MS_ADPCM", ".wav"), ("WAVEX", "PCM_24", ".wav"),
    ("RF64", "PCM_16", ".wav"), ("FLAC", "PCM_16", ".flac"), ("FLAC", "PCM_24", ".flac"), ("OGG", "VORBIS", ".ogg"),
    ("OGG", "OPUS", ".opus"), ("MP3", "MPEG_LAYER_III", ".mp3"), ("AIFF", "PCM_16", ".aiff"), ("AU", "PCM_16", ".au"),
    ("W64", "PCM_16", ".w64"), ("CAF", "PCM_16", ".caf"),
]  # fmt: skip
WORDS = [0, 1, 2, 0x7F, 0xFF, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF]


class Nothing(Upscaler):
    """Adds nothing."""

    def added(self, audio, start, **_):
        return np.zeros_like(audio)


def nothing(**settings):
    """Return an upscaler whose model adds nothing."""
    codec = load_codec(CodecConfig())
    network = NetworkConfig(width=32, depth=1, heads=2, window=8, head_width=32)
    return Nothing(Model(ModelSpec("consistency", (8,), codec.identity, network=network), codec), codec, **settings)


def flip(rng, data, first=0, last=None):
    for at in rng.integers(first, min(last or len(data), len(data)), rng.integers(1, 12)):
        data[at] ^= 1 << rng.integers(8)
    return data


def word(rng, data, first=0, last=None):
    at = int(rng.integers(first, min(last or len(data), len(data)) - 4))
    value = int(rng.choice([*WORDS, len(data), len(data) - 8, len(data) + 1, int(rng.integers(1 << 32))]))
    data[at : at + 4] = value.to_bytes(4, str(rng.choice(["little", "big"])))
    return data


def mutate(rng, data, other):
    """Return a file's bytes, damaged in one of nine ways."""
    at, end = sorted(int(i) for i in rng.integers(1, len(data), 2))
    ways = [
        lambda: flip(rng, data),
        lambda: flip(rng, data, 0, 80),
        lambda: word(rng, data, 0, 80),
        lambda: word(rng, data),
        lambda: data[:at],
        lambda: data[:at] + data[end:],
        lambda: data[:end] + data[at:],
        lambda: data[:at] + rng.bytes(int(rng.integers(1, 2_000))) + data[at:],
        lambda: data[:at] + other[at:],
        lambda: data + other,
    ]
    return bytes(ways[rng.integers(len(ways))]())


def make(folder, seed, count):
    """Write the damaged files; return how many are really damaged."""
    rng = np.random.default_rng(seed)
    whole = []
    for container, subtype, suffix in KINDS:
        for rate, channels, seconds in ((8_000, 1, 0.3), (24_000, 2, 0.2), (16_000, 1, 1.2)):
            whole.append((encoded(container, subtype, voice(seconds, rate, channels), rate), suffix))
    damaged = 0
    for number in range(count):
        content, suffix = whole[rng.integers(len(whole))]
        other, other_suffix = whole[rng.integers(len(whole))]
        result = mutate(rng, bytearray(content), bytearray(other))
        (folder / f"{number:04d}{suffix if rng.random() < 0.95 else other_suffix}").write_bytes(result)
        damaged += result != content
    return damaged


def decoded(path):
    """Return samples and rate by another road than the one tested."""
    with soundfile.SoundFile(path) as file:
        file.seekable = lambda: False  # seeking in a damaged file may fail where reading on does not
        held = 0
        while len(block := file.read(10_000)):
            held += len(block)
        return held, file.samplerate


def main(folder, seed, count):
    (folder / "in").mkdir()
    damaged = make(folder / "in", seed, count)
    upscaler = nothing(chunk_s=0.5)
    plan = make_plan([str(folder / "in")], f"{folder}/out/")
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        tally = run(plan, Settings(), lambda: upscaler)
    wrong = []
    for job in plan.jobs:
        if job.output.exists():
            (before, rate), (after, made_rate) = decoded(job.header.path), decoded(job.output)
            if after != round(before * made_rate / rate) or made_rate not in (rate, 24_000):
                wrong.append([job.header.path.name, before, rate, after, made_rate])
    errors = err.getvalue().splitlines()
    print(json.dumps({
        "damaged": damaged, "made": tally.made, "failed": tally.failed, "wrong": wrong,
        "outputs": sum(1 for p in (folder / "out").rglob("*") if not p.name.startswith(".")),
        "parts": sum(1 for _ in folder.rglob("*.part")),
        "errors": len(errors), "unexpected": [e for e in errors if "unexpected" in e or "report this" in e or not e.startswith("failed: ")],
    }))  # fmt: skip


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))

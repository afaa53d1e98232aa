"""Upscale a generated file in a process of its own and tell its memory: python long_file.py FOLDER SECONDS nothing|shipped."""

import json
import sys
from pathlib import Path

import soundfile
from fuzzing import nothing
from recordings import voice

from lcm.upscaling import Upscaler
from lcm.upscaling.jobs import run
from lcm.upscaling.one import Settings
from lcm.upscaling.plan import make_plan


def main(folder, seconds, model):
    minute = voice(60.0)
    with soundfile.SoundFile(folder / "long.wav", "w", 12_000, 1) as file:
        for start in range(0, seconds, 60):
            file.write(minute[: 12_000 * min(60, seconds - start)])
    upscaler = nothing() if model == "nothing" else Upscaler.load(device="cpu")
    tally = run(make_plan([str(folder / "long.wav")], f"{folder}/out/"), Settings(), lambda: upscaler, quiet=True)
    frames = soundfile.info(folder / "out/long.wav").frames
    print(json.dumps({"made": tally.made, "frames": frames, "peak_mb": peak_mb()}))


def peak_mb():
    """This process' own peak: ru_maxrss is inherited from the process that started it."""
    status = Path("/proc/self/status").read_text().splitlines()
    return int(next(line.split()[1] for line in status if line.startswith("VmHWM"))) >> 10


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3])

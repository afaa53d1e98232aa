"""Claims a run folder in a process of its own: FOLDER LOG BEAT_S STALE_S SECONDS [--no-wait] [--write-on]

Appends `enter PID` and `leave PID` to the log; says `owner` when it has the folder. With --write-on it checks its claim until it is lost.
"""

import os
import sys
import time
from pathlib import Path

from lcm.paths import Run
from sweeps.claim import Lost, Taken, claimed

folder, log, beat_s, stale_s, seconds, *options = sys.argv[1:]


def note(word):
    with Path(log).open("a") as file:
        file.write(f"{word} {os.getpid()}\n")


try:
    with claimed(Run(Path(folder)), wait="--no-wait" not in options, beat_s=float(beat_s), stale_s=float(stale_s)) as fence:
        note("enter")
        print("owner", flush=True)
        until = time.monotonic() + float(seconds)
        while time.monotonic() < until:
            time.sleep(0.02)
            if "--write-on" in options:
                fence.check()
        note("leave")
except Taken as error:
    print(error)
    raise SystemExit(3) from error
except Lost as error:
    print(error)
    raise SystemExit(4) from error

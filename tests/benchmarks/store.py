"""What stores cost: the worker beside the bare calls, merge and verify, and random crops against one `.pt` file a clip.

    OMP_NUM_THREADS=1 python tests/benchmarks/store.py [--audio FOLDER] [--clips 166] [--rounds 3] [-o FILE.md]

All three parts are measured in one run and printed as Markdown, with the machine and the command.

- Overhead: the small codec and the shipped teacher on synthesised speech or on a folder's, in shards of 83 clips (33,000 in 400) as
  one task. It is the time of the task that is not spent in the producer, over that in it: both of the same run, so that a busy
  machine disturbs it little. Loading is not counted.
- Merge and verify: shards of 83 clips, read from the page cache.
- Crops: 128 frames of the degraded and the original codes, in random order, by torch's DataLoader. The reference keeps a dictionary
  of int64 tensors a clip and loads it whole. `batches` reads a batch's crops into one int16 array; the others use the default collate.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, RandomSampler

from lcm.audio import SAMPLE_RATE
from lcm.codec import CodecConfig
from lcm.corpus import CorpusConfig, Manifest, build
from lcm.degrade import DegradationConfig
from lcm.generate import CodesProducer, OverlayProducer, frames_of
from lcm.provenance import processor
from lcm.store import Record, Store, StorePaths, build_index, verify_store, write_shard
from lcm.teachers import TeacherConfig
from slurm.shards import Plan, adopt_plan, make_plan
from slurm.worker import Producer, run_shards

CROP, BATCH, WARM_UP = 128, 16, 20  # frames, crops, batches
CLIPS_A_SHARD, CODEBOOKS = 83, 8
GOALS = {"overhead": "at most 3 %", "merge": "at least 200 MB/s", "crops": "at least 10 x"}


class Timed:
    """A prepared producer that notes how long it produces."""

    def __init__(self, inner: Producer) -> None:
        self.inner, self.batch_size, self.rows, self.inside_s = inner, inner.batch_size, 1, 0.0

    def prepare(self) -> None:
        """Do nothing: it is prepared."""

    def produce(self, keys: Sequence[str]) -> list[Record]:
        """Make records, and note the time."""
        start, self.inner.rows = time.perf_counter(), self.rows
        records = self.inner.produce(keys)
        self.inside_s += time.perf_counter() - start
        return records


def overhead(folder: Path, name: str, plan: Plan, producer: Producer, rounds: int) -> str:
    """Return a row: what a task costs beside its producer's calls."""
    producer.prepare()
    producer.produce([plan.items[0].key])
    inside, shares = [], []
    for number in range(rounds):
        timed, start = Timed(producer), time.perf_counter()
        run_shards(folder / f"{name}-{number}", plan, range(plan.shards), lambda timed=timed: timed)  # type: ignore[misc]
        inside.append(timed.inside_s)
        shares.append(100 * (time.perf_counter() - start - timed.inside_s) / timed.inside_s)
    found = f"{statistics.median(shares):.2f} % ({min(shares):.2f} to {max(shares):.2f})"
    return f"| {name} | {len(plan.items)} | {plan.shards} | {statistics.median(inside):.1f} | {found} | {GOALS['overhead']} |"


def measure_overhead(folder: Path, manifest: Manifest, clips: int, rounds: int) -> Iterator[str]:
    """Yield a table of the worker's overhead for both stages."""
    chosen = manifest.utterances[:clips]
    yield "| stage | clips | shards | calls s | overhead (lowest to highest) | goal |"
    yield "|---|---|---|---|---|---|"
    lengths = [(u.utterance, frames_of(round(u.seconds * SAMPLE_RATE))) for u in chosen]
    plan = make_plan(lengths, max(1, round(clips / CLIPS_A_SHARD)))
    yield overhead(folder, "codes", plan, CodesProducer(manifest, CodecConfig(), DegradationConfig()), rounds)
    build_index(folder / "codes-0", plan)
    store = Store(folder / "codes-0")
    plan = make_plan([(f"{key}|0", store.frames(key)) for key in store.keys[: max(clips // 8, 4)]], 1)
    yield overhead(folder, "overlay", plan, OverlayProducer(str(store.folder), CodecConfig(), TeacherConfig()), rounds)


def synthetic(folder: Path, shards: int) -> tuple[Plan, dict[str, dict[str, np.ndarray[Any, Any]]]]:
    """Write shards of random codes of clips of 2 to 15 s; returns the plan and the codes."""
    rng = np.random.default_rng(0)
    plan = make_plan([(f"1034_121119_{n:06d}", int(rng.integers(150, 1100))) for n in range(CLIPS_A_SHARD * shards)], shards)
    adopt_plan(folder, plan)
    codes = {}
    for shard in range(shards):
        made = {key: {name: _codes(rng, length) for name in ("hr", "lr0")} for key, length in plan.shard_items(shard)}
        meta = {"speaker": "1034", "split": "train", "samples": 0, "degradations": [{"cutoff_hz": 6000.0}]}
        noted = {"identity": plan.identity, "shard": shard, "shards": shards}
        write_shard(StorePaths(folder).shard(shard, shards), [Record(key, streams, meta) for key, streams in made.items()], noted)
        codes.update(made)
    return plan, codes


def _codes(rng: np.random.Generator, frames: int) -> np.ndarray[Any, Any]:
    return rng.integers(0, 1024, (frames, CODEBOOKS)).astype(np.int16)


def measure_merge(folder: Path, plan: Plan, rounds: int) -> Iterator[str]:
    """Yield a table of the speed of merge and verify."""
    size_mb = sum(path.stat().st_size for path in StorePaths(folder).shards()) / 1e6
    acts: dict[str, Callable[[int | None], object]] = {
        "merge (every check, and the index)": lambda processes: build_index(folder, plan, processes=processes),
        "verify (a finished store)": lambda processes: verify_store(folder, plan, processes=processes),
    }
    yield "| act | processes | MB | MB/s | goal |"
    yield "|---|---|---|---|---|"
    for name, act in acts.items():
        for processes in (1, None):
            act(processes)
            times = [_seconds(lambda act=act, processes=processes: act(processes)) for _ in range(rounds)]  # type: ignore[misc]
            speed = size_mb / statistics.median(times)
            yield f"| {name} | {processes or 'as many as CPUs'} | {size_mb:.0f} | {speed:.0f} | {GOALS['merge']} |"


class OneFileAClip:
    """The reference's data set: a `.pt` file a clip, loaded whole."""

    def __init__(self, folder: Path, codes: dict[str, dict[str, np.ndarray[Any, Any]]]) -> None:
        folder.mkdir()
        self.files = [folder / f"{key}.pt" for key in codes]
        for file, streams in zip(self.files, codes.values(), strict=True):
            hr, lr = (torch.from_numpy(streams[name].T.astype(np.int64)) for name in ("hr", "lr0"))
            torch.save({"degraded": lr, "teacher": hr, "mask": torch.ones(hr.shape[1], dtype=torch.bool)}, file)

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, number: int) -> tuple[torch.Tensor, ...]:
        clip = torch.load(self.files[number], weights_only=False)  # as the reference; the safe way is slower
        start = int(torch.randint(clip["mask"].shape[0] - CROP + 1, ()))
        return clip["degraded"][:, start : start + CROP], clip["teacher"][:, start : start + CROP], clip["mask"][start : start + CROP]


class Crops:
    """The same crops from a store."""

    def __init__(self, store: Store) -> None:
        self.store, self.keys = store, store.keys

    def __len__(self) -> int:
        return len(self.keys)

    def __getitem__(self, number: int) -> tuple[torch.Tensor, ...]:
        lr, hr = (torch.from_numpy(crop.astype(np.int64)).t() for crop in self._read(number))
        return lr, hr, torch.ones(CROP, dtype=torch.bool)

    def _read(self, number: int) -> list[np.ndarray[Any, Any]]:
        key = self.keys[number]
        start = int(torch.randint(self.store.frames(key) - CROP + 1, ()))
        return [self.store.read(key, stream, start, start + CROP) for stream in ("lr0", "hr")]


class Batches(Crops):
    """A batch's crops in one array, [B, 2, CROP, K] int16: what a worker process sends is a quarter, and one piece."""

    def __getitems__(self, numbers: Sequence[int]) -> np.ndarray[Any, Any]:
        return np.array([self._read(number) for number in numbers])


def measure_crops(folder: Path, store: Path, codes: dict[str, dict[str, np.ndarray[Any, Any]]]) -> Iterator[str]:
    """Yield a table of the DataLoader's speed, the reference's and ours, with and without worker processes."""
    torch.set_num_threads(1)
    opened = Store(store)
    systems: list[tuple[str, Any, Any, int]] = [
        (".pt a clip", OneFileAClip(folder / "pt", codes), None, 6_000),
        ("store", Crops(opened), None, 40_000),
        ("store, batches", Batches(opened), _as_is, 40_000),
    ]
    yield "| data set | worker processes | crops/s | ratio | goal |"
    yield "|---|---|---|---|---|"
    for workers in (0, 2):
        speeds = {name: crops_per_s(data, collate, count, workers) for name, data, collate, count in systems}
        for name, speed in speeds.items():
            yield f"| {name} | {workers} | {speed:.0f} | {speed / speeds['.pt a clip']:.1f} | {GOALS['crops'] if 'store' in name else ''} |"


def crops_per_s(data: Any, collate: Any, count: int, workers: int) -> float:
    """Return the speed after every record has been read, and so checked, once."""
    for number in range(len(data)):
        data[number]
    sampler = RandomSampler(data, replacement=True, num_samples=count)
    batches = iter(DataLoader(data, batch_size=BATCH, sampler=sampler, num_workers=workers, collate_fn=collate))
    for _ in range(WARM_UP):
        next(batches)
    start = time.perf_counter()
    return BATCH * sum(1 for _ in batches) / (time.perf_counter() - start)


def _as_is(batch: Any) -> Any:
    return batch


def _seconds(act: Callable[[], object]) -> float:
    start = time.perf_counter()
    act()
    return time.perf_counter() - start


def measure(asked: argparse.Namespace, folder: Path) -> Iterator[str]:
    """Yield the report, line by line."""
    demo = CorpusConfig(demo_utterances=-(-asked.clips // 20))
    manifest = build(CorpusConfig("folder", str(asked.audio)) if asked.audio else demo, folder / "corpus")
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    machine = f"{processor()}, {len(os.sched_getaffinity(0))} CPUs, {device}, {torch.get_num_threads()} threads, torch {torch.__version__}"
    yield from (f"Machine: {machine}. Command: `python {' '.join(sys.argv)}`", "", "Overhead of store and worker", "")
    yield from measure_overhead(folder, manifest, asked.clips, asked.rounds)
    plan, codes = synthetic(folder / "synthetic", asked.shards)
    yield from ("", "Merge and verify, from the page cache", "")
    yield from measure_merge(folder / "synthetic", plan, asked.rounds)
    yield from ("", f"Random crops of {CROP} frames, batches of {BATCH}", "")
    yield from measure_crops(folder, folder / "synthetic", codes)


def main() -> None:
    """Parse the command line, measure, print and write."""
    parser = argparse.ArgumentParser(prog="python tests/benchmarks/store.py", description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--audio", type=Path, help="folder of speech; default: synthesised")
    parser.add_argument("--clips", type=int, default=166, help="for the codes; an eighth of them for the overlay")
    parser.add_argument("--shards", type=int, default=60, help="of merge, verify and crops; about 1.7 MB each")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("-o", "--output", type=Path, help="write the report there too")
    asked = parser.parse_args()
    lines = []
    with tempfile.TemporaryDirectory() as folder:
        for line in measure(asked, Path(folder)):
            print(line, flush=True)
            lines.append(line)
    if asked.output:
        asked.output.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

"""What analysing a large sweep costs: 5,000 runs x 200 utterances x 8 metrics, eight million records.

    OMP_NUM_THREADS=2 python tests/benchmarks/analysing.py [--points 1000] [--seeds 5] [--keep FOLDER] [--figures]

Writes the run folders as a sweep leaves them (config.yaml, status.json, provenance.json, records.parquet), then loads and summarises them
in a process of its own, which prints its seconds and its largest memory; with --figures all figures too. The files were just written, so
they come from the page cache.
"""

from __future__ import annotations

import argparse
import itertools
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from lcm.paths import Root, Run, write_text
from lcm.records import COLUMNS, SCHEMA_NAME, UNITS
from sweeps.config import Config, to_yaml

UTTERANCES, SPEAKERS = 200, 40
LEVELS = {
    "lsd_hf": 1.5, "si_sdr": 18.0, "stoi": 0.98, "lsd": 1.1, "mr_stft": 0.9, "hf_bias": -1.0, "fine_structure": 0.9, "time_total": 0.05,
}  # fmt: skip
FIXED = {"sinc": 2.9, "codec_ceiling": -0.3, "teacher": 0.05}
AXES = {
    "partition": [[8], [4, 4], [2, 6], [1, 1, 2, 4], [1] * 8], "weight": [0.0, 0.1, 0.3, 1.0, 3.0], "stages": [1, 2, 4, 8, 12],
    "sigma_max": [1.0, 1.5, 2.0, 2.5, 4.0, 6.0, 8.0, 10.0],
}  # fmt: skip


def points(count: int) -> Iterator[tuple[str, Config, float]]:
    """Yield signature, config and effect of the points of a grid."""
    base = Config()
    for number, (partition, weight, stages, sigma) in enumerate(itertools.islice(itertools.product(*AXES.values()), count)):
        config = replace(
            base, blocks=replace(base.blocks, partition=partition), losses=replace(base.losses, hf_log_magnitude=weight),
            objective=replace(base.objective, stages=stages), schedule=replace(base.schedule, sigma_max=sigma),
        )  # fmt: skip
        yield f"{number:012x}", config, 0.05 * len(partition) - 0.02 * weight + 0.01 * stages


def records(signature: str, seed: int, systems: dict[str, tuple[int, float]], generator: np.random.Generator) -> pa.Table:
    """Return the records of one run: every system on every utterance in every metric, and the whole set's Frechet distance."""
    names = [f"spk{u % SPEAKERS:02d}_utt{u:03d}" for u in range(UTTERANCES)]
    speakers = [name.split("_")[0] for name in names]
    rows: dict[str, list[object]] = {name: [] for name in COLUMNS}
    for system, (steps, effect) in systems.items():
        shift = effect + 0.03 * generator.normal()
        for metric, level in LEVELS.items():
            rows["value"] += list(level * (1 + 0.1 * shift) + 0.1 * abs(level) * generator.normal(size=UTTERANCES))
            rows["utterance"] += names
            rows["speaker"] += speakers
            rows["metric"] += [metric] * UTTERANCES
        rows["utterance"].append("*")
        rows["speaker"].append("*")
        rows["metric"].append("frechet_hf")
        rows["value"].append(1000 * (1 + shift))
        rows["system"] += [system] * (UTTERANCES * len(LEVELS) + 1)
        rows["steps"] += [steps] * (UTTERANCES * len(LEVELS) + 1)
    count = len(rows["value"])
    copied = [name not in ("sinc",) for name in rows["system"]]
    rows |= {"signature": [signature] * count, "seed": [seed] * count, "low_band_copy": copied, "protocol": [1] * count}
    rows["unit"] = [UNITS[str(metric)] for metric in rows["metric"]]
    schema = {"seed": pa.int64(), "steps": pa.int64(), "low_band_copy": pa.bool_(), "value": pa.float64(), "protocol": pa.int64()}
    fields = pa.schema([(name, schema.get(name, pa.string())) for name in COLUMNS], metadata={"schema": SCHEMA_NAME})
    return pa.Table.from_pydict({name: rows[name] for name in COLUMNS}, schema=fields)


def fill(root: Root, count: int, seeds: int) -> None:
    """Write the run folders."""
    generator = np.random.default_rng(0)
    fixed = {name: (18 if name == "teacher" else 0, effect) for name, effect in FIXED.items()}
    _write(root.baselines, Config(), records("baselines", 0, fixed, generator), 0)
    for signature, config, effect in points(count):
        for seed in range(seeds):
            _write(root.run(signature, seed), config, records(signature, seed, {"student": (1, effect)}, generator), seed)


def _write(run: Run, config: Config, table: pa.Table, seed: int) -> None:
    write_text(run.config, to_yaml(replace(config, seed=seed)))
    run.write_status("done", step=800, steps=800, error=None, train_seconds=300.0)
    write_text(run.provenance, json.dumps({"commit": "0" * 40, "device": "cpu", "gpus": [], "packages": {"torch": "2.13.0"}}))
    pq.write_table(table, run.records)


def measure(root: Path, figures: bool) -> None:
    """Load and summarise, then draw, and print what each took."""
    start = time.monotonic()
    import analysis
    from analysis.points import points as all_points

    imported = time.monotonic()
    results = analysis.load(root)
    loaded = time.monotonic()
    table = analysis.summary(results.table)
    summarised = time.monotonic()
    every = all_points(results.table)
    done = time.monotonic()
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(f"{len(results.table):,} records of {len(results.runs):,} runs; {len(table)} rows of summary, {len(every)} points", flush=True)
    print(f"import {imported - start:.1f} s, load {loaded - imported:.1f} s, summary {summarised - loaded:.1f} s", end=", ")
    print(f"a row for every point {done - summarised:.1f} s: {done - start:.1f} s, {memory:.2f} GB", flush=True)
    if figures:
        draw(results)


def draw(results: object) -> None:
    """Draw and save every figure, timed one by one."""
    from analysis.figures import NAMES, draw, save

    total = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        for name in NAMES:
            start = time.monotonic()
            drawn = draw(results, name)  # type: ignore[arg-type]  # what analysis.load returns; its import is timed above
            save(drawn, Path(folder))
            print(f"  {name}: {time.monotonic() - start:.1f} s{f' ({drawn.reason})' if drawn.reason else ''}", flush=True)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(f"all figures {time.monotonic() - total:.1f} s, {memory:.2f} GB", flush=True)


def main() -> None:
    """Parse, write, measure in a fresh process."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, default=1000)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--keep", type=Path, help="where to write the run folders, and to find them if they are there")
    parser.add_argument("--figures", action="store_true", help="draw all figures too")
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure:
        measure(given.measure, given.figures)
        return
    with tempfile.TemporaryDirectory(prefix="lcm-analysing-") as temporary:
        root = given.keep or Path(temporary)
        if not (root / "baselines").is_dir():
            fill(Root(root), given.points, given.seeds)
        words = [sys.executable, __file__, "--measure", str(root), *(["--figures"] if given.figures else [])]
        subprocess.run(words, check=True)


if __name__ == "__main__":
    main()

"""A producer that is quick and real: noise from the key and the seed, with the faults that tests ask for."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from lcm.store import Record, item_seed
from slurm import Plan, make_plan

ITEMS = [(f"clip {n:02d}", 3 + n % 4) for n in range(24)]


def toy_plan(shards: int = 3, seed: int = 1, items: Sequence[tuple[str, int]] = ITEMS, **attrs: object) -> Plan:
    return make_plan(items, shards, seed=seed, attrs=attrs)


@dataclass
class Toy:
    lengths: dict[str, int] = field(default_factory=lambda: dict(ITEMS))
    seed: int = 1
    batch_size: int = 4
    bad: frozenset[str] = frozenset()
    log: Path | None = None  # one line a produced key
    delay_s: float = 0.0
    delays: dict[str, float] = field(default_factory=dict)  # of keys that take another time
    hurry: bool = False  # no delay where SLURM has started the job again
    trace: Path | None = None  # one line a produced key: node, its GPUs, process id, key
    deadly: frozenset[str] = frozenset()  # keys that take the process down
    hold_at: str = ""  # waits before this key until `gate` exists
    hold_first: bool = False  # but not where SLURM has started the job again
    sick: tuple[str, str] = ("", "")  # a node or `*`, and what fails on it: prepare or produce
    gate: Path = Path("no gate")  # where it exists, nothing is deadly or sick or held
    prepared: int = 0

    def prepare(self) -> None:
        self.prepared += 1
        self._fail_where_sick("prepare")

    def produce(self, keys: Sequence[str]) -> list[Record]:
        assert self.prepared == 1, "prepare comes first, and once"
        assert len({self.lengths[key] for key in keys}) == 1, "a batch holds one length"
        assert len(keys) <= self.batch_size
        self._suffer(keys)
        time.sleep(0 if self.hurry and _again() else max(self.delays.get(key, self.delay_s) for key in keys))
        for key in keys:
            if key in self.bad:
                raise ValueError(f"{key} is not speech\nsecond line")
        if self.log:
            with self.log.open("a") as log:
                log.write("".join(f"{key}\n" for key in keys))
        if self.trace:
            where = "\t".join([os.environ.get("SLURMD_NODENAME", ""), os.environ.get("CUDA_VISIBLE_DEVICES", ""), str(os.getpid())])
            with self.trace.open("a") as trace:
                trace.write("".join(f"{where}\t{key}\n" for key in keys))
        return [self._record(key) for key in keys]

    def _suffer(self, keys: Sequence[str]) -> None:
        """Do what the test asks of these keys or this node, unless the gate is open."""
        self._fail_where_sick("produce")
        if self.deadly & set(keys) and not self.gate.exists():
            die()
        while self.hold_at in keys and not self.gate.exists() and not (self.hold_first and _again()):
            time.sleep(0.02)

    def _fail_where_sick(self, act: str) -> None:
        node = os.environ.get("SLURMD_NODENAME", "")
        if self.sick in {(node, act), ("*", act)} and not self.gate.exists():
            raise OSError(f"no device in {node}")

    def _record(self, key: str) -> Record:
        codes = np.random.default_rng(item_seed(key, self.seed)).integers(0, 1024, (self.lengths[key], 8))
        return Record(key, {"codes": codes.astype(np.int16)}, {"seed": self.seed})


def _again() -> bool:
    return os.environ.get("SLURM_RESTART_COUNT", "0") != "0"


def toy(**settings: object) -> partial[Toy]:
    return partial(Toy, **settings)


def die() -> None:
    os.kill(os.getpid(), 9)

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
    prepared: int = 0

    def prepare(self) -> None:
        self.prepared += 1

    def produce(self, keys: Sequence[str]) -> list[Record]:
        assert self.prepared == 1, "prepare comes first, and once"
        assert len({self.lengths[key] for key in keys}) == 1, "a batch holds one length"
        assert len(keys) <= self.batch_size
        time.sleep(self.delay_s)
        for key in keys:
            if key in self.bad:
                raise ValueError(f"{key} is not speech\nsecond line")
        if self.log:
            with self.log.open("a") as log:
                log.write("".join(f"{key}\n" for key in keys))
        return [self._record(key) for key in keys]

    def _record(self, key: str) -> Record:
        codes = np.random.default_rng(item_seed(key, self.seed)).integers(0, 1024, (self.lengths[key], 8))
        return Record(key, {"codes": codes.astype(np.int16)}, {"seed": self.seed})


def toy(**settings: object) -> partial[Toy]:
    return partial(Toy, **settings)


def die() -> None:
    os.kill(os.getpid(), 9)

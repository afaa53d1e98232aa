"""Plans: balanced, explicit, refused when changed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from toy_producer import ITEMS, toy_plan

from lcm.store import StoreError
from slurm import Plan, make_plan
from slurm.shards import adopt_plan


@pytest.mark.parametrize("seed", range(30))
def test_no_shard_is_longer_than_the_mean_and_one_item(seed: int):
    rng = np.random.default_rng(seed)
    lengths = rng.pareto(1.2, rng.integers(1, 200)) * 50 + 1  # speech has a long tail
    shards = int(rng.integers(1, len(lengths) + 1))
    plan = make_plan([(str(n), int(length)) for n, length in enumerate(lengths)], shards)
    sizes = [sum(item.length for item in plan.shard_items(shard)) for shard in range(shards)]
    longest = max(item.length for item in plan.items)
    assert max(sizes) <= sum(sizes) / shards + longest
    assert all(start < stop for start, stop in plan.ranges)
    assert [key for shard in range(shards) for key in plan.keys(shard)] == [item.key for item in plan.items]


def test_no_more_shards_are_made_than_items():
    assert make_plan([("a", 1), ("b", 9)], 5).ranges == ((0, 1), (1, 2))


def test_a_plan_reads_back_as_it_was(tmp_path: Path):
    plan = toy_plan(3, teacher={"name": "latent", "steps": (18, 4)}, note="☃")
    assert plan.write(tmp_path / "plan.json")
    assert Plan.read(tmp_path / "plan.json") == plan
    assert Plan.read(tmp_path / "plan.json").identity == plan.identity


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        (toy_plan(4), "shards: 3 before, 4 asked"),
        (toy_plan(3, seed=2), "seed: 1 before, 2 asked"),
        (toy_plan(3, teacher="mbd"), "teacher: None before, 'mbd' asked"),
        (toy_plan(3, items=[*ITEMS, ("new", 5)]), "items: 1 new, first 'new'"),
        (toy_plan(3, items=ITEMS[1:]), "items: 1 gone, first 'clip 00'"),
        (toy_plan(3, items=[("clip 00", 99), *ITEMS[1:]]), "items: 1 of another length, first 'clip 00'"),
        (toy_plan(3, items=[ITEMS[4], *ITEMS[1:4], ITEMS[0], *ITEMS[5:]]), "the order of the items"),
    ],
)
def test_a_changed_plan_is_refused_with_the_difference(tmp_path: Path, changed: Plan, named: str):
    adopt_plan(tmp_path, toy_plan(3))
    with pytest.raises(StoreError, match=named):
        adopt_plan(tmp_path, changed)


def test_the_same_plan_is_adopted_again(tmp_path: Path):
    adopt_plan(tmp_path, toy_plan(3, steps=(1, 2)))
    adopt_plan(tmp_path, toy_plan(3, steps=[1, 2]))


@pytest.mark.parametrize("items", [[], [("a", 1), ("a", 2)], [("a", 0)]])
def test_items_that_cannot_be_planned_are_refused(items: list[tuple[str, int]]):
    with pytest.raises(StoreError, match=r"planned|plan 0 items"):
        make_plan(items, 2)


def test_a_plan_changed_by_hand_is_refused(tmp_path: Path):
    toy_plan(3).write(tmp_path / "plan.json")
    text = (tmp_path / "plan.json").read_text().replace("clip 03", "clip 99")
    (tmp_path / "plan.json").write_text(text)
    with pytest.raises(StoreError, match="changed by hand"):
        Plan.read(tmp_path / "plan.json")


@pytest.mark.slow
def test_a_plan_of_a_million_clips_takes_seconds():
    plan = make_plan(((f"clip-{n}", 75 + n % 1000) for n in range(1_000_000)), 20_000)
    assert plan.shards == 20_000
    assert len(plan.identity) == 16

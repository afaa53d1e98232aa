"""Plans: balanced, explicit, refused when changed."""

from __future__ import annotations

import json
import multiprocessing
from pathlib import Path

import numpy as np
import pytest
from toy_producer import ITEMS, toy_plan

from lcm.store import StoreError, StorePaths
from slurm import Plan, make_plan
from slurm.shards import PlanHeader, adopt_plan, missing_shards


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


def test_a_difference_names_seed_and_attrs_before_what_follows_from_them():
    lines = toy_plan(3, codec="a").difference(toy_plan(4, seed=2, items=ITEMS[1:], codec="b"))
    assert [line.split(":")[0] for line in lines] == ["seed", "codec", "items", "shards"]


def test_a_header_says_what_a_plan_holds_without_its_items(tmp_path: Path):
    plan = toy_plan(3, teacher="latent")
    plan.write(tmp_path / "plan.json")
    StorePaths(tmp_path).items(plan.header.digest).unlink()
    header = PlanHeader.read(tmp_path / "plan.json")
    assert (header.identity, header.seed, header.attrs, header.ranges) == (plan.identity, 1, {"teacher": "latent"}, plan.ranges)
    assert (header.shards, header.clips) == (3, len(ITEMS))
    assert [header.clips_of(shard) for shard in range(3)] == [len(plan.keys(shard)) for shard in range(3)]
    assert [header.frames(shard) for shard in range(3)] == [sum(item.length for item in plan.shard_items(shard)) for shard in range(3)]


def test_a_task_reads_the_items_of_its_own_shards_alone(tmp_path: Path):
    plan = toy_plan(3)
    plan.write(tmp_path / "plan.json")
    change(StorePaths(tmp_path).items(plan.header.digest), "clip 00", "clip 99")
    there = Plan.read(tmp_path / "plan.json")
    assert [there.shard_items(shard) for shard in (1, 2)] == [plan.shard_items(shard) for shard in (1, 2)]
    with pytest.raises(StoreError, match=r"items of shard 0 in .*items-.*\.jsonl were changed by hand or damaged"):
        there.shard_items(0)
    with pytest.raises(StoreError, match="changed by hand"):
        there.items  # noqa: B018 - reading them is the act


def test_a_header_changed_by_hand_is_refused(tmp_path: Path):
    toy_plan(3).write(tmp_path / "plan.json")
    change(tmp_path / "plan.json", '"seed": 1', '"seed": 2')
    with pytest.raises(StoreError, match="changed by hand"):
        Plan.read(tmp_path / "plan.json")


def test_items_that_were_deleted_are_written_again_by_the_command_that_planned(tmp_path: Path):
    plan = toy_plan(3)
    adopt_plan(tmp_path, plan)
    StorePaths(tmp_path).items(plan.header.digest).unlink()
    with pytest.raises(StoreError, match=r"items .* are missing. Run the command that made the plan again"):
        Plan.read(tmp_path / "plan.json").shard_items(0)
    adopt_plan(tmp_path, plan)
    assert Plan.read(tmp_path / "plan.json").items == plan.items


def test_a_plan_of_an_older_schema_is_refused_with_what_to_do(tmp_path: Path):
    (tmp_path / "plan.json").write_text(json.dumps({"schema": 1, "identity": "00", "keys": ["a"], "lengths": [1]}))
    with pytest.raises(StoreError, match=r"is of schema 1, but this version reads schema 2.*another folder"):
        Plan.read(tmp_path / "plan.json")


@pytest.mark.parametrize("text", ["", "{", "[]", '{"schema": 2}', '{"schema": 2, "identity": "0", "ranges": [1]}'])
def test_a_damaged_plan_is_refused(tmp_path: Path, text: str):
    (tmp_path / "plan.json").write_text(text)
    with pytest.raises(StoreError, match=r"plan\.json cannot be read"):
        Plan.read(tmp_path / "plan.json")


def test_of_many_processes_that_plan_at_once_one_wins_and_the_others_are_told(tmp_path: Path):
    context = multiprocessing.get_context("fork")
    barrier, said = context.Barrier(6), context.Queue()
    racers = [context.Process(target=race, args=(tmp_path, shards, barrier, said)) for shards in (2, 3, 4) * 2]
    for racer in racers:
        racer.start()
    told = [said.get(timeout=60) for _ in racers]
    for racer in racers:
        racer.join()
    won = Plan.read(tmp_path / "plan.json")
    refused = [f"shards: {won.shards} before, {shards} asked" for shards in (2, 3, 4) if shards != won.shards]
    assert sorted(told) == sorted(["", *refused] * 2)
    assert won == toy_plan(won.shards)
    assert won.items == toy_plan(won.shards).items
    assert {path.name for path in tmp_path.iterdir()} == {"plan.json", StorePaths(tmp_path).items(won.header.digest).name}


def test_missing_are_the_shards_asked_for_that_are_not_committed(tmp_path: Path):
    plan = toy_plan(5)
    assert missing_shards(tmp_path, plan) == [0, 1, 2, 3, 4]
    StorePaths(tmp_path).shard_folder.mkdir()
    for shard, of in ((1, 5), (3, 5), (2, 6)):
        StorePaths(tmp_path).shard(shard, of).touch()
    assert missing_shards(tmp_path, plan.header) == [0, 2, 4]
    assert missing_shards(tmp_path, plan, [4, 3, 0]) == [4, 0]


def race(folder: Path, shards: int, barrier, said) -> None:
    barrier.wait()
    try:
        adopt_plan(folder, toy_plan(shards))
        said.put("")
    except StoreError as error:
        said.put(str(error).splitlines()[1].strip())


def change(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))

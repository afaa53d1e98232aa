"""Check the committed shards of a store, finished or not, and say what is wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

from lcm.store.checking import Check, ShardPlan, check_planned, check_shards
from lcm.store.index import Index, read_index, store_identity
from lcm.store.paths import StorePaths
from lcm.store.record import StoreError
from lcm.store.shard import ShardInfo, verify_shard

_ALIKE = ("identity", "shards", "seed", "codec", "teacher", "store")  # what all shards of a store must have noted alike

OnShard = Callable[[int], None]


def verify_store(
    folder: Path, plan: ShardPlan | None = None, *, on_shard: OnShard | None = None, processes: int | None = None
) -> list[str]:
    """Check every committed shard: checksums, tables, finite values, and that they are of one store.

    Args:
        folder: The store. Of one that has its index every shard must be there and be the one that was indexed; of one that is still
            being made those that are there are checked.
        plan: Its plan where at hand; shards are then checked against it too.
        on_shard: Called after each shard with the number checked so far.
        processes: How many at once; None takes the CPUs that this process may use.

    Returns:
        The problems, each naming its shard; empty where there are none.
    """
    try:
        index = read_index(folder) if StorePaths(folder).index.exists() else None
    except StoreError as error:
        return [str(error)]
    if index is not None:
        return _indexed(folder, index, plan, on_shard, processes)
    return _planned(folder, plan, on_shard, processes) if plan is not None else _alike(folder, on_shard, processes)


def _indexed(folder: Path, index: Index, plan: ShardPlan | None, on_shard: OnShard | None, processes: int | None) -> list[str]:
    paths = StorePaths(folder)
    if plan is not None and index.plan != plan.identity:
        return [f"{paths.index} is of the plan {index.plan}, not of {plan.identity}. Delete it and merge again."]

    def check(number: int) -> ShardInfo:
        entry = index.shards[number]
        path = paths.shard_folder / entry.file
        info = check_planned(path, plan, number) if plan is not None else verify_shard(path)
        if info.digest != entry.digest:
            raise StoreError(f"The shard {path} is whole, but not the one that was indexed. Delete {paths.index} and merge again.")
        return info

    infos, problems = _run(check, len(index.shards), on_shard, processes)
    found = store_identity(index.streams, ((key, crc) for info in infos for key, crc in zip(info.keys, info.checksums, strict=True)))
    if not problems and found != index.identity:
        problems.append(f"{paths.index} says that the store is {index.identity}, but its shards are {found}. Delete it and merge again.")
    return problems


def _planned(folder: Path, plan: ShardPlan, on_shard: OnShard | None, processes: int | None) -> list[str]:
    paths = StorePaths(folder)
    names = {paths.shard_name(shard, plan.shards): shard for shard in range(plan.shards)}
    there = [path.name for path in paths.shards()]
    committed = [names[name] for name in there if name in names]
    strangers = [f"{paths.shard_folder / name} is not of this plan. Delete it." for name in there if name not in names]

    def check(number: int) -> ShardInfo:
        shard = committed[number]
        return check_planned(paths.shard(shard, plan.shards), plan, shard)

    return strangers + _run(check, len(committed), on_shard, processes)[1]


def _alike(folder: Path, on_shard: OnShard | None, processes: int | None) -> list[str]:
    files = StorePaths(folder).shards()
    infos, problems = _run(lambda number: _named_right(files[number]), len(files), on_shard, processes)
    usual = max(noted, key=noted.__getitem__) if (noted := Counter(map(_noted, infos))) else ()
    for info in infos:
        if _noted(info) != usual:
            differ = {n: (mine, others) for n, mine, others in zip(_ALIKE, _noted(info), usual, strict=True) if mine != others}
            name = StorePaths.shard_name(info.attrs["shard"], info.attrs["shards"])
            problems.append(f"The shard {name} of {folder} is of another plan than most, (its, theirs): {differ}. Delete it and run again.")
    return problems


def _named_right(path: Path) -> ShardInfo:
    info = verify_shard(path)
    name = StorePaths.shard_name(info.attrs.get("shard", -1), info.attrs.get("shards", -1))
    if path.name != name:
        raise StoreError(f"The shard {path} says that it is {name}. Delete it and run again.")
    return info


def _noted(info: ShardInfo) -> tuple[str, ...]:
    return tuple(str(info.attrs.get(name)) for name in _ALIKE)


def _run(check: Check, shards: int, on_shard: OnShard | None, processes: int | None) -> tuple[Sequence[ShardInfo], list[str]]:
    with closing(check_shards(check, shards, processes=processes, on_shard=on_shard)) as checked:
        results = list(checked)
    return [info for info, _ in results if info is not None], [problem for info, problem in results if info is None]

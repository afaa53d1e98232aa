"""Speaker-disjoint splits that depend on names, durations and a seed, not on the order of files."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

TOLERANCE = 0.25  # a split may miss its share by this part of it; nearer would take many small speakers from training


@dataclass(frozen=True)
class Item:
    """An utterance to place.

    Attributes:
        utterance: Id.
        speaker: Who speaks.
        seconds: Duration.
        split: The split that the source states, or None.
    """

    utterance: str
    speaker: str
    seconds: float
    split: str | None = None


def assign(items: Sequence[Item], valid_fraction: float, test_fraction: float, seed: int) -> tuple[dict[str, str], list[str]]:
    """Place utterances into train, valid and test.

    Speakers are taken in the order of a hash of their name and the seed, first for the test and then for
    validation, until a split has about its share of the speech; one who would far exceed it is passed
    over. With two speakers test and train have one each; from three on no split with a share is empty.
    A single speaker is split by file.
    A split that the source states for some utterances is not drawn for the others.

    Args:
        items: The utterances.
        valid_fraction: Share of the speech for validation.
        test_fraction: Share of the speech for the test.
        seed: Seed.

    Returns:
        The split of each utterance, and warnings.
    """
    stated = {item.utterance: item.split for item in items if item.split is not None}
    free = [item for item in items if item.split is None]
    drawn = [(name, share) for name, share in (("test", test_fraction), ("valid", valid_fraction)) if name not in stated.values() and share]
    by_file = len({item.speaker for item in free}) == 1 and bool(drawn)
    groups = {item.utterance: (item.utterance if by_file else item.speaker) for item in free}
    place = _draw(_durations(free, groups), drawn, seed)
    splits = {**stated, **{utterance: place.get(group, "train") for utterance, group in groups.items()}}
    return splits, _warnings(items, splits, by_file, [name for name, _ in drawn])


def _durations(items: Iterable[Item], groups: Mapping[str, str]) -> dict[str, float]:
    """Sum the seconds of each group."""
    seconds: dict[str, float] = {}
    for item in sorted(items, key=lambda item: item.utterance):  # an order of their own: sums of floats depend on it
        group = groups[item.utterance]
        seconds[group] = seconds.get(group, 0.0) + item.seconds
    return seconds


def _draw(seconds: Mapping[str, float], shares: Iterable[tuple[str, float]], seed: int) -> dict[str, str]:
    """Return the split of each drawn group; those not named are for training."""
    left = dict(sorted(seconds.items(), key=lambda pair: rank(pair[0], seed)))
    total, place = sum(seconds.values()), {}
    for name, share in shares:
        chosen = _take(left, share * total)
        place.update(dict.fromkeys(chosen, name))
        left = {group: s for group, s in left.items() if group not in chosen}
    return place


def _take(seconds: Mapping[str, float], target: float) -> list[str]:
    """Choose as few groups as sum to about the target: at least one, and at least one is left."""
    if len(seconds) < 2:
        return []
    chosen: list[str] = []
    taken = 0.0
    for group, s in seconds.items():
        if taken < (1 - TOLERANCE) * target and taken + s <= (1 + TOLERANCE) * target and len(chosen) < len(seconds) - 1:
            chosen.append(group)
            taken += s
    return chosen or [min(seconds, key=lambda group: seconds[group])]


def rank(name: str, seed: int) -> str:
    """Return a key that puts names into an order drawn by the seed."""
    return hashlib.sha256(f"{seed}|{name}".encode("utf-8", "surrogateescape")).hexdigest()


def limit(items: Sequence[Item], splits: Mapping[str, str], max_seconds: float) -> set[str]:
    """Choose utterances that last about `max_seconds` together, the same share of every split and one at least."""
    total = sum(item.seconds for item in items)
    kept: set[str] = set()
    for split in sorted(set(splits.values())):
        members = sorted((i for i in items if splits[i.utterance] == split), key=lambda i: rank(i.utterance, 0))
        budget = max_seconds * sum(i.seconds for i in members) / total
        kept.add(members[0].utterance)
        budget -= members[0].seconds
        for item in members[1:]:
            if item.seconds <= budget:
                kept.add(item.utterance)
                budget -= item.seconds
    return kept


def _warnings(items: Sequence[Item], splits: Mapping[str, str], by_file: bool, drawn: Sequence[str]) -> list[str]:
    """Say where the splits are weaker than asked for."""
    found: list[str] = []
    if by_file:
        found.append("A single speaker: split by file, so results do not tell how unseen speakers fare. Is speaker_pattern right?")
    speakers = {name: {i.speaker for i in items if splits[i.utterance] == name} for name in ("train", "valid", "test")}
    shared = sorted(speakers["test"] & (speakers["train"] | speakers["valid"]))
    if shared and not (by_file and "test" in drawn):
        names = ", ".join(shared[:5]) + (", ..." if len(shared) > 5 else "")
        found.append(f"{len(shared)} speaker(s) of the test are in training or validation too: {names}. Is speaker_pattern right?")
    found += [f"No speaker is left for the {name} split: it is empty." for name in drawn if not speakers[name]]
    return found

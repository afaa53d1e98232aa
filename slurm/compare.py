"""How far two stores of the same clips agree: what another device, dtype, thread count or version changes.

Shapes: codes `[F, K]`, latents `[F, D]`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.box import SIMPLE_HEAD
from rich.table import Table

from lcm.store import Store, StoreError, read_index

_NAMED = 3  # keys spelt out
_OF_THE_PLAN = {"identity", "shards"}  # how the clips were divided


@dataclass
class StreamDifference:
    """How one stream differs over the clips that both stores have.

    Attributes:
        clips: Clips compared.
        clips_that_differ: Those with at least one other value, or another length.
        other_length: Those with another number of frames; their values are left out of what follows.
        values: Values compared.
        values_that_differ: Those that are not equal.
        by_column: Values that differ in each column, for codes in each codebook, coarse to fine; of `values / width` each.
        largest: Largest absolute difference.
        squared: Sum of squared differences.
        squared_a: Sum of squares in the first store, for scale.
        whole: Whether the values are integers, such as codes; then only whether they are equal means something.
    """

    clips: int = 0
    clips_that_differ: int = 0
    other_length: int = 0
    values: int = 0
    values_that_differ: int = 0
    by_column: tuple[int, ...] = ()
    largest: float = 0.0
    squared: float = 0.0
    squared_a: float = 0.0
    whole: bool = True

    @property
    def share(self) -> float:
        """Share of values that differ, 0 to 1."""
        return self.values_that_differ / max(self.values, 1)

    @property
    def share_of_clips(self) -> float:
        """Share of clips that differ, 0 to 1."""
        return self.clips_that_differ / max(self.clips, 1)

    @property
    def shares_by_column(self) -> tuple[float, ...]:
        """Share of values that differ in each column, 0 to 1."""
        rows = max(self.values // max(len(self.by_column), 1), 1)
        return tuple(count / rows for count in self.by_column)

    @property
    def rms(self) -> float:
        """Root of the mean squared difference."""
        return float(np.sqrt(self.squared / max(self.values, 1)))

    @property
    def relative_rms(self) -> float:
        """`rms` over the root mean square of the first store."""
        return float(np.sqrt(self.squared / self.squared_a)) if self.squared_a else 0.0

    def add(self, a: NDArray[Any], b: NDArray[Any]) -> None:
        """Count one clip, `[F, width]` of each store."""
        self.clips += 1
        if len(a) != len(b):
            self.other_length += 1
            self.clips_that_differ += 1
            return
        unequal = a != b
        columns = unequal.sum(axis=0)
        self.by_column = tuple(int(n) for n in columns + (np.array(self.by_column) if self.by_column else 0))
        self.values += a.size
        self.values_that_differ += int(unequal.sum())
        self.clips_that_differ += bool(unequal.any())
        first = a.astype(np.float64)
        gap = first - b
        self.largest = max(self.largest, float(np.abs(gap).max(initial=0.0)))
        self.squared += float(np.square(gap).sum())
        self.squared_a += float(np.square(first).sum())


@dataclass(frozen=True)
class Comparison:
    """Two finished stores beside each other.

    Attributes:
        a: The first store.
        b: The second.
        only_a: Keys that only the first has.
        only_b: Keys that only the second has.
        streams: Difference of each stream that both have with the same width.
        not_compared: Streams that only one has, or that differ in width, each with the reason.
        made: What the two noted of their making where they disagree, such as device and threads.
    """

    a: Path
    b: Path
    only_a: tuple[str, ...]
    only_b: tuple[str, ...]
    streams: dict[str, StreamDifference]
    not_compared: dict[str, str]
    made: dict[str, tuple[Any, Any]]

    @property
    def equal(self) -> bool:
        """Whether both hold the same clips with the same values; how they were made does not count."""
        same = not (self.only_a or self.only_b or self.not_compared)
        return same and not any(difference.clips_that_differ for difference in self.streams.values())

    def __rich__(self) -> Table:
        """Return the comparison as a table for a terminal."""
        table = Table(title=f"{self.a} and {self.b}: {'equal' if self.equal else 'different'}", box=SIMPLE_HEAD, pad_edge=False)
        for heading in ("stream", "clips", "values differ", "clips differ", "how"):
            table.add_column(heading, overflow="fold")
        for name, difference in self.streams.items():
            table.add_row(name, str(difference.clips), _percent(difference.share), _percent(difference.share_of_clips), _how(difference))
        for line in self._notes():
            table.add_row(*line)
        return table

    def _notes(self) -> list[tuple[str, str, str, str, str]]:
        lines = [(name, "", "", "", reason) for name, reason in self.not_compared.items()]
        for store, keys in ((self.a, self.only_a), (self.b, self.only_b)):
            if keys:
                some = ", ".join(keys[:_NAMED]) + (", ..." if len(keys) > _NAMED else "")
                lines.append(("", str(len(keys)), "", "", f"only in {store}: {some}"))
        return lines + [("", "", "", "", f"{name}: {a} and {b}") for name, (a, b) in self.made.items()]


def compare(a: Path, b: Path) -> Comparison:
    """Compare two finished stores clip by clip.

    Args:
        a: A finished store.
        b: Another.

    Raises:
        StoreError: One is not finished, a record in it is damaged, or they have no clip or no stream in common.
    """
    first, second = Store(a), Store(b)
    shared = [key for key in first.keys if key in second]
    not_compared = dict(_unlike(first, second))
    names = [name for name in first.streams if name not in not_compared]
    if not shared or not names:
        what = "clip" if not shared else "stream"
        raise StoreError(f"{a} and {b} have no {what} in common: {_example(first, what)} in one, {_example(second, what)} in the other.")
    streams = {name: StreamDifference(whole=np.dtype(first.streams[name].dtype).kind in "iu") for name in names}
    for key in shared:
        for name, difference in streams.items():
            difference.add(first.read(key, name), second.read(key, name))
    return Comparison(
        a=Path(a),
        b=Path(b),
        only_a=tuple(key for key in first.keys if key not in second),
        only_b=tuple(key for key in second.keys if key not in first),
        streams=streams,
        not_compared=not_compared,
        made=_disagreements(_made(first), _made(second)),
    )


def _unlike(a: Store, b: Store) -> list[tuple[str, str]]:
    """Return the streams that cannot be compared, with the reason."""
    found = []
    for name in sorted({*a.streams, *b.streams}):
        if name not in a.streams or name not in b.streams:
            found.append((name, f"only in {(a if name in a.streams else b).folder}"))
        elif a.streams[name].width != b.streams[name].width:
            found.append((name, f"{a.streams[name].width} columns in {a.folder}, {b.streams[name].width} in {b.folder}"))
    return found


def _made(store: Store) -> dict[str, Any]:
    """Return what a store noted of its making; where its shards do not agree, as on several kinds of node, every value."""
    made: dict[str, Any] = {}
    for circumstances in read_index(store.folder).circumstances:
        for name, value in circumstances.items():
            made[name] = f"{made[name]}, {value}" if name in made and str(value) not in str(made[name]).split(", ") else value
    return {**made, **store.attrs}


def _disagreements(a: dict[str, Any], b: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    names = sorted({*a, *b} - _OF_THE_PLAN)
    return {name: (a.get(name), b.get(name)) for name in names if a.get(name) != b.get(name)}


def _example(store: Store, what: str) -> str:
    return repr(store.keys[0]) if what == "clip" else ", ".join(store.streams)


def _percent(share: float) -> str:
    return "0" if not share else f"{100 * share:.3g} %"


def _how(difference: StreamDifference) -> str:
    parts = [f"{difference.other_length} of another length"] if difference.other_length else []
    if difference.whole and difference.values_that_differ:
        parts.append("by codebook " + " ".join(_percent(share) for share in difference.shares_by_column).replace(" %", "") + " %")
    elif difference.values_that_differ:
        parts.append(f"largest {difference.largest:.3g}, RMS {difference.rms:.3g} ({_percent(difference.relative_rms)} of the signal's)")
    return "; ".join(parts)

"""Batches of items of equal length, no larger than memory has been seen to hold."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from slurm.shards import Item


@dataclass
class FrameBudget:
    """How many frames fit at once; unknown until memory has run out.

    Attributes:
        frames: Most items times length in one batch; None while nothing is known.
    """

    frames: int | None = None

    def fits(self, length: int, batch_size: int) -> int:
        """Return how many items of a length to take at once, at least 1."""
        most = batch_size if self.frames is None else min(batch_size, self.frames // length)
        return max(most, 1)

    def halve(self, items: Sequence[Item]) -> int:
        """Learn that a batch was too large; return the size of its halves."""
        half = (len(items) + 1) // 2  # of three, two may fit
        self.frames = half * items[0].length
        return half


def equal_length_batches(items: Sequence[Item], batch_size: int, budget: FrameBudget | None = None) -> Iterator[list[Item]]:
    """Yield items in batches of equal length, so that no item is padded and batching changes nothing. The longest come first.

    Args:
        items: Items with their lengths in frames.
        batch_size: Most items in a batch, at least 1.
        budget: What fits; looked at anew for each batch.
    """
    budget = budget or FrameBudget()
    buckets: dict[int, list[Item]] = {}
    for item in sorted(items, key=lambda item: -item.length):  # where memory is short, that shows at once
        buckets.setdefault(item.length, []).append(item)
    for length, bucket in buckets.items():
        start = 0
        while start < len(bucket):
            size = budget.fits(length, batch_size)
            yield bucket[start : start + size]
            start += size

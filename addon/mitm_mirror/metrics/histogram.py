"""A histogram with fixed bounds. Adding a value is a binary search and two additions."""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class HistogramSnapshot:
    """A histogram at one moment."""

    bounds: Sequence[float]
    """Upper bounds, each included, ascending."""
    counts: tuple[int, ...]
    """Values in each bucket alone; the last one is for what is above all bounds."""
    sum: float

    @property
    def buckets(self) -> list[tuple[str, float]]:
        """`(le, values up to that)`, as Prometheus wants them."""
        total = 0
        buckets: list[tuple[str, float]] = []
        for bound, count in zip((*self.bounds, float("inf")), self.counts, strict=True):
            total += count
            buckets.append(("+Inf" if bound == float("inf") else f"{bound:g}", total))
        return buckets


class Histogram:
    """Counts values."""

    __slots__ = ("_bounds", "_counts", "_sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def add(self, value: float) -> None:
        """One more value."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def snapshot(self) -> HistogramSnapshot:
        """As it stands; later values do not change what is returned."""
        return HistogramSnapshot(self._bounds, tuple(self._counts), self._sum)

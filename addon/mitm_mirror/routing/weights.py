"""Choosing among alternatives by weight."""

from bisect import bisect_right
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Weighted(Generic[Item]):
    """Alternatives with weights. Weights are ratios; their sum need not be 100."""

    __slots__ = ("_cumulative", "items", "weights")

    def __init__(self, items: Sequence[Item], weights: Sequence[int]) -> None:
        """At least one item; as many weights as items, each above 0 where there are several."""
        self.items = tuple(items)
        self.weights = tuple(weights)
        self._cumulative = tuple(accumulate(self.weights))

    def choose(self, draw: Callable[[], float]) -> Item:
        """One item; `draw` gives a number in [0, 1) and is asked only where there is a choice."""
        items = self.items
        if len(items) == 1:
            return items[0]
        return items[bisect_right(self._cumulative, draw() * self._cumulative[-1])]

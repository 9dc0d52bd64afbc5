"""Weighted turns: earliest deadline first, as Envoy schedules endpoints of different weights."""

import heapq
from collections.abc import Callable, Iterable
from itertools import count
from typing import Generic, TypeVar

Item = TypeVar("Item")


class EdfSchedule(Generic[Item]):
    """Items take turns, each as often as its weight says, and evenly spread.

    Source: Envoy's source/extensions/load_balancing_policies/common/edf_scheduler.h. Envoy starts at a
    random place, so that many Envoys do not begin with the same endpoint; here it is the beginning.
    """

    __slots__ = ("_heap", "_order", "_weigh")

    def __init__(self, items: Iterable[Item], weigh: Callable[[Item], float]) -> None:
        """`weigh` is asked each time an item is put back, so a weight may change; above 0 always."""
        self._weigh = weigh
        self._order = count()
        # The order decides between equal deadlines, so items are never compared.
        self._heap = [(1 / weigh(item), next(self._order), item) for item in items]
        heapq.heapify(self._heap)

    def next(self) -> Item:
        """Whose turn it is."""
        deadline, _, item = self._heap[0]
        heapq.heapreplace(self._heap, (deadline + 1 / self._weigh(item), next(self._order), item))
        return item

"""Maglev's consistent hashing: a table in which every item has its share, nearly to the entry."""

from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import Generic, TypeVar

Item = TypeVar("Item")


class MaglevTable(Generic[Item]):
    """More even than a ring, at the price that more keys move where items come and go.

    Source: listing 1 of the paper (Eisenbud et al., Maglev, NSDI 2016), with weights as in Envoy's
    source/extensions/load_balancing_policies/maglev/maglev_lb.cc. It is not filled as Envoy's is, whose
    hashes are xxHash's: the same key may have another endpoint there.
    """

    __slots__ = ("_table",)

    def __init__(
        self, items: Sequence[Item], weights: Sequence[int], names: Sequence[bytes], size: int
    ) -> None:
        """At least one item. `names` tell them apart, and stay when others come and go.

        `size` is a prime number; a million entries take about a second.
        """
        order = sorted(range(len(items)), key=lambda index: names[index])
        places = [_hash(names[index], b"offset") % size for index in order]
        steps = [_hash(names[index], b"skip") % (size - 1) + 1 for index in order]
        heaviest = max(weights)
        owed = [0] * len(order)
        table: list[Item | None] = [None] * size
        taken = turn = 0
        while taken < size:
            turn += 1
            for number, index in enumerate(order):
                # An item of a third of the greatest weight has its turn each third time.
                if turn * weights[index] < owed[number]:
                    continue
                owed[number] += heaviest
                place, step = places[number], steps[number]
                while table[place] is not None:
                    place = (place + step) % size
                table[place] = items[index]
                places[number] = (place + step) % size
                taken += 1
                if taken == size:
                    break
        self._table: tuple[Item, ...] = tuple(item for item in table if item is not None)

    def find(self, key: bytes, usable: Callable[[Item], bool] | None = None) -> Item:
        """The item of a key. Of those that are `usable` the next in the table, so that only the keys of
        the others move; where none is, as if all were."""
        table = self._table
        index = _hash(key, b"key") % len(table)
        if usable is not None:
            for step in range(len(table)):
                item = table[(index + step) % len(table)]
                if usable(item):
                    return item
        return table[index]


def _hash(data: bytes, purpose: bytes) -> int:
    # Not Python's hash(), which differs from process to process.
    return int.from_bytes(blake2b(data, digest_size=8, person=purpose).digest(), "big")

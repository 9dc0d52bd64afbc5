"""Consistent hashing: a key always leads to the same item, and a change of items moves few keys."""

import struct
from bisect import bisect_left
from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import Generic, TypeVar

Item = TypeVar("Item")

DEFAULT_NODES = 1024
"""Istio's and Envoy's default `minimumRingSize`."""
MAX_NODES = 65_536
"""A ring of more would take longer to build than its evenness is worth; Envoy stops at 8 million."""

_NODES_PER_DIGEST = 8
_unpack_nodes = struct.Struct(">8Q").unpack


class HashRing(Generic[Item]):
    """Items on a ring of virtual nodes, as many for each as its weight says.

    An item's nodes do not depend on how many others there are, so that one which leaves moves its own
    keys only (Envoy shares a given size out, and all shares change). And it is not Envoy's ring: that is
    made by xxHash, so the same key may have another endpoint there.
    """

    __slots__ = ("_items", "_positions")

    def __init__(
        self, items: Sequence[Item], weights: Sequence[int], names: Sequence[bytes], nodes: int
    ) -> None:
        """At least one item. `names` tell them apart, and stay when others come and go.

        `nodes` is what an item of the greatest weight has; in a ring that would pass `MAX_NODES` it is
        the power of two below its share, which changes rarely as items come and go.
        """
        heaviest = max(weights)
        share = max(MAX_NODES // len(items), 1)
        wanted = nodes if nodes <= share else 1 << (share.bit_length() - 1)
        ring: list[tuple[int, Item]] = []
        for item, weight, name in zip(items, weights, names, strict=True):
            count = -(-wanted * weight // heaviest)  # rounded up: each has one at least
            ring += [(position, item) for position in _positions(name, count)]
        ring.sort(key=lambda node: node[0])
        self._positions = [position for position, _ in ring]
        self._items = [item for _, item in ring]

    def find(self, key: bytes, usable: Callable[[Item], bool] | None = None) -> Item:
        """The item of a key. Of those that are `usable` the next on the ring, so that only the keys of
        the others move; where none is, as if all were."""
        # Not Python's hash(), which differs from process to process.
        position = int.from_bytes(blake2b(key, digest_size=8).digest(), "big")
        index = bisect_left(self._positions, position)
        count = len(self._items)
        if usable is not None:
            for step in range(count):
                item = self._items[(index + step) % count]
                if usable(item):
                    return item
        return self._items[index if index < count else 0]


def _positions(name: bytes, count: int) -> list[int]:
    found: list[int] = []
    for number in range(-(-count // _NODES_PER_DIGEST)):
        found += _unpack_nodes(blake2b(b"%b_%d" % (name, number)).digest())
    return found[:count]

"""Brings the two legs of one request together where their lines are apart, in bounded memory."""

from collections import Counter

PAIRING_LINES = 150_000
"""How far apart the lines of one request are found at least. They are written as each copy ends, so that
they are a time-out apart: 15 s at 10,000 requests a second. That takes some 100 MB at most."""

StatusPairs = Counter[tuple[int, int]]
"""(primary's status, shadow's status) -> count; 0 where the primary has none."""


class Pairing:
    """Matches by id the statuses of lines that do not name the other leg's status themselves.

    Two generations: when the young one is full, it takes the place of the old one, which is forgotten.
    """

    __slots__ = ("_limit", "_old", "_old_waiting", "_size", "_waiting", "_young", "unpaired")

    def __init__(self, limit: int = PAIRING_LINES) -> None:
        self._limit = limit
        self._young: dict[str, int] = {}
        self._old: dict[str, int] = {}
        self._waiting: dict[str, list[tuple[StatusPairs, int]]] = {}
        self._old_waiting: dict[str, list[tuple[StatusPairs, int]]] = {}
        self._size = 0
        self.unpaired = 0
        """Shadows that were given up: their primary's line came too late, or never."""

    def add_primary(self, id_: str, status: int) -> None:
        """A primary's line; `status` is 0 where it has none."""
        for generation in (self._waiting, self._old_waiting):
            for pairs, shadow_status in generation.pop(id_, ()):
                pairs[status, shadow_status] += 1
        self._young[id_] = status
        self._grow()

    def add_shadow(self, id_: str, status: int, pairs: StatusPairs) -> None:
        """An answered shadow's line. The pair is counted in `pairs`, now or when the primary's line comes."""
        primary = self._young.get(id_)
        if primary is None:
            primary = self._old.get(id_)
        if primary is not None:
            pairs[primary, status] += 1
        else:
            self._waiting.setdefault(id_, []).append((pairs, status))
            self._grow()

    def close(self) -> None:
        """No more lines: what still waits stays unpaired."""
        self._forget()
        self._forget()

    def _grow(self) -> None:
        self._size += 1
        if self._size >= self._limit:
            self._forget()

    def _forget(self) -> None:
        self.unpaired += sum(map(len, self._old_waiting.values()))
        self._old, self._young = self._young, {}
        self._old_waiting, self._waiting = self._waiting, {}
        self._size = 0

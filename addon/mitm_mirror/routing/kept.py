"""What is decided once for all requests with one authority and port."""

from typing import TypeVar

Value = TypeVar("Value")

_LIMIT = 16
"""Few: clients choose authorities, and there may be 10,000 routes."""


class Kept(dict[tuple[str, int], Value]):
    """Values by authority and port. `keep` forgets all others where there are too many."""

    __slots__ = ()

    def keep(self, key: tuple[str, int], value: Value) -> None:
        if len(self) >= _LIMIT:
            self.clear()
        self[key] = value

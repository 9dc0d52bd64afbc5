"""Work that is not urgent, gathered and done in one go.

Done amid a request's other work it costs three times what it costs in a row of its like: by then its code and
its data have left the processor's caches, and it drives out those of what comes after it.
"""

from collections.abc import Callable
from typing import Generic, TypeVar

Item = TypeVar("Item")

Schedule = Callable[[Callable[[], None]], object]
"""Has a callback called, once, at its time: `partial(loop.call_later, 0.02)`."""


def at_once(callback: Callable[[], None]) -> None:
    """A `Schedule` without any delay."""
    callback()


class Gathering(Generic[Item]):
    """Keeps items in their order until their turn. For one thread."""

    __slots__ = ("_do", "_items", "schedule")

    def __init__(self, do: Callable[[list[Item]], None], schedule: Schedule = at_once) -> None:
        """`do` gets what has been added, never nothing. `schedule` is asked once for each turn."""
        self.schedule = schedule
        self._do = do
        self._items: list[Item] = []

    def add(self, item: Item) -> None:
        """Takes one more; with `at_once` it is done when this returns."""
        self._items.append(item)
        if len(self._items) == 1:
            self.schedule(self.flush)

    def flush(self) -> None:
        """Does now what has been added; its turn, when it comes, finds nothing of it."""
        items, self._items = self._items, []
        if items:
            self._do(items)

"""Counts over time in bounded memory."""

from dataclasses import dataclass

_WIDTHS_S = (1, 5, 10, 30, 60, 300, 600, 1800, 3600, 10800, 21600, 43200, 86400)
"""Each is a multiple of the one before, so that slots can be merged."""
_SLOTS = 120


@dataclass(slots=True)
class Slot:
    """What happened to the shadows that started within one slot of time."""

    shadows: int = 0
    failed: int = 0
    compared: int = 0
    differing: int = 0

    def add(self, other: "Slot") -> None:
        self.shadows += other.shadows
        self.failed += other.failed
        self.compared += other.compared
        self.differing += other.differing


class Timeline:
    """At most 120 slots that hold something; they become wider as the time gets longer."""

    __slots__ = ("_slots", "width_s")

    def __init__(self) -> None:
        self._slots: dict[int, Slot] = {}
        self.width_s = _WIDTHS_S[0]

    def at(self, second: int) -> Slot:
        """The slot of a UNIX second, to be counted in at once."""
        number = second // self.width_s
        slot = self._slots.get(number)
        if slot is None:
            while len(self._slots) >= _SLOTS and number not in self._slots:
                self._widen()
                number = second // self.width_s
            slot = self._slots.setdefault(number, Slot())
        return slot

    def slots(self) -> list[tuple[int, Slot]]:
        """(UNIX second at which it begins, slot), by time."""
        return [(number * self.width_s, slot) for number, slot in sorted(self._slots.items())]

    def _widen(self) -> None:
        wider = next((width for width in _WIDTHS_S if width > self.width_s), 2 * self.width_s)
        merged: dict[int, Slot] = {}
        for number, slot in self._slots.items():
            merged.setdefault(number * self.width_s // wider, Slot()).add(slot)
        self._slots = merged
        self.width_s = wider

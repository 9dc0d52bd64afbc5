"""Which shadows are still to be compared, and the primaries' answers on their way to the workers. No I/O."""

import logging
from collections.abc import Callable
from typing import Generic

from mitm_mirror.observe.compare import Comparison, NotCompared, not_compared
from mitm_mirror.shadow.answer import PrimaryAnswer
from mitm_mirror.shadow.ending import Token
from mitm_mirror.shadow.entry import Entry
from mitm_mirror.shadow.seat import Seat
from mitm_mirror.shadow.shares import Shares

logger = logging.getLogger(__name__)

_OVERHEAD_BYTES = 1024


class _Open(Generic[Token]):
    __slots__ = ("conclusion", "ended", "entry", "held_bytes", "primary", "seat")

    def __init__(self, entry: Entry[Token]) -> None:
        self.entry = entry
        self.seat: Seat | None = None
        """None before it is sent."""
        self.primary: tuple[PrimaryAnswer, bytes] | None = None
        """While it waits for the shadow to be sent."""
        self.held_bytes = 0
        """What its primary's answer holds of the pool's memory."""
        self.conclusion: Comparison | None = None
        """Known while the shadow is still on its way."""
        self.ended = False


class Comparisons(Generic[Token]):
    """Each shadow of which a comparison was wanted, and that ended `ok`, gets exactly one conclusion."""

    def __init__(self, memory: Shares, on_compared: Callable[[Token, Comparison], None]) -> None:
        self._memory = memory
        self._on_compared = on_compared
        self._open: dict[int, _Open[Token]] = {}

    @property
    def is_expecting(self) -> bool:
        """Whether a worker has both answers of some pair, so that it will say what it found."""
        return any(pair.ended and pair.held_bytes for pair in self._open.values())

    def opened(self, entry: Entry[Token]) -> None:
        """A shadow was taken in."""
        self._open[entry.number] = _Open(entry)

    def sent(self, number: int, seat: Seat) -> None:
        """It went to a worker."""
        pair = self._open.get(number)
        if pair is None:
            return
        pair.seat = seat
        if pair.primary is not None:
            seat.primary(number, *pair.primary)
            pair.primary = None

    def primary(self, number: int, answer: PrimaryAnswer, body: bytes) -> None:
        """Its primary was answered. Nothing where the shadow has failed."""
        pair = self._open.get(number)
        if pair is None or pair.conclusion is not None or pair.held_bytes:
            return
        size = _OVERHEAD_BYTES + len(body)
        if not self._memory.take(pair.entry.lane.memory, size):
            self.conclude(number, NotCompared.OVERLOADED)
            return
        pair.held_bytes = size
        if pair.seat is None:
            pair.primary = (answer, body)
        else:
            pair.seat.primary(number, answer, body)

    def conclude(self, number: int, reason: NotCompared) -> None:
        """Do not wait for it any more. Nothing where it has its conclusion, or needs none."""
        pair = self._open.get(number)
        if pair is None or pair.conclusion is not None:
            return
        pair.conclusion = not_compared(reason)
        if pair.seat is not None:
            pair.seat.forget(number)
        self._give_back(pair)
        if pair.ended:
            self._close(number, pair.conclusion)

    def ended(self, number: int, *, ok: bool) -> None:
        """The shadow ended. Without an answer there is nothing to compare: its outcome says it all."""
        pair = self._open.get(number)
        if pair is None:
            return
        if not ok:
            del self._open[number]
            self._give_back(pair)
            if pair.seat is not None:
                pair.seat.forget(number)
            return
        pair.ended = True
        if pair.conclusion is not None:
            self._close(number, pair.conclusion)

    def compared(self, results: list[tuple[int, Comparison]]) -> None:
        """What a worker found."""
        for number, comparison in results:
            pair = self._open.get(number)
            if pair is not None and pair.conclusion is None:
                self._close(number, comparison)

    def seat_emptied(self, seat: Seat) -> None:
        """A worker died, and what it had of these. Those that had not ended have ended as `lost` before."""
        for number in [number for number, pair in self._open.items() if pair.seat is seat]:
            self._open[number].seat = None
            self.conclude(number, NotCompared.WORKER_LOST)

    def close(self) -> None:
        """The proxy ends; all shadows have."""
        for number in list(self._open):
            self.conclude(number, NotCompared.CANCELLED)

    def _close(self, number: int, comparison: Comparison) -> None:
        pair = self._open.pop(number)
        self._give_back(pair)
        try:
            self._on_compared(pair.entry.token, comparison)
        except Exception:  # a bug in what listens must not keep the others from their conclusions
            logger.exception("mirror: what was told of a comparison failed.")

    def _give_back(self, pair: _Open[Token]) -> None:
        self._memory.give_back(pair.entry.lane.memory, pair.held_bytes)
        pair.held_bytes = 0
        pair.primary = None

"""Whose turn it is: one lane of waiting shadows per destination, served round robin. No I/O, no clock.

A destination that cannot have a slot now costs the others nothing: its lane is parked until it can.
Each step is O(1), whatever the number of lanes and of shadows that wait.
"""

from collections import OrderedDict, deque
from collections.abc import Iterator
from enum import Enum
from typing import Generic

from mitm_mirror.routing.pool_limits import PoolLimits
from mitm_mirror.shadow.breakers import Breakers
from mitm_mirror.shadow.ending import Token
from mitm_mirror.shadow.entry import Entry
from mitm_mirror.shadow.shares import Holding, Shares


class _Place(Enum):
    """Where a lane is queued."""

    NOWHERE = 0
    """Nothing waits, or only its own limit holds it back."""
    TURNS = 1
    PARKED = 2
    """It has all the slots that it may have while others use theirs."""


class Lane(Generic[Token]):
    """One destination: what waits for it, what it holds, and its endpoints' breakers."""

    __slots__ = ("breakers", "limits", "memory", "name", "place", "slots", "used_at", "waiting")

    def __init__(self, name: str, slots: Holding, memory: Holding) -> None:
        self.name = name
        self.slots = slots
        """Its shadows in flight."""
        self.memory = memory
        """The bytes of all its shadows that have not ended."""
        self.limits: PoolLimits | None = None
        self.waiting: OrderedDict[int, Entry[Token]] = OrderedDict()
        self.breakers = Breakers(name)
        self.place = _Place.NOWHERE
        self.used_at = 0.0

    @property
    def at_its_limit(self) -> bool:
        """Whether the rule's `maxConnections` are in use: over HTTP/1, a shadow in flight is a connection."""
        limits = self.limits
        return (
            limits is not None
            and limits.max_connections is not None
            and self.slots.amount >= limits.max_connections
        )

    def overflow(self) -> str:
        """Which limit of the rule's `connectionPool` one more shadow would pass; empty where none."""
        limits = self.limits
        if limits is None:
            return ""
        in_flight, waiting = self.slots.amount, len(self.waiting)
        if limits.max_requests is not None and in_flight + waiting >= limits.max_requests:
            return f"http2MaxRequests: {limits.max_requests} shadows have not ended yet"
        if (
            self.at_its_limit
            and limits.max_pending_requests is not None
            and waiting >= limits.max_pending_requests
        ):
            return (
                f"http1MaxPendingRequests: {waiting} shadows wait for "
                f"one of {limits.max_connections} maxConnections"
            )
        return ""


class Lanes(Generic[Token]):
    """All lanes, who may send next, and how slots and memory are shared out among them."""

    def __init__(self, queue_bytes: int) -> None:
        self.slots = Shares(0)
        self.memory = Shares(queue_bytes)
        self._by_name: dict[str, Lane[Token]] = {}
        self._turns: deque[Lane[Token]] = deque()
        self._parked: OrderedDict[Lane[Token], None] = OrderedDict()

    def __iter__(self) -> Iterator[Lane[Token]]:
        return iter(self._by_name.values())

    def get(self, name: str) -> Lane[Token]:
        """The destination's lane; a new one where there is none."""
        lane = self._by_name.get(name)
        if lane is None:
            lane = self._by_name[name] = Lane(name, self.slots.join(), self.memory.join())
            self._unpark_all()
        return lane

    def forget_unused(self, since: float) -> None:
        """Drop lanes that hold nothing and were last used before `since`: the others' shares grow.

        And the breakers of endpoints that are used no more.
        """
        for lane in self:
            lane.breakers.forget_unused(since)
        # A breaker that is still open is kept: its pause may be longer than the silence.
        unused = [
            lane for lane in self if lane.used_at < since and not lane.memory.amount and not lane.breakers
        ]
        for lane in unused:
            del self._by_name[lane.name]
            self.slots.leave(lane.slots)
            self.memory.leave(lane.memory)
        self._unpark_all()

    def set_slots(self, total: int) -> None:
        """How many shadows may be in flight by now, over all workers."""
        self.slots.resize(total)
        self._unpark_all()

    def take_slot(self, lane: Lane[Token]) -> bool:
        """Take a slot for a shadow that has just come; False where it has to wait for its turn."""
        if lane.waiting or self._turns or (lane.limits is not None and lane.at_its_limit):
            return False
        return self.slots.take(lane.slots, 1)

    def wait(self, lane: Lane[Token], entry: Entry[Token]) -> None:
        """Put a shadow at the end of its lane."""
        lane.waiting[entry.number] = entry
        if lane.place is _Place.NOWHERE:
            self._take_turns(lane)

    def next(self) -> Entry[Token] | None:
        """Take out the shadow whose turn it is, with a slot for it; None where none may be sent."""
        while True:
            if self._turns:
                lane = self._turns.popleft()
            elif self._parked and self.slots.common_left > 0:
                lane, _ = self._parked.popitem(last=False)
            else:
                return None
            lane.place = _Place.NOWHERE
            if not lane.waiting or lane.at_its_limit:
                continue
            if not self.slots.take(lane.slots, 1):
                lane.place = _Place.PARKED
                self._parked[lane] = None
                continue
            _, entry = lane.waiting.popitem(last=False)
            if lane.waiting:
                self._take_turns(lane)
            return entry

    def free_slot(self, lane: Lane[Token]) -> None:
        """A shadow of this lane that had a slot has ended."""
        self.slots.give_back(lane.slots, 1)
        if lane.place is _Place.PARKED:
            if lane.slots.amount < self.slots.own:
                del self._parked[lane]
                self._take_turns(lane)
        elif lane.place is _Place.NOWHERE and lane.waiting:  # its limit held it back
            self._take_turns(lane)

    def _take_turns(self, lane: Lane[Token]) -> None:
        lane.place = _Place.TURNS
        self._turns.append(lane)

    def _unpark_all(self) -> None:
        for lane in self._parked:
            self._take_turns(lane)
        self._parked.clear()

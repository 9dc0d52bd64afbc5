"""What a pool holds at one moment. Values only."""

from dataclasses import dataclass

from mitm_mirror.shadow.breaker import Breaker, BreakerState
from mitm_mirror.shadow.breakers import EndpointKey, endpoint_text
from mitm_mirror.shadow.ending import Token
from mitm_mirror.shadow.lanes import Lane


@dataclass(frozen=True, slots=True)
class BreakerStats:
    """An endpoint that failed of late."""

    endpoint: str
    """`127.0.0.1:8002`."""
    state: BreakerState
    retry_in_s: float
    """Until it may be tried again; 0 where that is now, or where it is closed."""
    reason: str
    """Its failures, in one line."""

    @classmethod
    def of(cls, endpoint: EndpointKey, breaker: Breaker, now: float) -> "BreakerStats":
        """As it stands at `now`."""
        left_s = max(breaker.retry_at - now, 0.0) if breaker.state is BreakerState.OPEN else 0.0
        return cls(endpoint_text(endpoint), breaker.state, left_s, breaker.reason)

    def __str__(self) -> str:
        """`127.0.0.1:8002: open, failed 5 times in a row, the last time with timeout; tried again: in 1 s`"""
        if self.state is BreakerState.CLOSED:
            return f"{self.endpoint}: {self.state}, {self.reason}"
        when = "one shadow is on its way" if self.state is BreakerState.HALF_OPEN else "with the next shadow"
        if self.retry_in_s > 0:
            when = f"in {self.retry_in_s:.1f} s"
        return f"{self.endpoint}: {self.state}, {self.reason}; tried again: {when}"


@dataclass(frozen=True, slots=True)
class DestinationStats:
    """What one destination holds."""

    name: str
    waiting: int
    in_flight: int
    held_bytes: int
    breakers: tuple[BreakerStats, ...]

    @classmethod
    def of(cls, lane: Lane[Token], now: float) -> "DestinationStats":
        """As it stands at `now`."""
        breakers = tuple(BreakerStats.of(key, breaker, now) for key, breaker in lane.breakers.items())
        return cls(lane.name, len(lane.waiting), lane.slots.amount, lane.memory.amount, breakers)

    def __str__(self) -> str:
        """A line for itself, and one for each breaker."""
        own = f"{self.name}: {_held(self.waiting, self.in_flight, self.held_bytes)}"
        return "\n".join([own, *(f"   {breaker}" for breaker in self.breakers)])


@dataclass(frozen=True, slots=True)
class PoolStats:
    """What a pool holds right now."""

    waiting: int
    """Shadows that no worker has got yet."""
    in_flight: int
    """Shadows that a worker has got and not yet answered."""
    held_bytes: int
    """Memory of both, as counted against `queue_bytes`."""
    restarts: int
    """How often a worker has been replaced."""
    workers_up: int
    """Workers that take shadows now."""
    pids: tuple[int, ...]
    """The worker processes, those that are still starting included."""
    destinations: tuple[DestinationStats, ...]
    """Those that were used of late."""

    def __str__(self) -> str:
        """What `mirror.stats` shows."""
        held = _held(self.waiting, self.in_flight, self.held_bytes)
        own = f"workers: {self.workers_up} up, {self.restarts} restarts; {held}"
        return "\n".join([own, *map(str, self.destinations)])


def _held(waiting: int, in_flight: int, held_bytes: int) -> str:
    return f"{waiting} shadows waiting, {in_flight} in flight, {held_bytes} bytes held"

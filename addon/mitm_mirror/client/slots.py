"""Connections that are kept to be used again, idle by endpoint."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from mitm_mirror.upstream_tls import UpstreamTls

Endpoint = tuple[str, str, int, str, UpstreamTls | None, bool]
"""Scheme, address, port, SNI, TLS settings and whether HTTP/2 is meant: what has to be equal for a connection
to be used again."""

Kept = TypeVar("Kept")
"""What holds one connection."""


@dataclass(slots=True)
class _IdleSlot(Generic[Kept]):
    kept: Kept
    expires_at: float


class IdleSlots(Generic[Kept]):
    """Connections that wait for the next request. Closes none: that is the caller's.

    httpx's own pool scans all of its connections for every request, which costs four fifths of the
    throughput.
    """

    def __init__(self, clock: Callable[[], float], expiry_s: float, limit: int) -> None:
        self._clock = clock
        self._expiry_s = expiry_s
        self._limit = limit
        self._idle: dict[Endpoint, deque[_IdleSlot[Kept]]] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def take(self, endpoint: Endpoint) -> Kept | None:
        """A fresh one to `endpoint`, which is the caller's from now on; None where there is none."""
        slots = self._idle.get(endpoint)
        # The youngest first, so that the others can expire; where it has expired, all have.
        if not slots or slots[-1].expires_at <= self._clock():
            return None
        slot = slots.pop()
        self._count -= 1
        if not slots:
            del self._idle[endpoint]
        return slot.kept

    def keep(self, endpoint: Endpoint, kept: Kept) -> Kept | None:
        """Keep one; what it pushes out, past the limit, is the caller's to close."""
        slot = _IdleSlot(kept, self._clock() + self._expiry_s)
        self._idle.setdefault(endpoint, deque()).append(slot)
        self._count += 1
        if self._count <= self._limit:
            return None
        return self._drop_oldest(min(self._idle, key=lambda key: self._idle[key][0].expires_at))

    def take_expired(self) -> list[Kept]:
        """Those that have been idle for too long, for the caller to close."""
        now = self._clock()
        expired = []
        for endpoint, slots in list(self._idle.items()):
            while slots and slots[0].expires_at <= now:
                expired.append(self._drop_oldest(endpoint))
        return expired

    def take_all(self) -> list[Kept]:
        """All of them, for the caller to close."""
        return [
            self._drop_oldest(endpoint) for endpoint in list(self._idle) for _ in tuple(self._idle[endpoint])
        ]

    def _drop_oldest(self, endpoint: Endpoint) -> Kept:
        slots = self._idle[endpoint]
        kept = slots.popleft().kept
        self._count -= 1
        if not slots:
            del self._idle[endpoint]
        return kept

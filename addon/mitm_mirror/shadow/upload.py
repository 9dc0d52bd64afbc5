"""A shadow whose body is still coming: the pool's side of it. No I/O, no clock."""

from collections import deque
from collections.abc import Callable
from typing import Generic

from mitm_mirror.client.request import Fields
from mitm_mirror.outcome import Outcome
from mitm_mirror.shadow.backend import Backend
from mitm_mirror.shadow.ending import Token
from mitm_mirror.shadow.entry import Entry
from mitm_mirror.shadow.message import CHUNK_OVERHEAD_BYTES
from mitm_mirror.shadow.shares import Shares


class PoolUpload(Generic[Token]):
    """What `ShadowPool.open` gives. Never raises, never waits; once the shadow has ended all is passed over.

    Pieces that the mirror has not taken yet count against the pool's memory, wherever they wait. Where
    there is none left the shadow ends: the client is not slowed down for a mirror that is slower.
    """

    def __init__(
        self,
        entry: Entry[Token],
        memory: Shares,
        timeout_s: float,
        *,
        complete: Callable[[Entry[Token], float], None],
        end: Callable[[Entry[Token], Outcome, str], None],
    ) -> None:
        """`complete` is told when the clock of `timeout_s` starts, `end` ends the shadow for the pool."""
        self.timeout_s = timeout_s
        self._entry = entry
        self._memory = memory
        self._tell_complete = complete
        self._end = end
        self._backend: Backend | None = None
        self._waiting: deque[bytes] = deque()
        self._trailers: Fields = ()
        self._complete = False
        self._ended = False

    @property
    def number(self) -> int:
        """The pool's, see `ShadowPool.submit`."""
        return self._entry.number

    def write(self, data: bytes) -> None:
        """The next piece of the body."""
        if self._ended or not data:
            return
        if not self._hold(len(data) + CHUNK_OVERHEAD_BYTES):
            return
        if self._backend is None:
            self._waiting.append(data)
        else:
            self._backend.put(self._entry.number, data)

    def finish(self, trailers: Fields = ()) -> None:
        """The body is complete: from now on its answer has `timeout_s` seconds."""
        if self._ended or self._complete:
            return
        if trailers:  # held until the shadow ends: no worker says when they are sent
            if not self._hold(sum(len(name) + len(value) for name, value in trailers)):
                return
            self._trailers = trailers
        self._complete = True
        self._tell_complete(self._entry, self.timeout_s)
        if self._backend is not None:
            self._backend.end(self._entry.number, trailers)

    def abort(self, outcome: Outcome, reason: str) -> None:
        """The body will never be complete; nothing where it is."""
        if not self._ended and not self._complete:
            self._end(self._entry, outcome, reason)

    def dispatched(self, backend: Backend) -> None:
        """The pool's call: the head has been sent there, and what waits goes after it."""
        self._backend = backend
        while self._waiting:
            backend.put(self._entry.number, self._waiting.popleft())
        if self._complete:
            backend.end(self._entry.number, self._trailers)

    def taken(self, size: int) -> None:
        """The pool's call: the mirror has taken so much, overhead included."""
        self._entry.size_bytes -= size
        self._memory.give_back(self._entry.lane.memory, size)

    def ended(self, *, by_worker: bool) -> None:
        """The pool's call: the shadow has ended."""
        self._ended = True
        self._waiting.clear()
        if self._backend is not None and not by_worker:
            self._backend.abort(self._entry.number)
        self._backend = None

    def _hold(self, size: int) -> bool:
        """Takes memory for so many bytes; where there is none the shadow has ended."""
        entry = self._entry
        if not self._memory.take(entry.lane.memory, size):
            text = f"the mirror is slower than the client: {entry.size_bytes} bytes of the body wait for it"
            self._end(entry, Outcome.QUEUE_FULL, text)
            return False
        entry.size_bytes += size
        return True

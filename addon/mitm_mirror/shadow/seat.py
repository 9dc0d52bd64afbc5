"""One worker's place in the pool: starts a backend, counts what it holds, and starts the next one."""

import asyncio
import logging
from collections.abc import Callable
from typing import Protocol

from mitm_mirror.client.request import OutgoingRequest
from mitm_mirror.observe.compare import Comparison
from mitm_mirror.shadow.answer import PrimaryAnswer, Want
from mitm_mirror.shadow.backend import Backend, StartBackend
from mitm_mirror.shadow.message import ShadowResult, SocketPair

logger = logging.getLogger(__name__)

FIRST_DELAY_S = 0.1
LONGEST_DELAY_S = 5.0


class SeatOwner(Protocol):
    """Who hears from a seat."""

    def seat_ready(self) -> None:
        """A seat takes shadows from now on."""

    def seat_results(self, results: list[ShadowResult]) -> None:
        """Shadows that ended there."""

    def seat_taken(self, taken: list[tuple[int, int]]) -> None:
        """See `BackendOwner.backend_taken`."""

    def seat_compared(self, results: list[tuple[int, Comparison]]) -> None:
        """See `BackendOwner.backend_compared`."""

    def seat_connected(self, connections: list[SocketPair]) -> None:
        """See `BackendOwner.backend_connected`."""

    def seat_emptied(self, seat: "Seat") -> None:
        """Its backend ended: what it held is lost."""


class Seat:
    """A `BackendOwner` whose backend is replaced with back-off whenever it ends."""

    def __init__(self, start_backend: StartBackend, owner: SeatOwner, clock: Callable[[], float]) -> None:
        self._start_backend = start_backend
        self._owner = owner
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._delay_s = FIRST_DELAY_S
        self._failed_starts = 0
        self._closing = False
        self._was_ready = False
        self.backend: Backend | None = None
        self.ready = False
        self.load = 0
        """Shadows sent there and not yet ended; the pool counts them."""
        self.heard_at = clock()
        self.restarts = 0

    def start(self) -> None:
        """Start a backend, or try again later where that fails."""
        self._timer = None
        self.heard_at = self._clock()
        try:
            self.backend = self._start_backend(self)
        except OSError as error:
            self.backend_gone(f"could not be started: {error}", "")

    def want(self, number: int, want: Want) -> None:
        """Say what to keep of the answer to what is sent or opened next; only while `ready`."""
        assert self.backend is not None
        self.backend.want(number, want)

    def forget_want(self, number: int) -> None:
        """The request for which that was said cannot be sent."""
        assert self.backend is not None
        self.backend.abort(number)

    def send(self, number: int, request: OutgoingRequest, body: bytes, timeout_s: float) -> None:
        """Hand over one shadow; only while `ready`. Raises what `Backend.send` raises."""
        assert self.backend is not None
        self.backend.send(number, request, body, timeout_s)
        self.load += 1

    def open(self, number: int, request: OutgoingRequest, timeout_s: float) -> None:
        """As `send`, for a shadow whose body follows through `backend`."""
        assert self.backend is not None
        self.backend.open(number, request, timeout_s)
        self.load += 1

    def primary(self, number: int, answer: PrimaryAnswer, body: bytes) -> None:
        """See `Backend.primary`. Raises what that raises."""
        assert self.backend is not None
        self.backend.primary(number, answer, body)

    def forget(self, number: int) -> None:
        """See `Backend.forget`. Also while there is no backend, which has forgotten then."""
        if self.backend is not None:
            self.backend.forget(number)

    def replace_if_silent(self, for_s: float) -> None:
        """Kill a worker process that has said nothing for so long. Its owner knows that it should have."""
        if self.backend is None or self.backend.pid is None:
            return  # the event loop itself cannot be replaced
        silent_s = self._clock() - self.heard_at
        if silent_s >= for_s:
            logger.warning(
                "mirror: shadow worker %d has been silent for %.1f s and is replaced.",
                self.backend.pid,
                silent_s,
            )
            self.ready = False  # what waits is for the next one
            self.backend.kill()

    def close(self) -> None:
        """Ask the backend to end, and start no other."""
        self._closing = True
        if self._timer is not None:
            self._timer.cancel()
        if self.backend is not None:
            self.backend.close()
        self.ready = False

    def stop_restarting(self) -> None:
        """From now on a backend that ends is not replaced."""
        self._closing = True

    def backend_ready(self) -> None:
        self.heard_at = self._clock()
        self.ready = self._was_ready = True
        if self._failed_starts:
            logger.info("mirror: the shadow worker has started after %d failures.", self._failed_starts)
            self._failed_starts = 0
        self._owner.seat_ready()

    def backend_results(self, results: list[ShadowResult]) -> None:
        self.heard_at = self._clock()
        self._delay_s = FIRST_DELAY_S
        self._owner.seat_results(results)

    def backend_taken(self, taken: list[tuple[int, int]]) -> None:
        self.heard_at = self._clock()
        self._owner.seat_taken(taken)

    def backend_compared(self, results: list[tuple[int, Comparison]]) -> None:
        self.heard_at = self._clock()
        self._owner.seat_compared(results)

    def backend_connected(self, connections: list[SocketPair]) -> None:
        self._owner.seat_connected(connections)

    def backend_gone(self, how: str, last_words: str) -> None:
        pid = self.backend.pid if self.backend is not None else None
        was_ready, held = self._was_ready, self.load
        self.backend = None
        self.ready = self._was_ready = False
        delay_s = self._delay_s
        self._delay_s = min(delay_s * 2, LONGEST_DELAY_S)
        # Never at ERROR: a record of that level before mitmproxy's start-up ends makes mitmdump exit.
        if was_ready:
            logger.warning("mirror: shadow worker %s %s; %d shadows are lost.", pid, how, held)
        else:
            self._failed_starts += 1
            if self._failed_starts == 1:
                said = f" It said:\n{last_words}" if last_words else ""
                logger.warning(
                    "mirror: the shadow worker does not start: it %s. Shadows wait and then time out; "
                    "it is tried again, which is not reported.%s",
                    how,
                    said,
                )
        if not self._closing:
            self.restarts += 1
            self._timer = self._loop.call_later(delay_s, self.start)
        self._owner.seat_emptied(self)

"""The queue of shadows: limits, deadlines, and who sends what.

It runs in mitmproxy's event loop and never waits in it, except in `drain`.
"""

import asyncio
import logging
import select
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic

from mitm_mirror.client.request import OutgoingRequest
from mitm_mirror.outcome import Outcome
from mitm_mirror.shadow.backend import Backend, BackendOwner, StartBackend
from mitm_mirror.shadow.ending import Ending, Token
from mitm_mirror.shadow.entry import Deadlines, Entry
from mitm_mirror.shadow.local import LocalBackend
from mitm_mirror.shadow.message import ShadowResult
from mitm_mirror.shadow.process import WorkerProcess
from mitm_mirror.shadow.seat import Seat
from mitm_mirror.shadow.settings import PoolSettings

logger = logging.getLogger(__name__)

_SWEEP_S = 0.1
"""How late a deadline may be noticed here; the worker keeps its own ones exactly."""

_JOIN_S = 0.5
"""How long a worker may take to end by itself once its input is closed, which takes it a millisecond."""


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


class ShadowPool(Generic[Token]):
    """Sends shadows through its workers. Each `submit` ends in exactly one call of `on_end`."""

    def __init__(
        self,
        settings: PoolSettings,
        on_end: Callable[[Ending[Token]], None],
        clock: Callable[[], float] = time.monotonic,
        start_backend: StartBackend | None = None,
    ) -> None:
        """`start_backend` replaces what `settings.workers` asks for; one is started per worker."""
        self._settings = settings
        self._on_end = on_end
        self._clock = clock
        self._start_backend = start_backend or self._default_backend
        self._loop: asyncio.AbstractEventLoop | None = None
        self._seats: list[Seat] = []
        self._entries: dict[int, Entry[Token]] = {}
        self._waiting: deque[Entry[Token]] = deque()
        self._deadlines = Deadlines()
        self._sweep_timer: asyncio.TimerHandle | None = None
        self._last_number = 0
        self._held_bytes = 0
        self._draining = False

    def start(self) -> None:
        """Start the workers; call it from the running event loop. What was submitted before has waited."""
        if self._draining or self._seats:
            return
        self._loop = asyncio.get_running_loop()
        for _ in range(max(self._settings.workers, 1)):
            seat = Seat(self._start_backend, self, self._clock)
            self._seats.append(seat)
            seat.start()
        self._plan_sweep()

    def submit(self, request: OutgoingRequest, body: bytes, token: Token, timeout_s: float) -> None:
        """Send `request` within `timeout_s` seconds from now. Never raises, never waits.

        `on_end` is called later, or before this returns where the shadow cannot be taken.
        """
        now = self._clock()
        self._last_number += 1
        entry = Entry(self._last_number, request, body, token, submitted_at=now, deadline=now + timeout_s)
        if self._draining:
            self._tell(entry, Outcome.CANCELLED, None, "the proxy is shutting down")
            return
        if self._held_bytes + entry.size_bytes > self._settings.queue_bytes:
            held, limit = self._held_bytes, self._settings.queue_bytes
            text = f"{entry.size_bytes} bytes more than the {held} held would exceed the limit of {limit}"
            self._tell(entry, Outcome.QUEUE_FULL, None, text)
            return
        self._held_bytes += entry.size_bytes
        self._entries[entry.number] = entry
        self._deadlines.add(entry.deadline, entry.number)
        seat = None if self._waiting else self._free_seat()
        if seat is None:
            self._waiting.append(entry)
        else:
            self._dispatch(entry, seat, now)
        self._plan_sweep()

    def drain(self, timeout_s: float) -> None:
        """Take no more, let what is held end within `timeout_s` seconds, end the workers.

        Blocks the event loop that it is called in: mitmproxy's `done` hook cannot await. Everything
        that has not ended by then is `cancelled`. With `workers=0` that is all of it.
        """
        if self._draining:
            return
        self._draining = True
        deadline = self._clock() + timeout_s
        for seat in self._seats:
            seat.stop_restarting()
        while self._entries and (left_s := deadline - self._clock()) > 0:
            if not self._work_blocking(min(left_s, _SWEEP_S)):
                break
            self._sweep()
        if self._sweep_timer is not None:
            self._sweep_timer.cancel()
        backends = [seat.backend for seat in self._seats if seat.backend is not None]
        for seat in self._seats:
            seat.close()
        join_until = self._clock() + _JOIN_S
        for backend in backends:
            backend.join(join_until - self._clock())
        for entry in list(self._entries.values()):
            self._end(entry, Outcome.CANCELLED, None, "the proxy shut down before it ended")

    def stats(self) -> PoolStats:
        """What the pool holds right now."""
        in_flight = sum(seat.load for seat in self._seats)
        backends = [seat.backend for seat in self._seats if seat.backend is not None]
        return PoolStats(
            waiting=len(self._entries) - in_flight,
            in_flight=in_flight,
            held_bytes=self._held_bytes,
            restarts=sum(seat.restarts for seat in self._seats),
            workers_up=sum(seat.ready for seat in self._seats),
            pids=tuple(backend.pid for backend in backends if backend.pid is not None),
        )

    def seat_ready(self) -> None:
        self._fill()

    def seat_results(self, results: list[ShadowResult]) -> None:
        for result in results:
            entry = self._entries.get(result.number)
            if entry is not None:  # else it ended here already, and this answer is late
                self._end(entry, result.outcome, result, result.error)
        self._fill()

    def seat_emptied(self, seat: Seat) -> None:
        for entry in [entry for entry in self._entries.values() if entry.seat is seat]:
            self._end(entry, Outcome.LOST, None, "its worker process died")
        self._fill()

    def _default_backend(self, owner: BackendOwner) -> Backend:
        if self._settings.workers == 0:
            return LocalBackend(self._settings.client, owner)
        return WorkerProcess(self._settings.client, owner)

    def _free_seat(self) -> Seat | None:
        """The least loaded worker that takes one more."""
        best: Seat | None = None
        lowest = self._settings.max_inflight
        for seat in self._seats:
            if seat.ready and seat.load < lowest:
                best, lowest = seat, seat.load
        return best

    def _fill(self) -> None:
        """Hand out what waits, as far as there is room."""
        while self._waiting:
            if self._waiting[0].ended:
                self._waiting.popleft()
            elif (seat := self._free_seat()) is not None:
                self._dispatch(self._waiting.popleft(), seat, self._clock())
            else:
                break

    def _dispatch(self, entry: Entry[Token], seat: Seat, now: float) -> None:
        left_s = entry.deadline - now
        if left_s <= 0:
            self._end_late(entry, now)
            return
        try:
            seat.send(entry.number, entry.request, entry.body, left_s)
        except Exception as error:  # noqa: BLE001  a value that msgspec cannot encode: a lone surrogate
            kind = type(error).__name__  # its message may quote the value
            self._end(entry, Outcome.PROTOCOL_ERROR, None, f"the request cannot be encoded: {kind}")
            return
        entry.sent_to(seat, now)

    def _end(self, entry: Entry[Token], outcome: Outcome, result: ShadowResult | None, error: str) -> None:
        del self._entries[entry.number]
        self._held_bytes -= entry.size_bytes
        if entry.seat is not None:
            entry.seat.load -= 1
        self._tell(entry, outcome, result, error)

    def _end_late(self, entry: Entry[Token], now: float) -> None:
        text = f"waited {now - entry.submitted_at:.1f} s in the queue"
        self._end(entry, Outcome.TIMEOUT, None, text)

    def _tell(self, entry: Entry[Token], outcome: Outcome, result: ShadowResult | None, error: str) -> None:
        until = self._clock() if entry.sent_at is None else entry.sent_at
        waited_ms = (until - entry.submitted_at) * 1000
        token = entry.token
        entry.release()
        try:
            self._on_end(Ending(token, outcome, result, waited_ms, error))
        except Exception:  # a bug in what listens must not stop the queue, nor reach a client
            logger.exception("mirror: what was told of a shadow's end failed.")

    def _plan_sweep(self) -> None:
        if self._sweep_timer is None and self._loop is not None and self._entries and not self._draining:
            self._sweep_timer = self._loop.call_later(_SWEEP_S, self._sweep_and_plan)

    def _sweep_and_plan(self) -> None:
        self._sweep_timer = None
        self._sweep()
        self._plan_sweep()

    def _sweep(self) -> None:
        """End what is past its deadline, and replace a worker that should have done so itself."""
        now = self._clock()
        patience_s = self._settings.unresponsive_s
        suspects: set[Seat] = set()
        for number in self._deadlines.due(now):
            entry = self._entries.get(number)
            if entry is None:
                continue
            if entry.seat is None:
                self._end_late(entry, now)
            elif now < entry.deadline + patience_s:
                self._deadlines.add(entry.deadline + patience_s, number)
            else:
                suspects.add(entry.seat)
                self._end(entry, Outcome.TIMEOUT, None, "the worker did not answer in time")
        self._deadlines.tidy(self._entries)
        for seat in suspects:
            seat.replace_if_silent(patience_s)
        self._fill()

    def _work_blocking(self, timeout_s: float) -> bool:
        """One turn without the event loop. False where there is nobody left to wait for."""
        files = [
            file for seat in self._seats if seat.backend is not None for file in seat.backend.waiting_files()
        ]
        if not files:
            return False
        poll = select.poll()
        handlers = {}
        for file in files:
            poll.register(file.fd, file.events)
            handlers[file.fd] = file.handle
        for fd, _ in poll.poll(timeout_s * 1000):
            handlers[fd]()
        return True

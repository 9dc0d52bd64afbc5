"""The queue of shadows: limits, deadlines, breakers, and who sends what.

It runs in mitmproxy's event loop and never waits in it, except in `drain`.
"""

import asyncio
import logging
import math
import random
import select
import time
from collections.abc import Callable
from typing import Generic

from mitm_mirror.client.request import OutgoingRequest
from mitm_mirror.observe.compare import Comparison, NotCompared
from mitm_mirror.outcome import Outcome
from mitm_mirror.shadow.answer import PrimaryAnswer
from mitm_mirror.shadow.backend import Backend, BackendOwner, StartBackend
from mitm_mirror.shadow.comparisons import Comparisons
from mitm_mirror.shadow.ending import Ending, Token
from mitm_mirror.shadow.entry import Deadlines, Entry
from mitm_mirror.shadow.lanes import Lanes
from mitm_mirror.shadow.local import LocalBackend
from mitm_mirror.shadow.message import ShadowResult, SocketPair
from mitm_mirror.shadow.process import WorkerProcess
from mitm_mirror.shadow.seat import Seat
from mitm_mirror.shadow.settings import PoolSettings
from mitm_mirror.shadow.stats import DestinationStats, PoolStats
from mitm_mirror.shadow.terms import Terms
from mitm_mirror.shadow.upload import PoolUpload

logger = logging.getLogger(__name__)


def _ignore(_token: object, _comparison: Comparison) -> None:
    """For owners that ask for no comparison."""


_SWEEP_S = 0.1
"""How late a deadline may be noticed here; the worker keeps its own ones exactly."""

_JOIN_S = 0.5
"""How long a worker may take to end by itself once its input is closed, which takes it a millisecond."""


_FORGET_S = 60.0
"""A destination that is used no more keeps its share of slots and memory for so long."""


class ShadowPool(Generic[Token]):
    """Sends shadows through its workers. Each `submit` ends in exactly one call of `on_end`."""

    def __init__(
        self,
        settings: PoolSettings,
        on_end: Callable[[Ending[Token]], None],
        clock: Callable[[], float] = time.monotonic,
        start_backend: StartBackend | None = None,
        draw: Callable[[], float] = random.random,
        on_compared: Callable[[Token, Comparison], None] = _ignore,
        on_connected: Callable[[list[SocketPair]], None] = lambda _: None,
    ) -> None:
        """`on_compared` is called once for each shadow that ended `ok` and of which `Terms.want` asked for a
        comparison, after its `on_end`. `start_backend` replaces what `settings.workers` asks for; one is
        started per worker.

        `on_connected` is told of the connections that are opened, before anything is sent over them.
        `draw` gives numbers in [0, 1), for the jitter of the breakers' pauses.
        """
        self._settings = settings
        self._on_end = on_end
        self._on_connected = on_connected
        self._clock = clock
        self._start_backend = start_backend or self._default_backend
        self._draw = draw
        self._loop: asyncio.AbstractEventLoop | None = None
        self._seats: list[Seat] = []
        self._entries: dict[int, Entry[Token]] = {}
        self._lanes: Lanes[Token] = Lanes(settings.queue_bytes)
        self._forget_at = clock() + _FORGET_S
        self._deadlines = Deadlines()
        self._comparisons: Comparisons[Token] = Comparisons(self._lanes.memory, on_compared)
        self._sweep_timer: asyncio.TimerHandle | None = None
        self._last_number = 0
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

    def submit(self, request: OutgoingRequest, body: bytes, token: Token, terms: Terms) -> int:
        """Send `request` within `terms.timeout_s` seconds from now. Never raises, never waits.

        `on_end` is called later, or before this returns where the shadow cannot be taken. Returns
        the number by which the shadow is known to `compare`.
        """
        now = self._clock()
        entry = self._entry(request, body, token, terms, now, now + terms.timeout_s)
        self._take_in(entry, now)
        return entry.number

    def open(self, request: OutgoingRequest, token: Token, terms: Terms) -> PoolUpload[Token]:
        """As `submit`, for a body that is still coming."""
        now = self._clock()
        entry = self._entry(request, b"", token, terms, now, math.inf)
        upload = entry.upload = PoolUpload(
            entry, self._lanes.memory, terms.timeout_s, complete=self._start_clock, end=self._end_upload
        )
        self._take_in(entry, now)
        return upload

    def compare(self, number: int, answer: PrimaryAnswer, body: bytes) -> None:
        """The primary's answer, to be compared with that shadow's. Nothing where the shadow needs none."""
        self._comparisons.primary(number, answer, body)

    def leave_uncompared(self, number: int, reason: NotCompared) -> None:
        """There is no answer to compare with that shadow's, or it is too late for one."""
        self._comparisons.conclude(number, reason)

    def _entry(
        self, request: OutgoingRequest, body: bytes, token: Token, terms: Terms, now: float, deadline: float
    ) -> Entry[Token]:
        lane = self._lanes.get(terms.destination)
        lane.limits = terms.limits
        lane.used_at = now
        self._last_number += 1
        return Entry(
            self._last_number,
            request,
            body,
            token,
            lane,
            terms.outlier,
            terms.want,
            submitted_at=now,
            deadline=deadline,
        )

    def _take_in(self, entry: Entry[Token], now: float) -> None:
        lane = entry.lane
        if (refusal := self._refusal(entry, now)) is not None:
            self._tell(entry, refusal[0], None, refusal[1])
            return
        self._entries[entry.number] = entry
        if entry.want is not None and entry.want.compare is not None:
            self._comparisons.opened(entry)
        if entry.upload is None:
            self._deadlines.add(entry.deadline, entry.number)
        seat = self._free_seat()
        if seat is not None and self._lanes.take_slot(lane):
            self._dispatch(entry, seat, now)
        else:
            self._lanes.wait(lane, entry)
            self._fill()
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
        while (self._entries or self._comparisons.is_expecting) and (left_s := deadline - self._clock()) > 0:
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
        self._comparisons.close()

    def stats(self) -> PoolStats:
        """What the pool holds right now."""
        now = self._clock()
        in_flight = sum(seat.load for seat in self._seats)
        backends = [seat.backend for seat in self._seats if seat.backend is not None]
        return PoolStats(
            waiting=len(self._entries) - in_flight,
            in_flight=in_flight,
            held_bytes=self._lanes.memory.used,
            restarts=sum(seat.restarts for seat in self._seats),
            workers_up=sum(seat.ready for seat in self._seats),
            pids=tuple(backend.pid for backend in backends if backend.pid is not None),
            destinations=tuple(DestinationStats.of(lane, now) for lane in self._lanes),
        )

    def seat_ready(self) -> None:
        self._share_slots()
        self._fill()

    def seat_results(self, results: list[ShadowResult]) -> None:
        for result in results:
            entry = self._entries.get(result.number)
            if entry is not None:  # else it ended here already, and this answer is late
                self._end(entry, result.outcome, result, result.error)
        self._fill()

    def seat_taken(self, taken: list[tuple[int, int]]) -> None:
        for number, size in taken:
            entry = self._entries.get(number)
            if entry is not None and entry.upload is not None:
                entry.upload.taken(size)

    def seat_compared(self, results: list[tuple[int, Comparison]]) -> None:
        self._comparisons.compared(results)

    def seat_connected(self, connections: list[SocketPair]) -> None:
        self._on_connected(connections)

    def seat_emptied(self, seat: Seat) -> None:
        for entry in [entry for entry in self._entries.values() if entry.seat is seat]:
            self._end(entry, Outcome.LOST, None, "its worker process died")
        self._comparisons.seat_emptied(seat)
        self._share_slots()
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

    def _share_slots(self) -> None:
        self._lanes.set_slots(self._settings.max_inflight * sum(seat.ready for seat in self._seats))

    def _refusal(self, entry: Entry[Token], now: float) -> tuple[Outcome, str] | None:
        """Why a shadow is not even queued; where it may be, its memory is taken."""
        if self._draining:
            return Outcome.CANCELLED, "the proxy is shutting down"
        lane, memory = entry.lane, self._lanes.memory
        if lane.limits is not None and (overflow := lane.overflow()):
            return Outcome.CIRCUIT_OPEN, f"overflow of {overflow}"
        if lane.breakers and (open_breaker := lane.breakers.refusal(entry.endpoint, now)):
            return Outcome.CIRCUIT_OPEN, open_breaker
        if not memory.take(lane.memory, entry.size_bytes):
            text = (
                f"{entry.size_bytes} bytes more would exceed the limit or the destination's share: "
                f"it holds {lane.memory.amount} of the {memory.used} held, the limit is {memory.total}"
            )
            return Outcome.QUEUE_FULL, text
        return None

    def _fill(self) -> None:
        """Hand out what waits, as far as there is room."""
        while (seat := self._free_seat()) is not None and (entry := self._lanes.next()) is not None:
            self._dispatch(entry, seat, self._clock())

    def _dispatch(self, entry: Entry[Token], seat: Seat, now: float) -> None:
        """Send a shadow that has a slot, or end it and free the slot."""
        left_s = entry.deadline - now
        lane = entry.lane
        if left_s <= 0:
            self._lanes.free_slot(lane)
            self._end_late(entry, now)
            return
        # Again, as it may have opened while this one waited.
        if lane.breakers and (open_breaker := lane.breakers.refusal(entry.endpoint, now)):
            self._lanes.free_slot(lane)
            self._end(entry, Outcome.CIRCUIT_OPEN, None, open_breaker)
            return
        upload = entry.upload
        try:
            if entry.want is not None:
                seat.want(entry.number, entry.want)
            if upload is None:
                seat.send(entry.number, entry.request, entry.body, left_s)
            else:
                seat.open(entry.number, entry.request, min(left_s, upload.timeout_s))
        except Exception as error:  # noqa: BLE001  a value that msgspec cannot encode: a lone surrogate
            kind = type(error).__name__  # its message may quote the value
            if entry.want is not None:
                seat.forget_want(entry.number)
            self._lanes.free_slot(lane)
            self._end(entry, Outcome.PROTOCOL_ERROR, None, f"the request cannot be encoded: {kind}")
            return
        if lane.breakers:
            entry.probe = lane.breakers.sent(entry.endpoint)
        entry.sent_to(seat, now)
        if entry.want is not None and entry.want.compare is not None:
            self._comparisons.sent(entry.number, seat)
        if upload is not None:
            assert seat.backend is not None
            upload.dispatched(seat.backend)

    def _start_clock(self, entry: Entry[Token], timeout_s: float) -> None:
        entry.deadline = self._clock() + timeout_s
        self._deadlines.add(entry.deadline, entry.number)

    def _end_upload(self, entry: Entry[Token], outcome: Outcome, reason: str) -> None:
        self._end(entry, outcome, None, reason)
        self._fill()

    def _end(self, entry: Entry[Token], outcome: Outcome, result: ShadowResult | None, error: str) -> None:
        del self._entries[entry.number]
        lane = entry.lane
        self._lanes.memory.give_back(lane.memory, entry.size_bytes)
        if entry.seat is None:
            lane.waiting.pop(entry.number, None)
        else:
            entry.seat.load -= 1
            self._lanes.free_slot(lane)
            if outcome is not Outcome.OK or lane.breakers or entry.outlier is not None:
                self._tell_breaker(entry, outcome, result)
        self._tell(entry, outcome, result, error)
        if entry.want is not None and entry.want.compare is not None:
            self._comparisons.ended(entry.number, ok=outcome is Outcome.OK)

    def _tell_breaker(self, entry: Entry[Token], outcome: Outcome, result: ShadowResult | None) -> None:
        if outcome is Outcome.TIMEOUT and entry.had_little_time:
            result = None
        entry.lane.breakers.ended(
            entry.endpoint, entry.outlier, result, probe=entry.probe, now=self._clock(), draw=self._draw
        )

    def _end_late(self, entry: Entry[Token], now: float) -> None:
        text = f"waited {now - entry.submitted_at:.1f} s in the queue"
        self._end(entry, Outcome.TIMEOUT, None, text)

    def _tell(self, entry: Entry[Token], outcome: Outcome, result: ShadowResult | None, error: str) -> None:
        until = self._clock() if entry.sent_at is None else entry.sent_at
        waited_ms = (until - entry.submitted_at) * 1000
        if entry.upload is not None:
            entry.upload.ended(by_worker=result is not None)
        try:
            self._on_end(Ending(entry.token, outcome, result, waited_ms, error))
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
        if now >= self._forget_at:
            self._forget_at = now + _FORGET_S
            self._lanes.forget_unused(now - _FORGET_S)
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

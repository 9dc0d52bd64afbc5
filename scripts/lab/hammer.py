"""A client that keeps some connections busy for as little CPU as Python can, and times each request.

`Load` tells what came back and lets a test act in between; here the answers are known to be equal.
"""

import contextlib
import math
import select
import socket
import time
from dataclasses import dataclass

TIMEOUT_S = 60.0
_READ_BYTES = 64 * 1024


class HammerError(RuntimeError):
    """The proxy did not answer as it should; what is measured then means nothing."""


@dataclass(frozen=True, slots=True)
class Blow:
    """One run of `hammer`."""

    begun: int
    """Requests that were sent."""
    count: int
    """Those that were answered: all, unless `limit_s` came first."""
    elapsed_s: float
    durations_ms: list[float]
    """One a request that was sent, ascending; of one that was not answered, how long it had waited."""

    @property
    def rate(self) -> float:
        """Answers a second."""
        return self.count / self.elapsed_s

    def percentile_ms(self, percent: float) -> float:
        """Nearest rank."""
        return self.durations_ms[min(self.begun - 1, int(self.begun * percent / 100))]


class _Lane:
    __slots__ = ("buffer", "sent_at", "socket", "unsent", "waits")

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        self.buffer = b""
        self.unsent = memoryview(b"")
        self.sent_at = 0.0
        self.waits = False


def hammer(port: int, request: bytes, *, connections: int, total: int, limit_s: float = math.inf) -> Blow:
    """Sends `total` equal requests, each connection its next one when it has an answer.

    After `limit_s` seconds it hangs up, whatever is still to come. Raises HammerError for anything but 200
    with a Content-Length, and where nothing comes for a minute, or at all.
    """
    poll = select.poll()
    lanes: dict[int, _Lane] = {}
    durations: list[float] = []
    begun = 0
    start = time.perf_counter()
    try:
        for _ in range(min(connections, total)):
            lane = _Lane(port)
            lanes[lane.socket.fileno()] = lane
            poll.register(lane.socket.fileno(), select.POLLIN)
            _begin(poll, lane, request)
            begun += 1
        while len(durations) < total and (left_s := start + limit_s - time.perf_counter()) > 0:
            ready = poll.poll(min(TIMEOUT_S, left_s) * 1000)
            if not ready and left_s > TIMEOUT_S:
                raise HammerError(f"no answer for {TIMEOUT_S:g} s, after {len(durations)} of {total}")
            for fd, events in ready:
                lane = lanes[fd]
                if events & select.POLLOUT:
                    _send(poll, lane)
                if events & ~select.POLLOUT and _has_answer(lane):
                    lane.waits = False
                    durations.append((time.perf_counter() - lane.sent_at) * 1000)
                    if begun < total:
                        begun += 1
                        _begin(poll, lane, request)
        end = time.perf_counter()
        count = len(durations)
        durations += [(end - lane.sent_at) * 1000 for lane in lanes.values() if lane.waits]
    finally:
        for lane in lanes.values():
            lane.socket.close()
    if not count:
        raise HammerError(f"no answer within {end - start:.1f} s")
    return Blow(begun, count, end - start, sorted(durations))


def _begin(poll: select.poll, lane: _Lane, request: bytes) -> None:
    lane.sent_at = time.perf_counter()
    lane.waits = True
    lane.unsent = memoryview(request)
    _send(poll, lane)


def _send(poll: select.poll, lane: _Lane) -> None:
    with contextlib.suppress(BlockingIOError):
        lane.unsent = lane.unsent[lane.socket.send(lane.unsent) :]
    poll.modify(lane.socket.fileno(), select.POLLIN | (select.POLLOUT if lane.unsent else 0))


def _has_answer(lane: _Lane) -> bool:
    data = lane.socket.recv(_READ_BYTES)
    if not data:
        raise HammerError(f"the proxy hung up after {lane.buffer[:200]!r}")
    lane.buffer += data
    head, end, body = lane.buffer.partition(b"\r\n\r\n")
    if not end:
        return False
    lowered = head.lower()
    if not lowered.startswith(b"http/1.1 200"):
        raise HammerError(f"not every request was answered 200: {lane.buffer[:300]!r}")
    _, found, rest = lowered.partition(b"\r\ncontent-length:")
    if not found:
        raise HammerError(f"an answer without a Content-Length: {head!r}")
    if len(body) < int(rest.split(b"\r\n", 1)[0]):
        return False
    lane.buffer = b""
    return True

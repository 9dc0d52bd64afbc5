"""A client that sends many requests at once over kept-alive connections, and counts what comes back."""

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from lab.wire import Message, WireError, take_message

RequestBytes = Callable[[int], bytes]
"""From a request's number, from 0, to its bytes."""


@dataclass(slots=True)
class LoadResult:
    """What the clients saw."""

    statuses: Counter[int] = field(default_factory=Counter)
    errors: list[str] = field(default_factory=list)
    """A request that got no whole answer, one text each."""
    bodies: Counter[bytes] = field(default_factory=Counter)
    durations_ms: list[float] = field(default_factory=list)
    elapsed_s: float = 0.0

    @property
    def count(self) -> int:
        """Requests that were sent, answered or not."""
        return self.statuses.total() + len(self.errors)

    @property
    def rate(self) -> float:
        """Answers a second."""
        return self.statuses.total() / self.elapsed_s


class Load:
    """Runs in a thread of its own: `total` requests (None: until `stop`) over `concurrency` connections.

    `progress` and `wait_for_progress` let a test act in the middle of it.
    """

    def __init__(
        self, port: int, request: bytes | RequestBytes, *, concurrency: int = 32, total: int | None = None
    ) -> None:
        self._port = port
        self._request = request if callable(request) else lambda _: request
        self._concurrency = concurrency
        self._total = total
        self._next = 0
        self._stopping = False
        self._changed = threading.Condition()
        self._result = LoadResult()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name="load", daemon=True)
        self._thread.start()

    @property
    def progress(self) -> int:
        with self._changed:
            return self._result.count

    def wait_for_progress(self, count: int, timeout_s: float = 120.0) -> int:
        """The number of requests that ended, once it is `count` or more; TimeoutError past the deadline."""
        deadline = time.monotonic() + timeout_s
        with self._changed:
            while self._result.count < count:
                left = deadline - time.monotonic()
                if left <= 0 or not self._changed.wait(left):
                    raise TimeoutError(f"{self._result.count} of {count} requests ended in {timeout_s:g} s")
            return self._result.count

    def join(self, timeout_s: float = 300.0) -> LoadResult:
        """The result, once all requests have ended; TimeoutError past the deadline."""
        self._thread.join(timeout_s)
        if self._thread.is_alive():
            raise TimeoutError(f"the load did not end within {timeout_s:g} s, at {self.progress} requests")
        return self._result

    def stop(self) -> LoadResult:
        """Let the requests under way end, send no more, and return the result."""
        self._stopping = True
        return self.join()

    async def _run(self) -> None:
        start = time.perf_counter()
        await asyncio.gather(*(self._client() for _ in range(self._concurrency)))
        self._result.elapsed_s = time.perf_counter() - start

    def _take_number(self) -> int | None:
        if self._stopping or (self._total is not None and self._next >= self._total):
            return None
        self._next += 1
        return self._next - 1

    async def _client(self) -> None:
        connection: _Connection | None = None
        while (number := self._take_number()) is not None:
            data = self._request(number)
            start = time.perf_counter()
            try:
                if connection is None:
                    connection = await _Connection.open(self._port)
                answer = await connection.exchange(data)
            except (OSError, WireError) as error:
                connection = None
                self._record(f"request {number}: {type(error).__name__}: {error}", None, 0.0)
                if isinstance(error, ConnectionRefusedError):
                    return  # nobody listens any more: going on would only spin
            else:
                if not answer.keeps_alive:
                    connection.close()
                    connection = None
                self._record("", answer, (time.perf_counter() - start) * 1000)
        if connection is not None:
            connection.close()

    def _record(self, error: str, answer: Message | None, duration_ms: float) -> None:
        with self._changed:
            if answer is None:
                self._result.errors.append(error)
            else:
                self._result.statuses[answer.status] += 1
                self._result.bodies[answer.body] += 1
                self._result.durations_ms.append(duration_ms)
            self._changed.notify_all()


class _Connection(asyncio.Protocol):
    """A protocol and not a stream: half the cost, and the machine is shared with what is measured."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._transport: asyncio.Transport | None = None
        self._waiter: asyncio.Future[Message] | None = None
        self._has_body = True

    @classmethod
    async def open(cls, port: int) -> "_Connection":
        _, connection = await asyncio.get_running_loop().create_connection(cls, "127.0.0.1", port)
        return connection

    async def exchange(self, data: bytes) -> Message:
        assert self._transport is not None
        if self._transport.is_closing():
            raise WireError("the proxy hung up between two requests")
        self._has_body = not data.startswith(b"HEAD ")
        self._waiter = asyncio.get_running_loop().create_future()
        self._transport.write(data)
        return await self._waiter

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        self._deliver(closed=False)

    def connection_lost(self, _error: Exception | None) -> None:
        self._deliver(closed=True)
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(WireError(f"the proxy hung up after {bytes(self._buffer[:200])!r}"))

    def _deliver(self, *, closed: bool) -> None:
        if self._waiter is None or self._waiter.done() or not self._buffer:
            return
        try:
            taken = take_message(self._buffer, has_body=self._has_body, until_close=closed)
        except (WireError, ValueError, IndexError) as error:
            self._waiter.set_exception(WireError(str(error)))
            return
        if taken is not None:
            message, size = taken
            del self._buffer[:size]
            self._waiter.set_result(message)

"""A loopback server that records the exact bytes of every request and answers with its label."""

import asyncio
import socket
import ssl
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from lab.wire import Message, WireError, take_message

Act = Callable[[asyncio.Transport], None]
"""Does something else with a connection than to answer; called in the backend's event loop."""

Respond = Callable[[Message], bytes | Act | None]
"""From a request to the bytes of its answer, or what to do; None never answers, b"" hangs up.

May run often: be quick.
"""


def response(body: bytes, status: str = "200 OK", *lines: bytes) -> bytes:
    """The bytes of a plain answer; `lines` are further header lines."""
    head = [b"HTTP/1.1 " + status.encode(), b"Content-Length: %d" % len(body), *lines]
    return b"\r\n".join([*head, b"", body])


class Backend:
    """Serves in a thread of its own from construction until `stop`; may be used as a context.

    Without `respond` every request is answered 200 with the label as body (HEAD without one).
    `keep_requests` False only counts them, for long runs. With `tls` it speaks TLS. `listener` is a bound
    socket to listen on; without it the system chooses a port.
    """

    def __init__(
        self,
        label: str,
        respond: Respond | None = None,
        *,
        keep_requests: bool = True,
        tls: ssl.SSLContext | None = None,
        listener: socket.socket | None = None,
    ) -> None:
        self.label = label
        self.count = 0
        self.errors: list[str] = []
        """What came that was not a request. A test that is about something else asserts that it is empty."""
        self.connections = 0
        self._respond = respond or self._answer_with_label
        self._keep = keep_requests
        self._tls = tls
        self._requests: list[Message] = []
        self._partial = 0
        self._changed = threading.Condition()
        self._listener = listener or socket.create_server(("127.0.0.1", 0), backlog=1024)
        name = self._listener.getsockname()
        self.port: int = name[1] if isinstance(name, tuple) else 0  # a Unix socket has none
        self._loop = asyncio.new_event_loop()
        self._transports: set[asyncio.Transport] = set()
        self._plain = response(label.encode(), "200 OK", b"X-Backend: " + label.encode())
        self._thread = threading.Thread(target=self._serve, name=f"backend {label}", daemon=True)
        self._thread.start()

    @property
    def requests(self) -> list[Message]:
        with self._changed:
            return list(self._requests)

    def wait_for_count(self, count: int, timeout_s: float = 60.0) -> int:
        """The number of requests so far, once it is `count` or more; TimeoutError past the deadline."""
        deadline = time.monotonic() + timeout_s
        with self._changed:
            while self.count < count:
                left = deadline - time.monotonic()
                if left <= 0 or not self._changed.wait(left):
                    raise TimeoutError(f"{self.label}: {self.count} of {count} requests in {timeout_s:g} s")
            return self.count

    def wait_for_partial(self, size: int, timeout_s: float = 60.0) -> None:
        """Until so many bytes of a request are there that is not whole; TimeoutError past the deadline."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._partial >= size, timeout_s):
                raise TimeoutError(f"{self.label}: {self._partial} of {size} bytes in {timeout_s:g} s")

    def wait_for_errors(self, count: int, timeout_s: float = 60.0) -> list[str]:
        """What went wrong, once it is so much; TimeoutError past the deadline."""
        with self._changed:
            if not self._changed.wait_for(lambda: len(self.errors) >= count, timeout_s):
                raise TimeoutError(f"{self.label}: {len(self.errors)} of {count} errors in {timeout_s:g} s")
            return list(self.errors)

    def clear(self) -> None:
        """Forget everything that was recorded."""
        with self._changed:
            self._requests.clear()
            self.count = 0

    def stop(self) -> None:
        """Hang up on everybody and stop listening."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(
            self._loop.create_server(
                lambda: _Connection(self), sock=self._listener, backlog=1024, ssl=self._tls
            )
        )
        try:
            self._loop.run_forever()
        finally:
            server.close()
            for transport in list(self._transports):
                transport.abort()
            # One turn for the transports to close their sockets.
            self._loop.run_until_complete(asyncio.sleep(0))
            self._loop.close()

    def _answer_with_label(self, request: Message) -> bytes:
        return self._plain[: -len(self.label)] if request.method == b"HEAD" else self._plain

    def _record(self, request: Message) -> None:
        with self._changed:
            self.count += 1
            if self._keep:
                self._requests.append(request)
            self._changed.notify_all()

    def _note_error(self, text: str) -> None:
        with self._changed:
            self.errors.append(text)
            self._changed.notify_all()

    def _note_partial(self, size: int) -> None:
        with self._changed:
            self._partial = size
            self._changed.notify_all()


class _Connection(asyncio.Protocol):
    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._buffer = bytearray()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._backend._transports.add(transport)  # noqa: SLF001 - one class in two halves
        self._backend.connections += 1

    def connection_lost(self, _error: Exception | None) -> None:
        assert self._transport is not None
        self._backend._transports.discard(self._transport)  # noqa: SLF001 - as above
        if self._buffer:
            self._backend._note_error(f"cut off after {bytes(self._buffer[:200])!r}")  # noqa: SLF001 - as above

    def data_received(self, data: bytes) -> None:
        assert self._transport is not None
        self._buffer += data
        try:
            while self._buffer and (taken := take_message(self._buffer)):
                request, size = taken
                del self._buffer[:size]
                self._backend._record(request)  # noqa: SLF001 - as above
                answer = self._backend._respond(request)  # noqa: SLF001 - as above
                if callable(answer):
                    answer(self._transport)
                elif answer == b"":
                    self._transport.close()
                elif answer is not None:
                    self._transport.write(answer)
            if self._buffer:
                self._backend._note_partial(len(self._buffer))  # noqa: SLF001 - as above
        except (WireError, ValueError, IndexError) as error:
            self._backend._note_error(f"{error}: {bytes(self._buffer[:200])!r}")  # noqa: SLF001 - as above
            self._transport.abort()


class RefusingPort:
    """A port that refuses connections for as long as it is held: bound, but nobody listens."""

    def __init__(self) -> None:
        self.socket = socket.socket()
        """For a `Backend` that comes to listen on it later."""
        self.socket.bind(("127.0.0.1", 0))
        self.port: int = self.socket.getsockname()[1]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.socket.close()

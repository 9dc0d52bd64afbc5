"""A loopback HTTP/2 server that records what came, and a client that sends what it is told."""

import asyncio
import socket
import ssl
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import h2.config
import h2.connection
import h2.errors
import h2.events

Fields = list[tuple[bytes, bytes]]

_TIMEOUT_S = 60.0


@dataclass(slots=True)
class Http2Request:
    """One request as it came; pseudo headers are fields like any other."""

    fields: Fields
    body: bytearray = field(default_factory=bytearray)
    trailers: Fields = field(default_factory=list)

    def values(self, name: bytes) -> list[bytes]:
        return [value for found, value in self.fields if found == name]


class Http2Backend:
    """Serves in a thread of its own from construction until `stop`; answers 200 with its label.

    With `tls` it speaks TLS and agrees to `h2`, else in clear text without being asked.
    """

    def __init__(self, label: str, tls: ssl.SSLContext | None = None) -> None:
        self.label = label
        self.requests: list[Http2Request] = []
        self.transports: list[asyncio.Transport] = []
        """Of all connections that were made; one whose handshake failed was not."""
        self.lost_connections = 0
        self.broken_off: list[Http2Request] = []
        """Those that never came to their end: their stream was reset, or their connection lost."""
        self._partial = 0
        self._changed = threading.Condition()
        listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self.port: int = listener.getsockname()[1]
        if tls is not None:
            tls.set_alpn_protocols(["h2"])
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve, args=(listener, tls), daemon=True)
        self._thread.start()

    @property
    def connections(self) -> int:
        return len(self.transports)

    def wait_for_count(self, count: int) -> list[Http2Request]:
        """The requests, once there are so many; TimeoutError past the deadline."""
        with self._changed:
            if not self._changed.wait_for(lambda: len(self.requests) >= count, _TIMEOUT_S):
                raise TimeoutError(f"{self.label}: {len(self.requests)} of {count} requests")
            return list(self.requests)

    def wait_for_partial(self, size: int) -> None:
        """Until so many bytes of bodies have come, ended or not; TimeoutError past the deadline."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._partial >= size, _TIMEOUT_S):
                raise TimeoutError(f"{self.label}: {self._partial} of {size} bytes")

    def wait_for_broken_off(self, count: int) -> list[Http2Request]:
        """The requests that never came to their end, once there are so many; as `wait_for_count`."""
        with self._changed:
            if not self._changed.wait_for(lambda: len(self.broken_off) >= count, _TIMEOUT_S):
                raise TimeoutError(f"{self.label}: {len(self.broken_off)} of {count} requests broken off")
            return list(self.broken_off)

    def stop(self) -> None:
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _serve(self, listener: socket.socket, tls: ssl.SSLContext | None) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(
            self._loop.create_server(lambda: _ServerConnection(self), sock=listener, ssl=tls)
        )
        try:
            self._loop.run_forever()
        finally:
            server.close()
            self._loop.run_until_complete(self._close_connections())
            self._loop.close()

    async def _close_connections(self) -> None:
        # A connection in its TLS handshake is in no list yet, but a task of asyncio's waits for it, and
        # closes it when cancelled.
        handshakes = asyncio.all_tasks() - {asyncio.current_task()}
        for handshake in handshakes:
            handshake.cancel()
        await asyncio.gather(*handshakes, return_exceptions=True)
        for transport in self.transports:
            transport.abort()
        await asyncio.sleep(0)

    def record(self, request: Http2Request) -> None:
        """The connections' call: a request is complete."""
        with self._changed:
            self.requests.append(request)
            self._changed.notify_all()

    def record_data(self, size: int) -> None:
        """The connections' call: so much more of a body is there."""
        with self._changed:
            self._partial += size
            self._changed.notify_all()

    def record_broken_off(self, request: Http2Request) -> None:
        """The connections' call: no more of this request will come."""
        with self._changed:
            self.broken_off.append(request)
            self._changed.notify_all()


class _ServerConnection(asyncio.Protocol):
    def __init__(self, backend: Http2Backend) -> None:
        self._backend = backend
        # Not normalized: that would join cookie crumbs.
        config = h2.config.H2Configuration(
            client_side=False, header_encoding=None, normalize_inbound_headers=False
        )
        self._h2 = h2.connection.H2Connection(config)
        self._open: dict[int, Http2Request] = {}

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self._backend.transports.append(transport)
        self._h2.initiate_connection()
        transport.write(self._h2.data_to_send())

    def connection_lost(self, _error: Exception | None) -> None:
        self._backend.lost_connections += 1
        for request in self._open.values():
            self._backend.record_broken_off(request)

    def data_received(self, data: bytes) -> None:
        for event in self._h2.receive_data(data):
            self._handle(event)
        self.transport.write(self._h2.data_to_send())

    def _handle(self, event: Any) -> None:
        if isinstance(event, h2.events.RequestReceived):
            self._open[event.stream_id] = Http2Request(list(event.headers))
        elif isinstance(event, h2.events.DataReceived):
            self._open[event.stream_id].body += event.data
            self._backend.record_data(len(event.data))
            self._h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, h2.events.TrailersReceived):
            self._open[event.stream_id].trailers = list(event.headers)
        elif isinstance(event, h2.events.StreamReset):
            if (unfinished := self._open.pop(event.stream_id, None)) is not None:
                self._backend.record_broken_off(unfinished)
        elif isinstance(event, h2.events.StreamEnded):
            request = self._open.pop(event.stream_id)
            self._backend.record(request)
            body = b"" if request.values(b":method") == [b"HEAD"] else self._backend.label.encode()
            fields = [(":status", "200"), ("content-length", str(len(self._backend.label)))]
            self._h2.send_headers(event.stream_id, fields)
            self._h2.send_data(event.stream_id, body, end_stream=True)


def send_http2(port: int, tls: ssl.SSLContext, name: str, request: Http2Request) -> tuple[int, bytes]:
    """Status and body of the answer to one request, sent over TLS on a connection of its own."""
    [answer] = send_http2_at_once(port, tls, name, [request])
    return answer


def send_http2_at_once(
    port: int, tls: ssl.SSLContext, name: str, requests: Sequence[Http2Request]
) -> list[tuple[int, bytes]]:
    """The same for several on one connection, none of which waits for an answer."""
    tls.set_alpn_protocols(["h2"])
    connection = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding=None))
    streams = range(1, 2 * len(requests), 2)
    statuses = dict.fromkeys(streams, 0)
    bodies = dict.fromkeys(streams, b"")
    unanswered = set(streams)
    with (
        socket.create_connection(("127.0.0.1", port), _TIMEOUT_S) as raw,
        tls.wrap_socket(raw, server_hostname=name) as stream,
    ):
        connection.initiate_connection()
        for stream_id, request in zip(streams, requests, strict=True):
            _queue(connection, stream_id, request)
        stream.sendall(connection.data_to_send())
        while unanswered:
            data = stream.recv(1 << 16)
            if not data:
                raise ConnectionError("the connection ended before the answer did")
            for event in connection.receive_data(data):
                if isinstance(event, h2.events.ResponseReceived):
                    statuses[event.stream_id] = int(dict(event.headers)[b":status"])
                elif isinstance(event, h2.events.DataReceived):
                    bodies[event.stream_id] += event.data
                elif isinstance(event, h2.events.StreamEnded):
                    unanswered.remove(event.stream_id)
                elif isinstance(event, h2.events.StreamReset | h2.events.ConnectionTerminated):
                    raise ConnectionError(f"the proxy refused the request: {event!r}")
            stream.sendall(connection.data_to_send())
    return [(statuses[stream_id], bodies[stream_id]) for stream_id in streams]


def break_off_http2(
    port: int,
    tls: ssl.SSLContext,
    name: str,
    request: Http2Request,
    until: Callable[[], object],
    *,
    reset: bool,
) -> None:
    """Send one request whose body does not end; once `until` is back leave it, and be there no more.

    With `reset` its stream is reset first, and the proxy has seen that before the connection is closed.
    """
    tls.set_alpn_protocols(["h2"])
    connection = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding=None))
    with (
        socket.create_connection(("127.0.0.1", port), _TIMEOUT_S) as raw,
        tls.wrap_socket(raw, server_hostname=name) as stream,
    ):
        connection.initiate_connection()
        connection.send_headers(1, request.fields)
        connection.send_data(1, bytes(request.body))
        stream.sendall(connection.data_to_send())
        until()
        if not reset:
            return
        connection.reset_stream(1, h2.errors.ErrorCodes.CANCEL)
        connection.ping(b"12345678")
        stream.sendall(connection.data_to_send())
        while data := stream.recv(1 << 16):
            events = connection.receive_data(data)
            if any(isinstance(event, h2.events.PingAckReceived) for event in events):
                return
            stream.sendall(connection.data_to_send())
        raise ConnectionError("the proxy left before it had seen the reset")


def _queue(connection: h2.connection.H2Connection, stream_id: int, request: Http2Request) -> None:
    last = not (request.body or request.trailers)
    connection.send_headers(stream_id, request.fields, end_stream=last)
    if request.body:
        connection.send_data(stream_id, bytes(request.body), end_stream=not request.trailers)
    if request.trailers:
        connection.send_headers(stream_id, request.trailers, end_stream=True)

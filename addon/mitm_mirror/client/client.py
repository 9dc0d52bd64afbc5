"""Sends requests, each at most once, and hands on what comes back."""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import httpcore
import httpx

from mitm_mirror.client.answer import AnswerHead, AnswerSink, UnwantedAnswerError
from mitm_mirror.client.errors import FailureKind, classify, is_blameless
from mitm_mirror.client.one_connection import OneConnectionTransport
from mitm_mirror.client.outgoing import build_request
from mitm_mirror.client.plain import PlainConnection, check_sendable
from mitm_mirror.client.request import OutgoingRequest
from mitm_mirror.client.settings import ClientSettings
from mitm_mirror.client.slots import Endpoint, IdleSlots
from mitm_mirror.client.surplus import has_surplus
from mitm_mirror.client.tls import ClientTls
from mitm_mirror.client.trailers import end_with_trailers
from mitm_mirror.client.upload import Upload
from mitm_mirror.outcome import Outcome

logger = logging.getLogger(__name__)


class Sent(NamedTuple):
    """How one exchange went."""

    outcome: Outcome
    error: str = ""
    """Why, in one line, without any header or body content; empty for `ok`."""
    blameless: bool = False
    """Whether it failed without the server's doing, see `errors.is_blameless`."""
    kind: FailureKind | None = None
    """None for `ok`."""


OnConnected = Callable[[tuple[Any, ...], tuple[Any, ...]], None]
"""Takes the addresses of a connection's own end and of its server, as sockets have them."""


_PLAIN = "plain"
"""In the place of an endpoint's scheme: its idle connections are `PlainConnection`s."""


_Connection = httpx.AsyncBaseTransport | PlainConnection


class _OpenedStream:
    """The TCP stream under a TLS handshake, so that it can be closed.

    httpcore closes it when the handshake fails, but forgets it when the handshake is cancelled, as
    our deadline does: a server that hangs there would cost one socket a request.
    """

    def __init__(self, on_connected: OnConnected | None) -> None:
        self._on_connected = on_connected
        self._stream: httpcore.AsyncNetworkStream | None = None

    async def trace(self, event: str, info: Mapping[str, Any]) -> None:
        """For httpcore's `trace` extension."""
        if event in {"connection.connect_tcp.complete", "connection.connect_unix_socket.complete"}:
            stream = self._stream = info["return_value"]
            if self._on_connected is not None and event.startswith("connection.connect_tcp"):
                own, server = (stream.get_extra_info(name) for name in ("client_addr", "server_addr"))
                if own and server:  # else it has been reset by now, and what is sent over it will say so
                    self._on_connected(own, server)

    async def aclose(self) -> None:
        """Close it; harmless where it is closed already."""
        if self._stream is not None:
            await self._stream.aclose()


class Client:
    """One client of all servers. Needs a running event loop; one task per request calls `send`.

    One connection per request in flight, kept idle by endpoint (see `IdleSlots`). Whole requests in HTTP/1.1
    without TLS go over a `PlainConnection`, all others over a transport of httpx.
    """

    def __init__(
        self,
        settings: ClientSettings,
        clock: Callable[[], float] = time.monotonic,
        make_transport: Callable[[OutgoingRequest], httpx.AsyncBaseTransport] | None = None,
        report: Callable[[str], None] = logger.warning,
        on_connected: OnConnected | None = None,
    ) -> None:
        """`report` gets a line when a bug of ours ends a request, once a kind.

        `on_connected` is told of every TCP connection before anything is sent over it.

        Raises OSError where `settings.ca_file` cannot be read.
        """
        # httpx tells whole URLs at INFO, httpcore headers of answers at DEBUG.
        for name in ("httpx", "httpcore"):
            logging.getLogger(name).setLevel(logging.WARNING)
        self._report = report
        self._on_connected = on_connected
        self._reported: set[str] = set()
        self._idle = IdleSlots[_Connection](clock, settings.idle_expiry_s, settings.max_idle_connections)
        self._has_plain = make_transport is None
        if make_transport is None:
            client_tls = ClientTls(settings)

            def make_transport(request: OutgoingRequest) -> httpx.AsyncBaseTransport:
                return OneConnectionTransport(
                    client_tls.context(request.tls),
                    http1=request.scheme == "https" or not request.http2,
                    http2=request.http2,
                    uds=request.unix_socket,
                )

        self._make_transport = make_transport

    async def send(
        self, request: OutgoingRequest, body: bytes | Upload, timeout_s: float | None, sink: AnswerSink
    ) -> Sent:
        """Send one request, hand its answer to `sink` to the end, and say how it went.

        Raises nothing but cancellation. `timeout_s` of None waits for ever; with an
        Upload it counts from the end of that.

        It is sent at most once. Before an idle connection is written to it is looked whether the server has
        closed it, and then a new one opened; a close that comes later is an error, since the
        server may have done the request already, and the second copy of a write is worse than none.
        """
        if self._has_plain and isinstance(body, bytes) and _is_plain(request):
            return await self._send_plain(request, body, timeout_s, sink)
        return await self._send_over_httpx(request, body, timeout_s, sink)

    async def _send_plain(
        self, request: OutgoingRequest, body: bytes, timeout_s: float | None, sink: AnswerSink
    ) -> Sent:
        endpoint = (_PLAIN, request.address, request.port, "", None, False)
        connection = None
        try:
            check_sendable(request, body)
            async with asyncio.timeout(timeout_s):
                connection = await self._take_plain(endpoint)
                if connection is None:
                    connection = await PlainConnection.open(request)
                    self._tell_connected(connection)
                await connection.exchange(request, body, sink)
            if connection.may_be_kept:
                pushed_out = self._idle.keep(endpoint, connection)
                connection = None
                if pushed_out is not None:
                    await self._close(pushed_out)
        except UnwantedAnswerError:
            return Sent(Outcome.OK)
        except Exception as error:  # noqa: BLE001  each one is classified, bugs are reported
            return self._explain(error)
        finally:
            if connection is not None:
                await self._close(connection)
        return Sent(Outcome.OK)

    async def _take_plain(self, endpoint: Endpoint) -> PlainConnection | None:
        """One whose server has not closed it; those that it has are closed here, too."""
        while (connection := self._idle.take(endpoint)) is not None:
            assert isinstance(connection, PlainConnection)
            if connection.is_reusable:
                return connection
            await self._close(connection)
        return None

    def _tell_connected(self, connection: PlainConnection) -> None:
        if self._on_connected is not None:
            info = connection.get_extra_info
            self._on_connected(info("client_addr"), info("server_addr"))

    async def _send_over_httpx(
        self, request: OutgoingRequest, body: bytes | Upload, timeout_s: float | None, sink: AnswerSink
    ) -> Sent:
        endpoint = (
            request.scheme,
            request.address,
            request.port,
            request.sni,
            request.tls,
            request.http2,
        )
        transport = None
        opened = _OpenedStream(self._on_connected)
        try:
            outgoing = self._build(request, body, opened)
            kept = self._idle.take(endpoint)
            assert not isinstance(kept, PlainConnection)
            transport = self._make_transport(request) if kept is None else kept
            if request.http2 and (request.trailers or isinstance(body, Upload)):
                last = body if isinstance(body, Upload) else request
                end_with_trailers(outgoing, transport, lambda: last.trailers)
            async with asyncio.timeout(None if isinstance(body, Upload) else timeout_s) as timeout:
                if isinstance(body, Upload):
                    body.when_complete(partial(_start_clock, timeout, timeout_s))
                response = await transport.handle_async_request(outgoing)
                try:
                    sink.head(_head(response))
                    async for data in response.aiter_raw():
                        sink.chunk(data)
                finally:
                    await response.aclose()
            if not has_surplus(transport, response):
                pushed_out = self._idle.keep(endpoint, transport)
                transport = None
                if pushed_out is not None:
                    await self._close(pushed_out)
        except UnwantedAnswerError:
            return Sent(Outcome.OK)
        except Exception as error:  # noqa: BLE001  each one is classified, bugs are reported
            return self._explain(error)
        finally:
            if isinstance(body, Upload):
                body.when_complete(None)  # the rest of it may come long after the answer
            if transport is not None:
                await self._close(transport)
                await self._close(opened)
        return Sent(Outcome.OK)

    def _build(self, request: OutgoingRequest, body: bytes | Upload, opened: _OpenedStream) -> httpx.Request:
        outgoing = build_request(request, body)
        if request.scheme == "https" or self._on_connected is not None:
            outgoing.extensions["trace"] = opened.trace
        return outgoing

    async def close_expired(self) -> None:
        """Close the connections that have been idle for too long."""
        for transport in self._idle.take_expired():
            await self._close(transport)

    async def aclose(self) -> None:
        """Close all idle connections."""
        for transport in self._idle.take_all():
            await self._close(transport)

    @property
    def idle_connections(self) -> int:
        """Connections that wait to be used again."""
        return len(self._idle)

    async def _close(self, closable: "_Connection | _OpenedStream") -> None:
        try:
            await closable.aclose()
        except Exception as error:  # noqa: BLE001  as above
            # The connection is given up either way; a failing close changes no request's outcome.
            self._explain(error)

    def _explain(self, error: Exception) -> Sent:
        known = classify(error)
        if known is not None:
            return Sent(known.outcome, known.text, is_blameless(error), known.kind)
        kind, place = type(error).__name__, _innermost_place(error)
        if (kind_and_place := f"{kind} at {place}") not in self._reported:
            self._reported.add(kind_and_place)
            # Without the message or a traceback: both may quote the request.
            self._report(f"A request ended with an unexpected {kind_and_place}; said once.")
        text = f"unexpected {kind} while sending"
        return Sent(Outcome.PROTOCOL_ERROR, text, blameless=True, kind=FailureKind.BUG)


def _is_plain(request: OutgoingRequest) -> bool:
    return request.scheme == "http" and not request.http2 and request.unix_socket is None


def _head(response: httpx.Response) -> AnswerHead:
    extensions = response.extensions
    version: bytes = extensions.get("http_version", b"HTTP/1.1")
    return AnswerHead(
        response.status_code,
        extensions.get("reason_phrase", b""),
        # Spelled as mitmproxy and our access log have it.
        b"HTTP/2.0" if version == b"HTTP/2" else version,
        tuple(response.headers.raw),
        extensions.get("network_stream"),
    )


def _start_clock(timeout: asyncio.Timeout, timeout_s: float | None) -> None:
    if timeout_s is not None:
        timeout.reschedule(asyncio.get_running_loop().time() + timeout_s)


def _innermost_place(error: BaseException) -> str:
    trace = error.__traceback__
    if trace is None:
        return "an unknown place"
    while trace.tb_next is not None:
        trace = trace.tb_next
    return f"{trace.tb_frame.f_globals.get('__name__', '?')}:{trace.tb_lineno}"

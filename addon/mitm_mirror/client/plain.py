"""HTTP/1.1 over TCP without TLS: what asyncio's transport receives goes straight to h11.

Most shadows go this way. httpx's way to the same bytes (httpx, httpcore, anyio) takes a worker twice the
time, and what a worker takes, the proxy feels: they share a machine. What needs more goes over httpx.
"""

import asyncio
import errno
import os
import select
from typing import Any, Self

import h11
import httpx

from mitm_mirror.client.answer import AnswerHead, AnswerSink
from mitm_mirror.client.connect import connect
from mitm_mirror.client.errors import NO_ANSWER
from mitm_mirror.client.outgoing import UnsendableRequestError, check_framing, endpoint_url
from mitm_mirror.client.request import OutgoingRequest

_HEAD_LIMIT_BYTES = 100 * 1024
"""As in httpcore: of one head, or of one line of chunked framing."""

_JOINED_BODY_BYTES = 64 * 1024
"""A body up to this goes with its head in one system call; a larger one is not worth the copy."""


def check_sendable(request: OutgoingRequest, body: bytes) -> None:
    """Raises UnsendableRequestError where it can be no message, before anybody connects for it."""
    check_framing(request, body)
    if not request.method.isascii():
        raise UnsendableRequestError("the method is not ASCII")


class PlainConnection(asyncio.Protocol):
    """One connection to one server, for one request at a time. Made by `open`."""

    def __init__(self) -> None:
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=_HEAD_LIMIT_BYTES)
        self._transport: asyncio.Transport
        self._sink: AnswerSink
        """Of the exchange that is under way. Not kept longer: it may hold a whole answer."""
        self._ended: asyncio.Future[None] | None = None
        """Of the exchange that is under way. Not kept longer: an error in it holds all that led to it."""
        self._unsent: asyncio.Future[None] | None = None
        """Ends when what was written has left; None where it has."""
        self._reusable = True
        self._is_lost = False

    @classmethod
    async def open(cls, request: OutgoingRequest) -> Self:
        """Connects to the request's endpoint.

        Raises BadAddressError, and httpx.ConnectError with the system's error as its cause.
        """
        address = endpoint_url(request.scheme, request.address, request.port).raw_host.decode("ascii")
        loop = asyncio.get_running_loop()
        try:
            connected = await connect(address, request.port)
            _, connection = await loop.create_connection(cls, sock=connected)
            if connection.get_extra_info("server_addr") is None:  # nobody is there any more to be named
                await connection.aclose()
                raise ConnectionResetError(errno.ECONNRESET, os.strerror(errno.ECONNRESET))
        except OSError as error:
            raise httpx.ConnectError("") from error
        return connection

    async def exchange(self, request: OutgoingRequest, body: bytes, sink: AnswerSink) -> None:
        """Sends a request that is `check_sendable`, at most once, and hands its answer to `sink` to the end.

        Raises h11.LocalProtocolError before anything is sent, then what httpx would raise, and what the sink
        raises. Cancelled or failed, the connection is to be closed.
        """
        pieces = self._write(request, body)
        self._sink = sink
        self._reusable = False
        self._ended = asyncio.get_running_loop().create_future()
        try:
            if len(body) <= _JOINED_BODY_BYTES:
                self._transport.write(b"".join(pieces))
            else:
                for piece in pieces:
                    self._transport.write(piece)
            await self._ended
            if self._unsent is not None:  # an answer may come before its request has left
                await self._unsent
        finally:
            self._ended = None
            del self._sink

    @property
    def may_be_kept(self) -> bool:
        """Whether the last exchange left it so that it may carry another one."""
        return self._reusable and not self._transport.is_closing()

    @property
    def is_reusable(self) -> bool:
        """Whether it may carry another one now: its server has said nothing since. It costs system calls, for
        what the event loop has not read yet."""
        return self.may_be_kept and not self._is_readable()

    def get_extra_info(self, info: str) -> Any:
        """As httpcore's streams: `client_addr` or `server_addr`."""
        return self._transport.get_extra_info({"client_addr": "sockname", "server_addr": "peername"}[info])

    async def aclose(self) -> None:
        """Closes it at once; harmless where it is closed already."""
        if not self._is_lost:  # else asyncio's transport may be without its loop
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.set_write_buffer_limits(high=0)  # so that `resume_writing` means that all has left

    def pause_writing(self) -> None:
        self._unsent = asyncio.get_running_loop().create_future()

    def resume_writing(self) -> None:
        unsent, self._unsent = self._unsent, None
        if unsent is not None and not unsent.done():
            unsent.set_result(None)

    def data_received(self, data: bytes) -> None:
        if self._is_idle:
            # More than its answer: the next one would be taken for another request's.
            self._transport.abort()
            return
        self._receive(data)

    def eof_received(self) -> None:
        if self._is_idle:
            return
        if self._http.their_state is h11.SEND_RESPONSE:
            self._fail(httpx.RemoteProtocolError(NO_ANSWER))
        else:
            self._receive(b"")

    def connection_lost(self, exc: Exception | None) -> None:
        self._is_lost = True
        self.resume_writing()
        if not self._is_idle:
            broken = httpx.ReadError("")
            broken.__cause__ = exc
            self._fail(broken)

    @property
    def _is_idle(self) -> bool:
        return self._ended is None or self._ended.done()

    def _write(self, request: OutgoingRequest, body: bytes) -> list[bytes]:
        head = h11.Request(method=request.method, target=request.target, headers=list(request.headers))
        events = [head, h11.Data(data=body), h11.EndOfMessage()] if body else [head, h11.EndOfMessage()]
        return [piece for event in events if (piece := self._http.send(event))]

    def _receive(self, data: bytes) -> None:
        try:
            self._http.receive_data(data)
            while self._take(self._http.next_event()):
                pass
        except h11.RemoteProtocolError:
            self._fail(httpx.RemoteProtocolError(""))  # without its text, which may quote the answer
        except Exception as error:  # noqa: BLE001  (the sink's, or a bug: who waits for the exchange gets it)
            self._fail(error)

    def _take(self, event: object) -> bool:
        """Whether there may be another event."""
        if event is h11.NEED_DATA:
            return False
        if isinstance(event, h11.Data):
            self._sink.chunk(bytes(event.data))
        elif isinstance(event, h11.Response):
            self._tell_head(event)
        elif isinstance(event, h11.InformationalResponse):
            if event.status_code == 101:  # as the request asked for: the last thing that is HTTP
                self._tell_head(event)
        else:  # its end, or after 101 a pause for ever
            self._end()
            return False
        return True

    def _tell_head(self, event: h11.Response | h11.InformationalResponse) -> None:
        version = b"HTTP/" + event.http_version
        headers = tuple(event.headers.raw_items())
        self._sink.head(AnswerHead(event.status_code, event.reason, version, headers, self))

    def _end(self) -> None:
        http = self._http
        done = http.our_state is h11.DONE and http.their_state is h11.DONE
        self._reusable = done and not http.trailing_data[0]
        if self._reusable:
            http.start_next_cycle()
        assert self._ended is not None
        self._ended.set_result(None)

    def _fail(self, error: Exception) -> None:
        assert self._ended is not None
        if not self._ended.done():
            self._ended.set_exception(error)

    def _is_readable(self) -> bool:
        if not hasattr(select, "poll"):  # Windows: what is not read yet is not seen
            return False
        poll = select.poll()
        poll.register(self._transport.get_extra_info("socket").fileno(), select.POLLIN)
        return bool(poll.poll(0))

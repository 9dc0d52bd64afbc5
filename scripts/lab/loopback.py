"""Servers in the test's own event loop that keep the bytes they get, and a bound on a test's time."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

DEADLINE_S = 30.0
"""For the whole of one test: far more than it needs, so that only a hang meets it."""

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

Answer = Callable[["LoopbackConnection"], None]


def is_complete(data: bytes) -> bool:
    """Whether `data` is one whole request, as far as the tests send them."""
    head, end, body = data.partition(b"\r\n\r\n")
    if not end:
        return False
    lines = [line.lower().split(b":", 1) for line in head.split(b"\r\n")[1:]]
    fields = {name: value.strip() for name, value in lines}
    if fields.get(b"transfer-encoding") == b"chunked":
        return body.endswith(b"0\r\n\r\n")
    return len(body) >= int(fields.get(b"content-length", b"0"))


class LoopbackConnection(asyncio.Protocol):
    def __init__(self, server: "LoopbackServer") -> None:
        self.server = server
        self.buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.server.connections.append(self)

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        if is_complete(self.buffer):
            self.server.requests.append(self.buffer)
            self.buffer = b""
            self.server.changed.set()
            self.server.answer(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the protocol's
        self.server.lost_connections += 1
        self.server.changed.set()


class LoopbackServer:
    """A server that keeps each request's bytes and answers as it is told."""

    def __init__(self, answer: Answer | bytes) -> None:
        self.answer: Answer
        if isinstance(answer, bytes):
            self.answer = lambda connection: connection.transport.write(answer)
        else:
            self.answer = answer
        self.port = 0
        self.requests: list[bytes] = []
        self.connections: list[LoopbackConnection] = []
        self.lost_connections = 0
        self.changed = asyncio.Event()

    async def until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            self.changed.clear()
            await self.changed.wait()


@contextlib.asynccontextmanager
async def serve(
    answer: Answer | bytes = OK, tls: ssl.SSLContext | None = None
) -> AsyncIterator[LoopbackServer]:
    """A server on a free port of the loopback interface."""
    loopback = LoopbackServer(answer)
    server = await asyncio.get_running_loop().create_server(
        lambda: LoopbackConnection(loopback), "127.0.0.1", 0, ssl=tls
    )
    loopback.port = server.sockets[0].getsockname()[1]
    try:
        yield loopback
    finally:
        server.close()
        for connection in loopback.connections:
            connection.transport.abort()
        await asyncio.sleep(0)


def run(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run one test's coroutine function, bounded in time."""

    async def bounded() -> None:
        async with asyncio.timeout(DEADLINE_S):
            await test()

    asyncio.run(bounded())


async def poll_until(condition: Callable[[], bool]) -> None:
    """For what the system does not tell, such as a process's end; bounded by the test's deadline."""
    while not condition():  # noqa: ASYNC110  there is no event for it
        await asyncio.sleep(0.005)

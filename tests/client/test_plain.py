"""HTTP/1.1 without TLS: what a connection's server says, or leaves unsaid, outside of its answers."""

import asyncio
import contextlib
import gc
import socket
import weakref
from collections.abc import Iterator
from typing import Any

import pytest

from mitm_mirror.client.answer import AnswerHead
from mitm_mirror.client.client import Client
from mitm_mirror.client.errors import FailureKind
from mitm_mirror.client.plain import PlainConnection
from mitm_mirror.client.settings import ClientSettings
from mitm_mirror.client.upload import Upload
from mitm_mirror.outcome import Outcome

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
HOST = (b"Host", b"httpbin:8080")
LARGE = bytes(8 * 1024 * 1024)
"""More than the buffers of two sockets take."""


def test_what_a_server_says_without_being_asked_is_not_taken_for_an_answer(kit: Any) -> None:
    async def test() -> None:
        async with kit.serve() as server:
            client = Client(ClientSettings(), report=pytest.fail)
            async with contextlib.aclosing(client):
                await kit.exchange(client, kit.request(server.port))
                server.connections[0].transport.write(b"HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n")
                await server.until(lambda: server.lost_connections == 1)
                result = await kit.exchange(client, kit.request(server.port))
                assert (result.outcome, result.status) == (Outcome.OK, 200)
                assert len(server.connections) == 2

    kit.run(test)


def test_idle_connections_that_were_closed_are_passed_over(kit: Any) -> None:
    async def test() -> None:
        async with kit.serve() as server:
            client = Client(ClientSettings(), report=pytest.fail)
            async with contextlib.aclosing(client):
                both = [kit.exchange(client, kit.request(server.port)) for _ in range(2)]
                await asyncio.gather(*both)
                assert (len(server.connections), client.idle_connections) == (2, 2)
                server.connections[1].transport.close()
                await server.until(lambda: server.lost_connections == 1)
                for _ in range(2):
                    assert (await kit.exchange(client, kit.request(server.port))).outcome == Outcome.OK
                assert (len(server.connections), client.idle_connections) == (2, 1)

    kit.run(test)


class Greeting(asyncio.Protocol):
    """Says something, or nothing, and hangs up before it was asked."""

    def __init__(self, text: bytes) -> None:
        self.text = text

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.write(self.text)
        transport.close()


@pytest.mark.parametrize(
    ("text", "error"),
    [
        pytest.param(b"", "the server closed the connection without an answer", id="nothing"),
        pytest.param(
            b"220 mail.example ESMTP\r\n\r\n", "the answer is not HTTP, or ended early", id="not HTTP"
        ),
    ],
)
def test_a_server_that_hangs_up_at_once(kit: Any, text: bytes, error: str) -> None:
    async def test() -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: Greeting(text), "127.0.0.1", 0)
        async with server:
            result = await kit.send(kit.request(server.sockets[0].getsockname()[1]))
        assert (result.outcome, result.error) == (Outcome.PROTOCOL_ERROR, error)

    kit.run(test)


def test_an_answer_that_comes_early_does_not_cut_off_its_request(kit: Any) -> None:
    async def test() -> None:
        received = asyncio.Event()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(OK)
            await writer.drain()
            await reader.readexactly(len(LARGE))
            received.set()
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        async with server:
            port = server.sockets[0].getsockname()[1]
            headers = (HOST, (b"Content-Length", str(len(LARGE)).encode()))
            result = await kit.send(kit.request(port, method=b"PUT", headers=headers), LARGE)
            assert (result.outcome, result.body) == (Outcome.OK, b"ok")
            await received.wait()

    kit.run(test)


class Seen:
    """A sink that tells when the head has come."""

    def __init__(self) -> None:
        self.status = asyncio.get_running_loop().create_future()

    def head(self, head: AnswerHead) -> None:
        self.status.set_result(head.status)

    def chunk(self, data: bytes) -> None:
        raise AssertionError(data)


def test_a_server_that_has_answered_may_hang_up_on_the_rest(kit: Any) -> None:
    async def test() -> None:
        seen = Seen()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")
            await seen.status
            writer.transport.abort()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        client = Client(ClientSettings(), report=pytest.fail)
        async with server, contextlib.aclosing(client):
            port = server.sockets[0].getsockname()[1]
            headers = (HOST, (b"Content-Length", str(len(LARGE)).encode()))
            sent = await client.send(kit.request(port, method=b"PUT", headers=headers), LARGE, 20.0, seen)
            assert (sent.outcome, await seen.status, client.idle_connections) == (Outcome.OK, 413, 0)

    kit.run(test)


def test_an_upload_and_a_whole_request_have_connections_of_their_own(kit: Any) -> None:
    async def test() -> None:
        async with kit.serve() as server:
            client = Client(ClientSettings(), report=pytest.fail)
            async with contextlib.aclosing(client):
                for _ in range(2):
                    upload = Upload(lambda _: None)
                    upload.put(b"ab")
                    upload.end()
                    headers = (HOST, (b"Content-Length", b"2"))
                    request = kit.request(server.port, method=b"PUT", headers=headers)
                    for body in (upload, b"ab"):
                        result = await kit.exchange(client, request, body)
                        assert (result.outcome, result.error) == (Outcome.OK, "")
            assert len(server.connections) == 2
            assert len(set(server.requests)) == 1

    kit.run(test)


def test_a_server_that_reads_on_after_an_early_answer(kit: Any) -> None:
    """How nginx and Apache turn an upload down: they answer, say no more, and read the rest."""

    async def test() -> None:
        left = asyncio.Event()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 413 Too Large\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
            writer.write_eof()
            await reader.read()
            writer.close()
            await writer.wait_closed()
            left.set()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        async with server:
            port = server.sockets[0].getsockname()[1]
            headers = (HOST, (b"Content-Length", str(len(LARGE)).encode()))
            result = await kit.send(kit.request(port, method=b"PUT", headers=headers), LARGE)
            await left.wait()
        assert (result.outcome, result.status) == (Outcome.OK, 413)

    kit.run(test)


@pytest.mark.parametrize(
    ("size", "writes"), [pytest.param(10_000, 1, id="small"), pytest.param(100_000, 2, id="large")]
)
@pytest.mark.parametrize("coding", ["sized", "chunked"])
def test_a_request_is_written_in_few_pieces(
    kit: Any, monkeypatch: pytest.MonkeyPatch, size: int, writes: int, coding: str
) -> None:
    """However many lines its head has: each piece is a system call, and may be a packet."""
    written: list[bytes] = []
    begin = PlainConnection.connection_made

    def connection_made(self: PlainConnection, transport: Any) -> None:
        write = transport.write

        def count(data: bytes) -> None:
            written.append(data)
            write(data)

        transport.write = count
        begin(self, transport)

    monkeypatch.setattr(PlainConnection, "connection_made", connection_made)

    async def test() -> None:
        async with kit.serve() as server:
            framing = (b"Transfer-Encoding", b"chunked")
            if coding == "sized":
                framing = (b"Content-Length", b"%d" % size)
            lines = ((b"x-%d" % number, b"y") for number in range(20))
            request = kit.request(server.port, method=b"PUT", headers=(HOST, framing, *lines))
            result = await kit.send(request, bytes(size))
            assert result.outcome == Outcome.OK
        assert len(written) == writes + (coding == "chunked" and writes > 1)  # the last chunk

    kit.run(test)


@pytest.fixture
def no_gc() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("no_gc")
@pytest.mark.parametrize("answer", [OK, b"no HTTP\r\n\r\n"], ids=["ok", "failed"])
def test_nothing_of_an_exchange_is_kept(kit: Any, answer: bytes) -> None:
    """A sink may hold a whole answer, and what the garbage collector is to find is counted nowhere."""

    class Sink:
        def head(self, head: AnswerHead) -> None:
            pass

        def chunk(self, data: bytes) -> None:
            pass

    async def test() -> None:
        left = asyncio.Event()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with contextlib.suppress(asyncio.IncompleteReadError, ConnectionResetError):
                while await reader.readuntil(b"\r\n\r\n"):
                    writer.write(answer)
            writer.close()
            left.set()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        client = Client(ClientSettings(), report=pytest.fail)
        async with server:
            async with contextlib.aclosing(client):
                sink = Sink()
                seen = weakref.ref(sink)
                request = kit.request(server.sockets[0].getsockname()[1])
                sent = await client.send(request, b"", 20.0, sink)
                del sink
                await asyncio.sleep(0)  # the loop's turn that ended the exchange knows its error still
                assert client.idle_connections == (sent.outcome == Outcome.OK) == (answer == OK)
                assert seen() is None
            await left.wait()

    kit.run(test)


def test_a_server_that_is_gone_before_it_can_be_named(kit: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has reset the connection by then, and the socket has no peer."""

    def get_extra_info(_self: PlainConnection, info: str) -> Any:
        return ("127.0.0.1", 1) if info == "client_addr" else None

    monkeypatch.setattr(PlainConnection, "get_extra_info", get_extra_info)

    async def test() -> None:
        async with kit.serve() as server:
            client = Client(ClientSettings(), report=pytest.fail, on_connected=pytest.fail)
            async with contextlib.aclosing(client):
                result = await kit.exchange(client, kit.request(server.port))
            assert (result.outcome, result.error, result.blameless) == (
                Outcome.CONNECT_ERROR,
                "no connection: Connection reset by peer",
                False,
            )
            await server.until(lambda: server.lost_connections == 1)

    kit.run(test)


def test_what_cannot_be_sent_needs_no_connection(kit: Any) -> None:
    async def test() -> None:
        async with kit.serve() as server:
            client = Client(ClientSettings(), report=pytest.fail)
            async with contextlib.aclosing(client):
                await kit.exchange(client, kit.request(server.port))
                with socket.socket() as taken:  # bound, not listening
                    taken.bind(("127.0.0.1", 0))
                    for port in (server.port, taken.getsockname()[1]):
                        for method, body in ((b"CONNECT", b""), (b"M\xe9", b""), (b"PUT", b"unframed")):
                            request = kit.request(port, method=method)
                            sent = await client.send(request, body, 20.0, Seen())
                            assert (sent.kind, sent.blameless) == (FailureKind.UNSENDABLE, True)
                assert client.idle_connections == 1
            assert len(server.connections) == 1

    kit.run(test)


@pytest.mark.parametrize("addresses", [["127.0.0.1"], ["127.0.0.1", "127.0.0.2"]], ids=["one", "two"])
def test_a_name_of_which_every_address_refuses(
    kit: Any, monkeypatch: pytest.MonkeyPatch, addresses: list[str]
) -> None:
    async def test() -> None:
        loop = asyncio.get_running_loop()

        async def getaddrinfo(host: str, port: int, **_: Any) -> list[Any]:
            assert host == "mirror.example"
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses]

        monkeypatch.setattr(loop, "getaddrinfo", getaddrinfo)
        with socket.socket() as taken:  # bound, not listening: refused, and nobody else can take it
            taken.bind(("", 0))
            result = await kit.send(kit.request(taken.getsockname()[1], address="mirror.example"))
        assert (result.outcome, result.error) == (Outcome.CONNECT_ERROR, "no connection: Connection refused")

    kit.run(test)

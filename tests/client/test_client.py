"""What goes over the wire is what the OutgoingRequest says, and each way to fail has its outcome."""

import asyncio
import contextlib
import logging
import socket
import struct
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from mitm_mirror.client.client import Client
from mitm_mirror.client.settings import ClientSettings
from mitm_mirror.outcome import Outcome
from mitm_mirror.upstream_tls import UpstreamTls

HOST = (b"Host", b"httpbin:8080")
SECRET = b"Bearer s3cret"


@pytest.mark.parametrize(
    ("method", "target", "headers", "body", "wire"),
    [
        pytest.param(
            b"GET",
            b"/",
            (HOST,),
            b"",
            b"GET / HTTP/1.1\r\nHost: httpbin:8080\r\n\r\n",
            id="nothing is added",
        ),
        pytest.param(
            b"GET",
            b"/a//b/../c|d?x=%2F??",
            (HOST,),
            b"",
            b"GET /a//b/../c|d?x=%2F?? HTTP/1.1\r\nHost: httpbin:8080\r\n\r\n",
            id="odd target",
        ),
        pytest.param(
            b"OPTIONS",
            b"*",
            (HOST,),
            b"",
            b"OPTIONS * HTTP/1.1\r\nHost: httpbin:8080\r\n\r\n",
            id="target is a star",
        ),
        pytest.param(
            b"GET",
            b"/",
            (
                (b"x-B", b"2"),
                (b"hOST", b"h"),
                (b"X-a", b"1"),
                (b"x-b", b"3"),
                (b"X-Raw", b"\xe9 \xff"),
                (b"E", b""),
            ),
            b"",
            b"GET / HTTP/1.1\r\nhOST: h\r\nx-B: 2\r\nX-a: 1\r\nx-b: 3\r\nX-Raw: \xe9 \xff\r\nE: \r\n\r\n",
            id="order, case, duplicates and bytes of headers; Host first",
        ),
        pytest.param(
            b"get",
            b"/",
            (HOST,),
            b"",
            b"get / HTTP/1.1\r\nHost: httpbin:8080\r\n\r\n",
            id="lower-case method",
        ),
        pytest.param(
            b"BREW-2",
            b"/pot",
            (HOST, (b"Content-Length", b"3")),
            b"tea",
            b"BREW-2 /pot HTTP/1.1\r\nHost: httpbin:8080\r\nContent-Length: 3\r\n\r\ntea",
            id="unknown method with a body",
        ),
        pytest.param(
            b"POST",
            b"/",
            (HOST, (b"Content-Length", b"0")),
            b"",
            b"POST / HTTP/1.1\r\nHost: httpbin:8080\r\nContent-Length: 0\r\n\r\n",
            id="empty body with a length",
        ),
        pytest.param(
            b"POST",
            b"/",
            (HOST, (b"Transfer-Encoding", b"chunked")),
            b"0123456789abcdef",
            b"POST / HTTP/1.1\r\nHost: httpbin:8080\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"10\r\n0123456789abcdef\r\n0\r\n\r\n",
            id="chunked, one chunk, no length",
        ),
        pytest.param(
            b"POST",
            b"/",
            (HOST, (b"Transfer-Encoding", b"chunked")),
            b"",
            b"POST / HTTP/1.1\r\nHost: httpbin:8080\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            id="chunked and empty",
        ),
        pytest.param(
            b"PUT",
            b"/",
            (HOST, (b"Content-Length", b"1048576")),
            b"x" * 1048576,
            b"PUT / HTTP/1.1\r\nHost: httpbin:8080\r\nContent-Length: 1048576\r\n\r\n" + b"x" * 1048576,
            id="1 MiB",
        ),
    ],
)
def test_bytes_on_the_wire(
    kit: Any, method: bytes, target: bytes, headers: tuple[tuple[bytes, bytes], ...], body: bytes, wire: bytes
) -> None:
    async def test() -> None:
        async with kit.serve() as server:
            result = await kit.send(
                kit.request(server.port, method=method, target=target, headers=headers), body
            )
        assert (result.outcome, result.status, result.error) == (Outcome.OK, 200, "")
        assert server.requests == [wire]

    kit.run(test)


UPGRADE = ((b"Connection", b"Upgrade"), (b"Upgrade", b"x"))
"""For the answer 101, which is an error where nobody asked for it; no other answer cares."""

HEAD_200 = b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n"


def close_after(answer: bytes) -> Callable[[Any], None]:
    def reply(connection: Any) -> None:
        connection.transport.write(answer)
        connection.transport.close()

    return reply


@pytest.mark.parametrize(
    ("method", "answer", "status", "size", "kept"),
    [
        pytest.param(
            b"GET", b"HTTP/1.1 503 No\r\nContent-Length: 3\r\n\r\nabc", 503, 3, True, id="5xx is ok"
        ),
        pytest.param(b"GET", b"HTTP/1.1 204 No Content\r\n\r\n", 204, 0, True, id="204"),
        pytest.param(
            b"GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", 304, 0, True, id="304"
        ),
        pytest.param(b"HEAD", HEAD_200, 200, 0, True, id="HEAD"),
        pytest.param(
            b"GET",
            b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx",
            200,
            1,
            True,
            id="1xx first",
        ),
        pytest.param(
            b"GET",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n",
            200,
            5,
            True,
            id="chunked",
        ),
        pytest.param(
            b"GET",
            b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nnope",
            200,
            4,
            True,
            id="coded body is counted, not decoded",
        ),
        pytest.param(
            b"GET",
            b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
            200,
            2,
            False,
            id="Connection: close",
        ),
        pytest.param(
            b"GET", close_after(b"HTTP/1.0 200 OK\r\n\r\nuntil the end"), 200, 13, False, id="HTTP/1.0"
        ),
        pytest.param(
            b"GET", b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\nraw", 101, 0, False, id="upgrade"
        ),
        pytest.param(
            b"GET",
            b"HTTP/1.1 200 OK\r\nContent-Length: 3000000\r\n\r\n" + b"y" * 3000000,
            200,
            3000000,
            True,
            id="large answer",
        ),
    ],
)
def test_answers(
    kit: Any, method: bytes, answer: bytes | Callable[[Any], None], status: int, size: int, kept: bool
) -> None:
    """Each answer is read to its end; the connection is used again exactly where HTTP allows it."""

    async def test() -> None:
        async with kit.serve(answer) as server:
            client = Client(ClientSettings(), report=pytest.fail)
            async with contextlib.aclosing(client):
                for _ in range(2):
                    request = kit.request(server.port, method=method, headers=(HOST, *UPGRADE))
                    result = await kit.exchange(client, request)
                    assert (result.outcome, result.error) == (Outcome.OK, "")
                    assert (result.status, len(result.body)) == (status, size)
            assert len(server.connections) == (1 if kept else 2)

    kit.run(test)


def reset(connection: Any) -> None:
    linger = struct.pack("ii", 1, 0)
    connection.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    connection.transport.abort()


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        pytest.param(b"SSH-2.0-OpenSSH\r\n\r\n", "the answer is not HTTP, or ended early", id="not HTTP"),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nA: " + b"a" * 200_000,
            "the answer is not HTTP, or ended early",
            id="endless head",
        ),
        pytest.param(close_after(b""), "the server closed the connection without an answer", id="no answer"),
        pytest.param(
            close_after(HEAD_200 + b"half"), "the answer is not HTTP, or ended early", id="cut short"
        ),
        pytest.param(reset, "the connection broke before the answer was complete", id="reset"),
    ],
)
def test_broken_answers(kit: Any, answer: bytes | Callable[[Any], None], text: str) -> None:
    async def test() -> None:
        async with kit.serve(answer) as server:
            result = await kit.send(kit.request(server.port))
            assert (result.outcome, result.error) == (Outcome.PROTOCOL_ERROR, text)
            assert len(server.requests) == 1  # never a second time

    kit.run(test)


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(b"", id="no answer"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab", id="half an answer"),
    ],
)
def test_a_hanging_server_times_out_and_is_hung_up_on(kit: Any, answer: bytes) -> None:
    async def test() -> None:
        async with kit.serve(answer) as server:
            result = await kit.send(kit.request(server.port), timeout_s=0.05)
            assert result.outcome == Outcome.TIMEOUT
            await server.until(lambda: server.lost_connections == 1)

    kit.run(test)


def test_nothing_listens(kit: Any) -> None:
    async def test() -> None:
        with socket.socket() as taken:  # bound, not listening: refused, and nobody else can take it
            taken.bind(("127.0.0.1", 0))
            result = await kit.send(kit.request(taken.getsockname()[1]))
        assert (result.outcome, result.error) == (Outcome.CONNECT_ERROR, "no connection: Connection refused")

    kit.run(test)


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize(
    ("address", "text"),
    [
        pytest.param("mirror.invalid", "the name does not resolve", id="reserved for not existing"),
        pytest.param("a b", "the endpoint's address is not a host name", id="not a name"),
    ],
)
def test_names_that_do_not_resolve(kit: Any, scheme: str, address: str, text: str) -> None:
    async def test() -> None:
        result = await kit.send(kit.request(80, scheme=scheme, address=address))
        assert (result.outcome, result.error) == (Outcome.CONNECT_ERROR, text)

    kit.run(test)


@pytest.mark.parametrize(
    ("sni", "settings", "outcome", "text"),
    [
        pytest.param("mirror.example", "ca", Outcome.OK, "", id="trusted"),
        pytest.param("", "ca", Outcome.OK, "", id="trusted by address"),
        pytest.param("other.example", "ca", Outcome.TLS_ERROR, "Hostname mismatch", id="another name"),
        pytest.param("mirror.example", "", Outcome.TLS_ERROR, "self-signed certificate", id="not trusted"),
        pytest.param("other.example", "off", Outcome.OK, "", id="not checked"),
    ],
)
def test_certificates(
    kit: Any, certificate: Any, sni: str, settings: str, outcome: Outcome, text: str
) -> None:
    chosen: dict[str, dict[str, Any]] = {
        "ca": {"ca_file": certificate.file},
        "off": {"tls_verify": False},
        "": {},
    }

    async def test() -> None:
        async with kit.serve(tls=certificate.server_context) as server:
            result = await kit.send(kit.request(server.port, scheme="https", sni=sni), **chosen[settings])
            assert result.outcome == outcome, result.error
            assert text in result.error

    kit.run(test)


def test_the_server_sees_the_sni_that_was_asked_for(kit: Any, certificate: Any) -> None:
    seen: list[str] = []

    async def test() -> None:
        certificate.server_context.sni_callback = lambda _socket, name, _context: seen.append(name)
        async with kit.serve(tls=certificate.server_context) as server:
            await kit.send(kit.request(server.port, scheme="https", sni="v2.example"), tls_verify=False)

    try:
        kit.run(test)
    finally:
        certificate.server_context.sni_callback = None
    assert seen == ["v2.example"]


class RawConnection(asyncio.Protocol):
    """Does something with the very first bytes, whatever they are."""

    def __init__(self, act: Callable[[Any], None]) -> None:
        self.act = act

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.act(self)


@pytest.mark.parametrize(
    ("act", "timeout_s", "outcome"),
    [
        pytest.param(
            lambda c: c.transport.write(b"HTTP/1.1 400 Bad\r\n\r\n"), 20.0, Outcome.TLS_ERROR, id="plain"
        ),
        pytest.param(lambda c: c.transport.close(), 20.0, Outcome.TLS_ERROR, id="hangs up"),
        pytest.param(reset, 20.0, Outcome.TLS_ERROR, id="resets"),
        pytest.param(lambda c: None, 0.05, Outcome.TIMEOUT, id="says nothing"),
    ],
)
def test_tls_to_something_else(
    kit: Any, act: Callable[[Any], None], timeout_s: float, outcome: Outcome
) -> None:
    async def test() -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: RawConnection(act), "127.0.0.1", 0)
        async with server:
            port = server.sockets[0].getsockname()[1]
            result = await kit.send(kit.request(port, scheme="https"), timeout_s=timeout_s)
        assert result.outcome == outcome, result.error

    kit.run(test)


@pytest.mark.parametrize(
    ("target", "headers"),
    [
        pytest.param(b"/", (HOST, (b"Authorization", SECRET + b"\r\nX: y")), id="line break in a value"),
        pytest.param(b"/", (HOST, (b"Author ization", SECRET)), id="blank in a name"),
        pytest.param(b"/", (HOST, (b"Authorization", SECRET + b"\x00")), id="NUL in a value"),
        pytest.param(b"/" + SECRET, (HOST,), id="blank in the target"),
        pytest.param(b"/\xff" + SECRET, (HOST,), id="target not ASCII"),
        pytest.param(b"", (HOST,), id="no target"),
        pytest.param(b"/", ((b"Authorization", SECRET),), id="no Host"),
        pytest.param(b"/", (HOST, HOST, (b"Authorization", SECRET)), id="two Hosts"),
        pytest.param(b"/", (HOST, (b"Content-Length", SECRET)), id="length is no number"),
    ],
)
def test_what_http_cannot_carry_is_refused_without_quoting_it(
    kit: Any, caplog: pytest.LogCaptureFixture, target: bytes, headers: tuple[tuple[bytes, bytes], ...]
) -> None:
    caplog.set_level(logging.DEBUG)

    async def test() -> None:
        async with kit.serve() as server:
            result = await kit.send(kit.request(server.port, target=target, headers=headers))
            assert result.outcome == Outcome.PROTOCOL_ERROR
            assert result.error.startswith("the request cannot be written as HTTP")
            assert "s3cret" not in result.error
            assert server.requests == []

    kit.run(test)
    assert "s3cret" not in caplog.text


def test_libraries_log_neither_urls_nor_headers(kit: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)

    async def test() -> None:
        async with kit.serve(b"HTTP/1.1 200 OK\r\nSet-Cookie: s3cret\r\nContent-Length: 0\r\n\r\n") as server:
            await kit.send(kit.request(server.port, target=b"/s3cret"))

    kit.run(test)
    assert "s3cret" not in caplog.text


class FakeTransport(httpx.AsyncBaseTransport):
    def __init__(self, error: Exception | None = None, close_error: Exception | None = None) -> None:
        self.error = error
        self.close_error = close_error
        self.closed = False

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if self.error is not None:
            raise self.error
        return httpx.Response(200, stream=httpx.ByteStream(b"abc"))

    async def aclose(self) -> None:
        self.closed = True
        if self.close_error is not None:
            raise self.close_error


class FakeNet:
    """Makes transports, and time."""

    def __init__(self, **settings: Any) -> None:
        self.now = 0.0
        self.made: list[FakeTransport] = []
        self.reports: list[str] = []
        self.next: Callable[[], FakeTransport] = FakeTransport
        self.client = Client(ClientSettings(**settings), lambda: self.now, self.make, self.reports.append)

    def make(self, tls: UpstreamTls | None) -> FakeTransport:
        self.made.append(self.next())
        return self.made[-1]

    @property
    def open(self) -> int:
        return sum(not transport.closed for transport in self.made)


@pytest.mark.parametrize(
    "change",
    [{"sni": "other"}, {"tls": UpstreamTls(verify=False)}],
    ids=["another SNI", "other TLS settings"],
)
def test_connections_are_kept_by_endpoint_and_only_while_fresh(kit: Any, change: dict[str, Any]) -> None:
    different = kit.request(1, **change)

    async def test() -> None:
        net = FakeNet(idle_expiry_s=1.0)
        one, two = kit.request(1), different
        await kit.exchange(net.client, one)
        await kit.exchange(net.client, one)
        assert len(net.made) == 1
        await kit.exchange(net.client, two)
        assert len(net.made) == 2
        net.now = 1.0
        await kit.exchange(net.client, one)
        assert len(net.made) == 3
        await net.client.close_expired()
        assert [transport.closed for transport in net.made] == [True, True, False]
        assert net.client.idle_connections == 1
        await net.client.aclose()
        assert (net.open, net.client.idle_connections) == (0, 0)

    kit.run(test)


def test_past_the_limit_the_connection_that_is_idle_longest_is_closed(kit: Any) -> None:
    async def test() -> None:
        net = FakeNet(max_idle_connections=2)
        for port in (1, 2, 3):
            net.now += 0.1
            await kit.exchange(net.client, kit.request(port))
        assert [transport.closed for transport in net.made] == [True, False, False]

    kit.run(test)


def test_a_connection_that_failed_is_not_used_again(kit: Any) -> None:
    async def test() -> None:
        net = FakeNet()
        net.next = lambda: FakeTransport(httpx.ReadError("s3cret"), RuntimeError("s3cret"))
        result = await kit.exchange(net.client, kit.request(1))
        assert result.outcome == Outcome.PROTOCOL_ERROR
        assert (net.open, net.client.idle_connections) == (0, 0)

    kit.run(test)


def test_a_bug_ends_its_request_and_is_reported_once_without_its_message(kit: Any) -> None:
    async def test() -> None:
        net = FakeNet()
        net.next = lambda: FakeTransport(KeyError("s3cret"))
        for _ in range(2):
            result = await kit.exchange(net.client, kit.request(1))
            assert (result.outcome, result.error) == (
                Outcome.PROTOCOL_ERROR,
                "unexpected KeyError while sending",
            )
        assert len(net.reports) == 1
        assert "KeyError" in net.reports[0]
        assert "s3cret" not in net.reports[0]

    kit.run(test)


def test_a_server_that_closed_an_idle_connection_gets_a_new_one(kit: Any) -> None:
    async def test() -> None:
        async with kit.serve() as server:
            client = Client(ClientSettings(), report=pytest.fail)
            async with contextlib.aclosing(client):
                await kit.exchange(client, kit.request(server.port))
                server.connections[0].transport.close()
                await server.until(lambda: server.lost_connections == 1)
                result = await kit.exchange(client, kit.request(server.port))
            assert result.outcome == Outcome.OK
            assert len(server.connections) == 2

    kit.run(test)


@pytest.mark.parametrize("wanted_bytes", [0, 1], ids=["after its head", "after its first piece"])
def test_a_sink_that_has_seen_enough_ends_the_exchange_and_its_connection(
    kit: Any, wanted_bytes: int
) -> None:
    async def test() -> None:
        async with kit.serve(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nab") as server:
            client = Client(ClientSettings(), report=pytest.fail)
            async with contextlib.aclosing(client):
                result = await kit.exchange(client, kit.request(server.port), wanted_bytes=wanted_bytes)
                assert (result.outcome, result.status) == (Outcome.OK, 200)
                assert client.idle_connections == 0
                await server.until(lambda: server.lost_connections == 1)

    kit.run(test)


def test_the_head_of_an_answer_is_handed_on_as_it_came(kit: Any) -> None:
    answer = b"HTTP/1.0 299 Very Odd\r\nx-B: 2\r\nX-a: 1\r\nSet-Cookie: a\r\nset-cookie: b\r\nx-b:\r\n\r\n"

    async def test() -> None:
        async with kit.serve(close_after(answer)) as server:
            result = await kit.send(kit.request(server.port))
            fields = (
                (b"x-B", b"2"),
                (b"X-a", b"1"),
                (b"Set-Cookie", b"a"),
                (b"set-cookie", b"b"),
                (b"x-b", b""),
            )
            assert result.answer is not None
            assert result.answer[:4] == (299, b"Very Odd", b"HTTP/1.0", fields)

    kit.run(test)


def test_an_unreadable_ca_file_is_an_error_at_once() -> None:
    with pytest.raises(OSError, match="No such file"):
        Client(ClientSettings(ca_file="/nonexistent/ca.pem"))


def test_a_proxy_in_the_environment_is_not_used(kit: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")

    async def test() -> None:
        async with kit.serve() as server:
            assert (await kit.send(kit.request(server.port))).outcome == Outcome.OK

    kit.run(test)

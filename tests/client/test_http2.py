"""What goes over the wire where HTTP/2 is meant."""

import asyncio
import ssl
from typing import Any

import pytest

from lab.http2 import Http2Backend
from mitm_mirror.client.client import Client
from mitm_mirror.client.settings import ClientSettings
from mitm_mirror.outcome import Outcome

HOST = (b"Host", b"httpbin-shadow:8080")
PSEUDO = [
    (b":method", b"POST"),
    (b":authority", b"httpbin-shadow:8080"),
    (b":path", b"/a?b=%2F"),
    (b":scheme", b"http"),
]


@pytest.mark.parametrize(
    ("headers", "body", "fields"),
    [
        pytest.param((HOST,), b"", [], id="Host becomes :authority"),
        pytest.param(
            ((b"X-b", b"2"), HOST, (b"X-A", b"1"), (b"x-B", b"3")),
            b"",
            [(b"x-b", b"2"), (b"x-a", b"1"), (b"x-b", b"3")],
            id="names in lower case, order and duplicates kept",
        ),
        pytest.param(
            (HOST, (b"Transfer-Encoding", b"chunked")), b"abc", [], id="chunks need no line in HTTP/2"
        ),
        pytest.param(
            (HOST, (b"Content-Length", b"3")), b"abc", [(b"content-length", b"3")], id="a length is kept"
        ),
        pytest.param(
            (HOST, (b"Connection", b"keep-alive"), (b"Keep-Alive", b"5"), (b"TE", b"trailers")),
            b"",
            [(b"te", b"trailers")],
            id="what is about the connection is left out",
        ),
        pytest.param(
            (HOST, (b"Cookie", b"a=1"), (b"Cookie", b"b=2")),
            b"",
            [(b"cookie", b"a=1"), (b"cookie", b"b=2")],
            id="cookie crumbs stay crumbs",
        ),
    ],
)
def test_fields_on_the_wire(
    kit: Any, headers: tuple[tuple[bytes, bytes], ...], body: bytes, fields: list[tuple[bytes, bytes]]
) -> None:
    with Http2Backend("v2") as server:

        async def test() -> None:
            request = kit.request(
                server.port, method=b"POST", target=b"/a?b=%2F", headers=headers, http2=True
            )
            result = await kit.send(request, body)
            assert (result.outcome, result.status, result.body) == (Outcome.OK, 200, b"v2")

        kit.run(test)
        [seen] = server.wait_for_count(1)

    assert sorted(seen.fields[:4]) == sorted(PSEUDO)
    assert seen.fields[4:] == fields
    assert seen.body == body


def test_a_connection_is_used_again(kit: Any) -> None:
    with Http2Backend("v2") as server:

        async def test() -> None:
            client = Client(ClientSettings(), report=pytest.fail)
            for _ in range(3):
                result = await kit.exchange(client, kit.request(server.port, http2=True))
                assert result.outcome is Outcome.OK
            await client.aclose()

        kit.run(test)
        assert len(server.wait_for_count(3)) == 3
        assert server.connections == 1


@pytest.mark.parametrize(("offered", "version"), [(True, b":method"), (False, None)])
def test_over_tls_it_is_offered_where_the_primary_offers_it(
    kit: Any, certificate: Any, offered: bool, version: bytes | None
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate.file, certificate.file.replace("certificate.pem", "key.pem"))
    with Http2Backend("v2", context) as server:

        async def test() -> None:
            request = kit.request(server.port, scheme="https", http2=offered)
            result = await kit.send(request, ca_file=certificate.file)
            if offered:
                assert result.outcome is Outcome.OK
            else:  # the server speaks nothing else
                assert result.outcome is Outcome.PROTOCOL_ERROR

        kit.run(test)
        assert len(server.requests) == int(offered)


def test_over_tls_the_server_may_choose_http1(kit: Any, certificate: Any) -> None:
    async def test() -> None:
        async with kit.serve(tls=certificate.server_context) as server:
            request = kit.request(server.port, scheme="https", http2=True)
            result = await kit.send(request, ca_file=certificate.file)
        assert (result.outcome, result.status) == (Outcome.OK, 200)
        assert server.requests == [b"GET / HTTP/1.1\r\nHost: httpbin:8080\r\n\r\n"]

    kit.run(test)


class AnswersAtOnce(asyncio.Protocol):
    """Writes its answer as soon as anything comes, and hangs up."""

    def __init__(self, answer: bytes) -> None:
        self._answer = answer

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._transport.write(self._answer)
        self._transport.close()


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n", id="HTTP/1.1"),
        pytest.param(b"\0\0\1" + b"\0\0" + b"\0\0\0\7" + b"x", id="data of a stream that is not open"),
    ],
)
def test_a_server_that_does_not_speak_http2_is_to_blame(kit: Any, answer: bytes) -> None:
    async def test() -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: AnswersAtOnce(answer), "127.0.0.1", 0)
        result = await kit.send(kit.request(server.sockets[0].getsockname()[1], http2=True))
        server.close()
        assert (result.outcome, result.error, result.blameless) == (
            Outcome.PROTOCOL_ERROR,
            "the answer is not HTTP, or ended early",
            False,
        )

    kit.run(test)


def test_what_http2_cannot_say_is_no_fault_of_the_server(kit: Any) -> None:
    with Http2Backend("v2") as server:

        async def test() -> None:
            headers = (HOST, (b"TE", b"gzip"))
            result = await kit.send(kit.request(server.port, http2=True, headers=headers))
            assert result.outcome is Outcome.PROTOCOL_ERROR
            assert result.blameless

        kit.run(test)
        assert server.requests == []

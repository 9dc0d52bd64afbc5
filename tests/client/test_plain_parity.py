"""Whatever a server answers, a `PlainConnection` makes of it what httpx's connection does."""

import asyncio
import contextlib
import itertools
import ssl
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mitm_mirror.client.client import Client
from mitm_mirror.client.one_connection import OneConnectionTransport
from mitm_mirror.client.request import OutgoingRequest
from mitm_mirror.client.settings import ClientSettings
from mitm_mirror.client.tls import ClientTls

UPGRADE = ((b"Connection", b"Upgrade"), (b"Upgrade", b"x"))

STATUS_LINES = st.sampled_from(
    [
        b"HTTP/1.1 200 OK",
        b"HTTP/1.1 200",
        b"HTTP/1.0 200 OK",
        b"HTTP/2 200",
        b"HTTP/1.1 204 No Content",
        b"HTTP/1.1 304 Not Modified",
        b"HTTP/1.1 500 \xe9",
        b"HTTP/1.1 100 Continue",
        b"HTTP/1.1 101 Switching Protocols",
        b"HTTP/1.1 103 Early Hints",
        b"HTTP/1.1 99 Low",
        b"HTTP/1.1 1000 High",
        b"ICY 200 OK",
        b"",
    ]
)
LINES = st.lists(
    st.sampled_from(
        [
            b"Content-Length: 0",
            b"Content-Length: 3",
            b"Content-Length: 5",
            b"Content-Length: 3, 3",
            b"Content-Length: -1",
            b"Transfer-Encoding: chunked",
            b"Transfer-Encoding: gzip, chunked",
            b"Connection: close",
            b"Connection: keep-alive",
            b"X-Raw: \xe9",
            b"X Y: z",
            b"X-Folded: a\r\n b",
            b"no colon",
        ]
    ),
    max_size=3,
)
BODIES = st.sampled_from(
    [
        b"",
        b"abc",
        b"abcde",
        b"3\r\nabc\r\n0\r\n\r\n",
        b"3;x=y\r\nabc\r\n0\r\nT: 1\r\n\r\n",
        b"3\r\nab",
        b"zz\r\n",
    ]
)
HEADS = st.builds(lambda status, lines: b"\r\n".join([status, *lines]) + b"\r\n\r\n", STATUS_LINES, LINES)
ANSWERS = st.builds(
    lambda heads, body: b"".join(heads) + body, st.lists(HEADS, min_size=1, max_size=3), BODIES
)


@st.composite
def pieces(draw: st.DrawFn) -> list[bytes]:
    """An answer, perhaps with some of it gone or changed, cut into pieces."""
    answer = bytearray(draw(ANSWERS))
    for at in draw(st.lists(st.integers(0, len(answer) - 1), max_size=2)):
        if draw(st.booleans()):
            answer[at] = draw(st.integers(0, 255))
        else:
            del answer[at:]
            break
    cuts = sorted(draw(st.lists(st.integers(0, len(answer)), max_size=3)))
    bounds = [0, *cuts, len(answer)]
    return [bytes(answer[start:end]) for start, end in itertools.pairwise(bounds)]


def over_httpx(context: ssl.SSLContext) -> Client:
    def make(_: OutgoingRequest) -> OneConnectionTransport:
        return OneConnectionTransport(context, http1=True, http2=False, uds=None)

    return Client(ClientSettings(), make_transport=make, report=pytest.fail)


async def outcomes(kit: Any, client: Client, method: bytes, answer: list[bytes]) -> list[Any]:
    """How two requests end, each answered with those pieces and a hang-up."""

    async def speak(connection: Any) -> None:
        for piece in answer:
            connection.transport.write(piece)
            await asyncio.sleep(0)
        connection.transport.close()

    speaking: list[asyncio.Task[None]] = []
    async with (
        kit.serve(lambda connection: speaking.append(asyncio.create_task(speak(connection)))) as server,
        contextlib.aclosing(client),
    ):
        found: list[Any] = []
        for number in (1, 2):
            headers = ((b"Host", b"httpbin:8080"), *UPGRADE)
            request = kit.request(server.port, method=method, headers=headers)
            result = await kit.exchange(client, request)
            await server.until(lambda number=number: server.lost_connections == number)
            found.append(
                (result.outcome, result.error, result.blameless, result.answer and result.answer[:4])
            )
            found.append(result.body)
        return [*found, len(server.connections)]


@pytest.mark.parametrize("method", [b"GET", b"HEAD"])
def test_every_answer_ends_as_over_httpx(kit: Any, method: bytes) -> None:
    context = ClientTls(ClientSettings()).context(None)  # once: it reads all certificates of the system
    ways = (Client(ClientSettings(), report=pytest.fail), over_httpx(context))

    @settings(deadline=None, max_examples=150, derandomize=True, database=None)
    @given(answer=pieces())
    def check(answer: list[bytes]) -> None:
        async def test() -> None:
            plain, reference = [await outcomes(kit, client, method, answer) for client in ways]
            assert plain == reference

        kit.run(test)

    check()
